"""What the training corpus says: the numbers and names of its sentences, and the content words beside them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

import regex

from anukul.languages import Language
from anukul.text.keys import fold_digits, match_key
from anukul.text.sentences import split_sentences
from anukul.text.words import WORD

NUMBER = regex.compile(
    r"(?<![\p{L}\p{M}\p{N}\-.,:/])\p{Nd}+(?:[.,:/]\p{Nd}+)*(?![.,:/]?\p{Nd})(?!-?[A-Za-z])"
)
LETTER = regex.compile(r"\p{L}")
CAPITALIZED = regex.compile(r"\p{Lu}[\p{L}\p{M}\u200c\u200d]+")
GRAPHEME = regex.compile(r"\X")
MAX_SENTENCES = 500_000  # of the corpus, the first ones
RARE_SHARE = 0.01  # a content word stands in at most this share of the sentences, or in MIN_RARE of them
MIN_RARE = 20
MIN_TOGETHER = 2  # sentence pairs that a name and its translation share
MIN_DICE = 0.6  # and their association: 2 * together / (one + other)


@dataclass(frozen=True, slots=True)
class Mention:
    """A number or a name in a sentence; `key` is the same for the same value, whatever its digits."""

    kind: str  # number | name
    key: str
    text: str
    start: int

    @property
    def form(self) -> tuple[str, ...]:
        """What a distractor must share: kind, script, and of numbers the places of digits and marks."""
        script = _script(self.text)
        if self.kind == "name":
            return (self.kind, script)
        return (self.kind, script, regex.sub(r"\p{Nd}", "0", self.text))


@dataclass(slots=True)
class Index:
    """The corpus sentence by sentence."""

    texts: list[str] = field(default_factory=list)
    content: list[frozenset[str]] = field(default_factory=list)  # stems of content words, per sentence
    places: dict[str, list[int]] = field(default_factory=dict)  # sentences of each value
    forms: dict[tuple[str, ...], Counter[str]] = field(default_factory=dict)  # values as written, by form
    keys: set[str] = field(default_factory=set)  # match keys of the sentences
    frequency: Counter[str] = field(default_factory=Counter)  # sentences of each stem

    def is_rare(self, word: str) -> bool:
        """Whether a word says something about its sentence."""
        return self.frequency[word] <= max(MIN_RARE, RARE_SHARE * len(self.texts))


def build_index(documents: Iterable[str], names: frozenset[str], language: Language) -> Index:
    """Read sentences with their mentions; repeated sentences count once."""
    index = Index()
    for document in documents:
        for sentence in split_sentences(document, language):
            if len(index.texts) == MAX_SENTENCES:
                return index
            key = match_key(sentence)
            if key in index.keys:
                continue
            index.keys.add(key)
            number = len(index.texts)
            index.texts.append(sentence)
            words = content_words(sentence, language)
            index.content.append(words)
            index.frequency.update(words)
            for mention in {held.key: held for held in mentions(sentence, names, language)}.values():
                index.places.setdefault(mention.key, []).append(number)
                index.forms.setdefault(mention.form, Counter())[mention.text] += 1
    return index


def mentions(sentence: str, names: frozenset[str], language: Language) -> Iterator[Mention]:
    """Yield numbers of two digits or more, in the language's digits or 0-9, and names, in their order by kind.

    A name is one of `names` or, in a script with capitals, a capitalised word that is not the first; its attached
    case markers are left off.
    """
    digits = set(language.digits) | set("0123456789")
    for match in NUMBER.finditer(sentence):
        written = match.group()
        figures = [letter for letter in written if letter.isnumeric()]
        if len(figures) >= 2 and set(figures) <= digits and len({_script(f) for f in figures}) == 1:
            yield Mention("number", fold_digits(written), written, match.start())
    for match in WORD.finditer(sentence):
        word = match.group()
        stem = stem_of(word, language)
        capital = CAPITALIZED.fullmatch(word) and (match.start() > 0 or language.script != "Latin")
        if stem in names or word in names or capital:
            held = word if word in names or capital else stem
            yield Mention("name", f"name:{held}", held, match.start())


def content_words(sentence: str, language: Language) -> frozenset[str]:
    """Return the stems of the words that are neither function words nor numbers."""
    found = set()
    for word in WORD.findall(sentence):
        if word in language.function_words or not LETTER.match(word) or len(GRAPHEME.findall(word)) < 2:
            continue
        stem = stem_of(word, language)
        if stem not in language.function_words:
            found.add(stem.casefold())
    return frozenset(found)


def stem_of(word: str, language: Language) -> str:
    """Return a word without its longest attached case marker, where at least two letters are left."""
    for suffix in _markers(language):
        if word.endswith(suffix) and len(GRAPHEME.findall(word[: -len(suffix)])) >= 2:
            return word[: -len(suffix)]
    return word


@cache
def _markers(language: Language) -> tuple[str, ...]:
    """The attached postpositions, longest first: suffixes that are function words, alone or two together."""
    words = language.function_words
    held = [
        suffix
        for suffix in language.suffixes
        if suffix in words
        or any(suffix[:place] in words and suffix[place:] in words for place in range(1, len(suffix)))
    ]
    return tuple(sorted(held, key=lambda suffix: (-len(suffix), suffix)))


def aligned_names(pairs: Iterable[tuple[str, str]], language: Language, base: Language) -> frozenset[str]:
    """Return words of the language that stand where a capitalised word stands in the base language's sentences.

    For each capitalised word that does not begin a sentence, the word of the other side that goes with it most, where
    they stand together in MIN_TOGETHER pairs and their Dice coefficient is at least MIN_DICE. This finds names in
    scripts without capitals, such as Devanagari.
    """
    of_name: Counter[str] = Counter()
    of_word: Counter[str] = Counter()
    together: Counter[tuple[str, str]] = Counter()
    plain: set[str] = set()
    for source, target in pairs:
        found = {
            word
            for sentence in split_sentences(source, base)
            for word in CAPITALIZED.findall(sentence.partition(" ")[2])
        }
        plain.update(word for word in WORD.findall(source) if word.islower())
        words = {stem_of(word, language) for word in WORD.findall(target)} - language.function_words
        of_name.update(found)
        of_word.update(words)
        together.update((name, word) for name in found for word in words)
    best: dict[str, tuple[float, str]] = {}
    for (name, word), count in together.items():
        dice = 2 * count / (of_name[name] + of_word[word])
        usual = count < MIN_TOGETHER or dice < MIN_DICE or name.casefold() in plain
        if not usual and LETTER.match(word) and len(GRAPHEME.findall(word)) >= 2:
            best[name] = max(best.get(name, (0.0, "")), (dice, word))
    return frozenset(word for _, word in best.values())


def _script(text: str) -> str:
    """Return the script that the first letter or digit is written in, coarsely: by its Unicode block of 128."""
    first = next((letter for letter in text if letter.isalnum()), text[0])
    return "ASCII" if first.isascii() else f"U+{ord(first) & ~0x7F:04X}"
