"""Count a text in one pass: words, letters, and the evidence for each language that looks like its own.

White space never stands inside a word, so a text's counts are the sums over its white-space tokens, and few tokens are
new. Each token's counts are packed into one integer, a field of 24 bits for each count, so that a text is measured by
one `sum` over dictionary look-ups: some 40 times the speed of finding the words anew.
"""

from dataclasses import dataclass
from functools import cache

from anukul.languages import Language, load
from anukul.text.words import LETTER, SIGN, WORD, script_sign

FIELD = 24  # bits: 16 million of anything in one text
MASK = (1 << FIELD) - 1
TOKENS = 200_000  # tokens remembered for a language, about 50 MB; then it starts again
LONGEST_TOKEN = 64  # characters; longer ones, as in scripts without spaces, are counted each time
MIN_STEM = 2  # characters before an ending, so that a word is not its own ending
FIRST = 7  # counts that are no evidence, in the order of Measure


def _flags(sets: "list[frozenset[str]]") -> dict[str, int]:
    """Return {word: a bit for each of the sets that holds it}."""
    flags: dict[str, int] = {}
    for place, words in enumerate(sets):
        for word in words:
            flags[word] = flags.get(word, 0) | 1 << place
    return flags


@dataclass(frozen=True, slots=True)
class Measure:
    """The counts of a text; `evidence` holds one number for each of the meter's languages, its own first."""

    words: int
    characters: int  # of words, in code points: letters, marks, digits and joiners
    without_letter: int  # words that hold no letter
    letters: int  # with vowel signs
    in_script: int  # those of the language's script
    menu_words: int  # words that may be part of a boilerplate phrase
    stop_words: int
    evidence: tuple[float, ...]

    @property
    def script_share(self) -> float:
        """The share of the letters and signs in the language's script, 0 without letters."""
        return self.in_script / self.letters if self.letters else 0.0


class _Letters(dict[str, int]):
    """{character of a word: its packed counts}: one character, a letter or sign or not, in the script or not."""

    def __init__(self, script: str) -> None:
        super().__init__()
        self._in_script = script_sign(script)

    def __missing__(self, character: str) -> int:
        letter, in_script = SIGN.match(character), self._in_script.match(character)
        packed = (1 << FIELD) + (int(bool(letter)) << 3 * FIELD) + (int(bool(in_script)) << 4 * FIELD)
        self[character] = packed
        return packed


class Meter(dict[str, int]):
    """{white-space token: its packed counts}, filled as tokens come and bounded."""

    def __init__(self, language: Language) -> None:
        super().__init__()
        self.languages = (language, *(load(code) for code in language.confusables))
        self._letters = _Letters(language.script)
        self._stop_words = language.quality.stop_words
        phrases = language.boilerplate | load("eng_Latn").boilerplate
        self._menu = frozenset(max(WORD.findall(phrase.lower()), key=len) for phrase in phrases)
        self._weights = [
            (item.thresholds.function_word_weight, item.thresholds.suffix_weight) for item in self.languages
        ]
        self._shifts = [(FIRST + 2 * place) * FIELD for place in range(len(self.languages))]
        self._function_words = _flags([item.function_words for item in self.languages])
        self._suffixes = _flags([item.suffixes for item in self.languages])
        self._longest = max(map(len, self._suffixes), default=0)
        self._ones = [
            sum(1 << shift for place, shift in enumerate(self._shifts) if flags >> place & 1)
            for flags in range(1 << len(self.languages))
        ]

    def __missing__(self, token: str) -> int:
        packed = sum(map(self._word, WORD.findall(token)))
        if len(token) <= LONGEST_TOKEN:
            if len(self) >= TOKENS:
                self.clear()
            self[token] = packed
        return packed

    def _word(self, word: str) -> int:
        packed = 1 + sum(map(self._letters.__getitem__, word))
        if not LETTER.search(word):
            packed += 1 << 2 * FIELD
        lower = word.lower()
        if lower in self._menu:
            packed += 1 << 5 * FIELD
        if lower in self._stop_words:
            packed += 1 << 6 * FIELD
        known = self._function_words.get(word, 0) | self._function_words.get(lower, 0)
        ending = 0
        for start in range(max(MIN_STEM, len(word) - self._longest), len(word)):
            ending |= self._suffixes.get(word[start:], 0)
        return packed + self._ones[known] + (self._ones[ending & ~known] << FIELD)

    def pack(self, text: str) -> int:
        """Return the packed counts of a text; those of a whole are the sum of its lines'."""
        return sum(map(self.__getitem__, text.split()))

    def unpack(self, packed: int) -> Measure:
        """Return the counts in an integer that `pack` returned, or in a sum of such."""
        evidence = [
            (packed >> shift & MASK) * word + (packed >> (shift + FIELD) & MASK) * suffix
            for shift, (word, suffix) in zip(self._shifts, self._weights, strict=True)
        ]
        return Measure(
            packed & MASK,
            packed >> FIELD & MASK,
            packed >> 2 * FIELD & MASK,
            packed >> 3 * FIELD & MASK,
            packed >> 4 * FIELD & MASK,
            packed >> 5 * FIELD & MASK,
            packed >> 6 * FIELD & MASK,
            tuple(evidence),
        )


def word_count(packed: int) -> int:
    """Return the words in packed counts, without unpacking the rest."""
    return packed & MASK


def menu_words(packed: int) -> int:
    """Return the words that may be part of a boilerplate phrase in packed counts."""
    return packed >> 5 * FIELD & MASK


@cache
def meter(code: str) -> Meter:
    """Return this process's meter for a language."""
    return Meter(load(code))


def measure(text: str, language: Language) -> Measure:
    """Return the counts of a text."""
    own = meter(language.code)
    return own.unpack(own.pack(text))
