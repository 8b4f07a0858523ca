"""The filters of quality: Gopher's and FineWeb-2's rules on mark-aware words, boilerplate, and broken encoding.

Sources: Rae et al. (2021), "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", section A.1.1
and table A1; Penedo et al. (2025), "FineWeb2", whose thresholds per language stand in languages/*.yaml. A word is a run
of letters, marks, digits and joiners, so that no vowel sign ends one; punctuation is no word.

The thresholds were set for web pages: of a sentence of 20 words, a name that stands twice or three dates mean nothing.
The rules about words, lines and repetition therefore apply from `from_words` on, 100. Measured on FLORES v1, TICO-19,
ekbana and nepner, joined to texts of about n words, what the Nepali thresholds drop of this good text:

    words   texts   stop words   alphabetic words   top 2/3/4-gram     duplicate 5-gram
       50   2,785   5.7 %        0.7 %              0.8/1.9/1.8 %      0.3 %
      100   1,555   0            0.3 %              0.1/0.3/0.3 %      0.1 %
      200     826   0            0.1 %              0                  0.1 %

Broken encoding and boilerplate are what they are at any length.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import accumulate, pairwise

from anukul.config import QualitySettings
from anukul.languages import Language, load
from anukul.text.measure import Measure, menu_words, word_count
from anukul.text.words import words

TOP, DUPLICATE = (2, 3, 4), (5, 6, 7, 8, 9, 10)  # lengths of the n-grams
MENU_WORDS = 12  # a line of more words is a sentence that happens to name a cookie
MENU_SHARE = 0.5  # of a line's characters: else it says more than the phrase
LINE_WORDS = 3  # a shorter line may repeat: in an interview the speaker's name stands before each answer
# What is left of broken encoding: U+FFFD, C1 controls, private use (fonts of their own), UTF-8 of Indic scripts and of
# Latin-1 letters read as Latin-1 or Windows-1252.
BROKEN = re.compile(
    "[\ufffd\x80-\x9f\ue000-\uf8ff]|\u00e0[\u00a4-\u00b7]|[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """The thresholds that hold for one language and one run: the YAML's where run.yaml says nothing."""

    min_stop_words: int
    min_word_length: float
    max_word_length: float
    min_alphabetic_words: float
    max_duplicate_lines: float
    max_top_ngrams: tuple[float, ...]
    max_duplicate_ngrams: tuple[float, ...]
    min_language_score: float


NGRAM_RULES = {n: f"{'top' if n in TOP else 'duplicate'}_{n}_gram" for n in (*TOP, *DUPLICATE)}
RULES = (
    "mojibake",
    "word_length",
    "alphabetic_words",
    "stop_words",
    "duplicate_lines",
    *NGRAM_RULES.values(),
)


@cache
def limits(code: str, settings: QualitySettings) -> Limits:
    """Return the thresholds for a language under the settings of a run."""
    own = load(code).quality
    names = [field.name for field in fields(Limits) if field.name != "min_language_score"]
    given = {name: getattr(settings, name) for name in names}
    chosen = {name: getattr(own, name) if value is None else value for name, value in given.items()}
    score = settings.min_language_score
    least = own.language_score if score is None else score
    return Limits(**chosen, min_language_score=least)


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule of quality that a text breaks, with the reason in words."""

    rule: str
    detail: str


def find_fault(text: str, known: Measure, language: Language, settings: QualitySettings) -> Fault | None:
    """Return the first rule that a normalised text breaks, None if it breaks none; `known` is its measure."""
    skip = settings.skip
    share = mojibake_share(text)
    if share > settings.max_mojibake and "mojibake" not in skip:
        return Fault("mojibake", f"{share:.3f} broken characters for each, more than {settings.max_mojibake}")
    if known.words < settings.from_words:
        return None
    limit = limits(language.code, settings)
    return (
        _word_fault(known, limit, skip) or _line_fault(text, limit, skip) or _ngram_fault(text, limit, skip)
    )


def _word_fault(known: Measure, limit: Limits, skip: tuple[str, ...]) -> Fault | None:
    length = known.characters / known.words
    if "word_length" not in skip and not limit.min_word_length <= length <= limit.max_word_length:
        span = f"{limit.min_word_length} to {limit.max_word_length}"
        return Fault("word_length", f"mean word length {length:.1f} characters, outside {span}")
    alphabetic = 1 - known.without_letter / known.words
    if "alphabetic_words" not in skip and alphabetic < limit.min_alphabetic_words:
        most = limit.min_alphabetic_words
        return Fault("alphabetic_words", f"{alphabetic:.2f} of the words hold a letter, fewer than {most}")
    if "stop_words" not in skip and known.stop_words < limit.min_stop_words:
        least = limit.min_stop_words
        return Fault(
            "stop_words", f"{known.stop_words} stop words among {known.words} words, fewer than {least}"
        )
    return None


def _line_fault(text: str, limit: Limits, skip: tuple[str, ...]) -> Fault | None:
    share = duplicate_lines(text)
    if "duplicate_lines" not in skip and share > limit.max_duplicate_lines:
        most = limit.max_duplicate_lines
        return Fault("duplicate_lines", f"{share:.2f} of the lines repeat an earlier one, more than {most}")
    return None


def _ngram_fault(text: str, limit: Limits, skip: tuple[str, ...]) -> Fault | None:
    most = dict(zip((*TOP, *DUPLICATE), (*limit.max_top_ngrams, *limit.max_duplicate_ngrams), strict=True))
    for n, (share, gram) in ngram_shares(words(text), len(text)):
        rule = NGRAM_RULES[n]
        if share > most[n] and rule not in skip:
            kind = "repeated" if n in DUPLICATE else "most frequent"
            detail = f"{share:.2f} of the characters in the {kind} {n}-grams, more than {most[n]}: {gram}"
            return Fault(rule, detail)
    return None


def mojibake_share(text: str) -> float:
    """Return the signs of broken encoding for each character of a text."""
    if text.isascii() or BROKEN.search(text) is None:
        return 0.0
    return sum(1 for _ in BROKEN.finditer(text)) / len(text)


def duplicate_lines(text: str) -> float:
    """Return the share of the lines that repeat an earlier one, those of a word or two left out."""
    if "\n" not in text:
        return 0.0
    lines = [line for line in text.split("\n") if line.count(" ") >= LINE_WORDS - 1]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


def ngram_shares(found: list[str], size: int) -> Iterator[tuple[int, tuple[float, str]]]:
    """Yield (n, (share, the n-gram)) for n from 2 to 10: of a text of `size` characters and these words.

    Up to 4, the share that the most frequent n-gram takes, 0 where none stands twice. From 5 on, the share in n-grams
    that stood before, without overlap. An n-gram repeats only where the shorter one does, so only those are looked at.
    """
    ends = list(accumulate(map(len, found), initial=0))
    grams: list[tuple[str, ...]] = list(pairwise(found))
    places: Sequence[int] = range(len(grams))
    for n in (*TOP, *DUPLICATE):
        if n > 2:
            places = [place for place in places if place + n <= len(found)]
            grams = [tuple(found[place : place + n]) for place in places]
        counts = Counter(grams)
        if len(counts) == len(grams):
            places, grams = [], []
            yield n, (0.0, "")
            continue
        again = [(place, gram) for place, gram in zip(places, grams, strict=True) if counts[gram] > 1]
        yield n, (_top(counts, n, size) if n in TOP else _repeated(again, ends, n, size))
        places = [place for place, _ in again]


def _top(counts: "Counter[tuple[str, ...]]", n: int, size: int) -> tuple[float, str]:
    most = max(counts.values())
    gram = max((" ".join(gram) for gram, times in counts.items() if times == most), key=len)
    return most * len(gram) / size, gram


def _repeated(
    again: list[tuple[int, tuple[str, ...]]], ends: list[int], n: int, size: int
) -> tuple[float, str]:
    seen: set[tuple[str, ...]] = set()
    free = characters = 0
    first = ""
    for place, gram in again:
        if place < free:
            continue
        if gram in seen:
            first = first or " ".join(gram)
            characters += ends[place + n] - ends[place]
            free = place + n
        else:
            seen.add(gram)
    return characters / size, first


@cache
def _phrases(code: str) -> "re.Pattern[str]":
    phrases = {phrase.lower() for phrase in load(code).boilerplate | load("eng_Latn").boilerplate}
    found = "|".join(re.escape(phrase) for phrase in sorted(phrases, key=lambda item: (-len(item), item)))
    return re.compile(rf"(?:{found})")


def boilerplate(line: str, packed: int, language: Language) -> str | None:
    """Return the phrase that makes a line with these packed counts part of a page's frame, None for text."""
    if not menu_words(packed) or word_count(packed) > MENU_WORDS:
        return None
    found = _phrases(language.code).findall(line.lower())
    return found[0] if sum(map(len, found)) >= MENU_SHARE * len(line) else None
