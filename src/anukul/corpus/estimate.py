"""Propose thresholds of quality from a sample that is trusted: `anukul corpus --estimate SAMPLE`.

A threshold is a quantile of what the sample itself holds, so that it says "more repetition than nearly all good text".
Lines that follow each other are joined to texts of the size from which the rules apply. What a threshold would drop of
the sample stands beside it, with how many texts that is out of.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unicodedata import name

import numpy as np
import regex

from anukul.config import QualitySettings, TextInput
from anukul.corpus.quality import DUPLICATE, TOP, duplicate_lines, ngram_shares
from anukul.corpus.readers import read_documents
from anukul.errors import UserError
from anukul.languages import Language
from anukul.text.identify import identify
from anukul.text.normalize import normalize_script
from anukul.text.words import LETTER, words

FEW = 400  # texts, below which a quantile of 0.995 rests on one or two of them
STOP_WORDS = 10  # the most frequent words, as many as FineWeb-2 has for most languages
FLOOR = 0.05  # a share of repetition: where the sample repeats nothing, a little is allowed all the same
SCRIPT_LETTERS = 20_000  # letters looked at to tell the script


@dataclass(frozen=True, slots=True)
class Threshold:
    """A proposed number and the share of the sample's texts that it would drop."""

    value: float
    dropped: float
    floored: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sample proposes."""

    script: str
    documents: int
    texts: int  # documents joined to the size from which the rules apply
    words: int
    quantile: float
    from_words: int
    stop_words: list[tuple[str, float]]  # with their share of the words
    thresholds: dict[str, list[Threshold]]
    looks_like: dict[str, int]  # documents by language; empty where the language has no YAML


def read_sample(path: Path) -> list[str]:
    """Return the documents of a sample in any format the corpus reads; a .txt line is a document."""
    found = [item.text for item in read_documents(TextInput(path=str(path))) if not item.rule]
    if not any(text.strip() for text in found):
        raise UserError(f"{path}: no text to estimate from")
    return found


def script_of(texts: Iterable[str]) -> str:
    """Return the Unicode script of most letters, as in \\p{Script=...}."""
    letters: list[str] = []
    for text in texts:
        letters += LETTER.findall(text)
        if len(letters) > SCRIPT_LETTERS:
            break
    if not letters:
        raise UserError("estimate: the sample holds no letters")
    first = Counter(name(letter, "?").split()[0].title() for letter in letters).most_common(1)[0][0]
    return "Han" if first == "Cjk" else first


def estimate(documents: list[str], language: Language | None, quantile: float = 0.995) -> Estimate:
    """Return the thresholds that a sample proposes; `language` is None where it has no YAML yet."""
    if not 0.5 < quantile < 1:
        raise UserError(f"estimate: the quantile must lie between 0.5 and 1, not {quantile}")
    script = language.script if language is not None else script_of(documents)
    texts = [text for text in (normalize_script(item, script)[0] for item in documents) if text]
    size = QualitySettings().from_words
    joined = list(_joined(texts, size))
    if not joined:
        raise UserError(f"estimate: the sample holds fewer than {size} words; the rules apply from {size} on")
    counts = Counter(word.lower() for text in texts for word in words(text))
    total = sum(counts.values())
    frequent = [(word, number) for word, number in counts.most_common(5 * STOP_WORDS) if LETTER.search(word)]
    chosen = frequent[:STOP_WORDS]
    measured = [_measure(text, {word for word, _ in chosen}) for text in joined]
    columns = {key: np.array([row[key] for row in measured]) for key in measured[0]}
    return Estimate(
        script,
        len(texts),
        len(joined),
        total,
        quantile,
        size,
        [(word, number / total) for word, number in chosen],
        _thresholds(columns, quantile),
        dict(Counter(identify(text, language).language for text in texts)) if language is not None else {},
    )


def _joined(texts: list[str], size: int) -> Iterator[str]:
    """Yield texts of at least `size` words, a line for each document; what is left over at the end is not used."""
    current: list[str] = []
    number = 0
    for text in texts:
        current.append(text)
        number += len(words(text))
        if number >= size:
            yield "\n".join(current)
            current, number = [], 0


def _measure(text: str, frequent: set[str]) -> dict[str, float]:
    found = words(text)
    with_letter = sum(1 for word in found if LETTER.search(word))
    shares = {n: share for n, (share, _) in ngram_shares(found, len(text))}
    return {
        "word_length": sum(map(len, found)) / len(found),
        "alphabetic_words": with_letter / len(found),
        "duplicate_lines": duplicate_lines(text),
        "stop_words": float(sum(1 for word in found if word.lower() in frequent)),
        **{f"{n}": share for n, share in shares.items()},
    }


def _thresholds(columns: "dict[str, np.ndarray]", quantile: float) -> dict[str, list[Threshold]]:
    def most(key: str, digits: int = 3, floor: float = 0.0) -> Threshold:
        values = columns[key]
        value = float(np.ceil(np.quantile(values, quantile) * 10**digits) / 10**digits)
        value = max(value, floor)
        return Threshold(value, float(np.mean(values > value)), value == floor > 0)

    def least(key: str, digits: int = 3) -> Threshold:
        values = columns[key]
        value = float(np.floor(np.quantile(values, 1 - quantile) * 10**digits) / 10**digits)
        return Threshold(value, float(np.mean(values < value)))

    return {
        "min_word_length": [least("word_length", 1)],
        "max_word_length": [most("word_length", 1)],
        "min_alphabetic_words": [least("alphabetic_words")],
        "max_duplicate_lines": [most("duplicate_lines", floor=FLOOR)],
        "max_top_ngrams": [most(str(n), floor=FLOOR) for n in TOP],
        "max_duplicate_ngrams": [most(str(n), floor=FLOOR) for n in DUPLICATE],
        "min_stop_words": [least("stop_words", 0)],
    }


def as_yaml(found: Estimate, source: str, language: Language | None) -> str:
    """Return the `quality:` section for languages/<code>.yaml, each line with what it would drop of the sample."""
    whom = language.code if language is not None else f"a language in {found.script} script"
    rare = max(1, round(found.texts * (1 - found.quantile)))
    size = f"n = {found.texts:,} texts of at least {found.from_words} words each"
    lines = [
        f"# Proposed for {whom} from {source}: {found.documents:,} documents, {found.words:,} words.",
        f"# Measured on {size}, documents joined where they are shorter.",
        f"# Each threshold is the {found.quantile} quantile of the sample ({1 - found.quantile:.3g} for a minimum).",
    ]
    if found.texts < FEW:
        few = f"# Few: of {found.texts:,} texts, the quantile rests on the {rare} most extreme."
        lines.append(f"{few} Take a larger sample.")
    if found.looks_like:
        ranked = sorted(found.looks_like.items(), key=lambda item: (-item[1], item[0]))
        shares = ", ".join(f"{code} {number / found.documents:.1%}" for code, number in ranked)
        lines.append(f"# Its documents look like: {shares}.")
    lines.append(
        "# In run.yaml the same stands under `corpus.quality`, without language_score and stop_words."
    )
    lines.append("quality:")
    score = (
        f"{language.quality.language_score}  # as it was: a text"
        if language is not None
        else "0.5  # a guess: a text"
    )
    lines.append(
        f"  language_score: {score} cannot tell it; FineWeb-2 has it for many languages, in configs/"
    )
    for key, thresholds in found.thresholds.items():
        digits = "d" if key == "min_stop_words" else "g"
        values = [format(int(item.value) if digits == "d" else item.value, digits) for item in thresholds]
        value = values[0] if len(values) == 1 else f"[{', '.join(values)}]"
        lines.append(f"  {key}: {value}  # drops {_dropped(thresholds, found.texts)}")
    shares = ", ".join(f"{word} {share:.1%}" for word, share in found.stop_words)
    lines.append(f"  # The most frequent words, with their share: {shares}")
    lines.append(f"  stop_words: [{', '.join(_quoted(word) for word, _ in found.stop_words)}]")
    return "\n".join(lines) + "\n"


def _dropped(thresholds: list[Threshold], texts: int) -> str:
    numbers = [f"{round(item.dropped * texts):,}" for item in thresholds]
    note = (
        "; where the sample hardly repeats itself, a floor"
        if any(item.floored for item in thresholds)
        else ""
    )
    return f"{', '.join(numbers)} of {texts:,}{note}"


def _quoted(word: str) -> str:
    """Return a word as YAML reads it as text, and not as a truth value or a number."""
    return f'"{word}"' if regex.fullmatch(r"[A-Za-z]{1,5}", word) else word
