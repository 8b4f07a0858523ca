"""Propose thresholds of quality from a sample that is trusted: `anukul corpus --estimate SAMPLE`.

A threshold is a quantile of what the sample itself holds, so that it says "more repetition than nearly all good text".
Lines that follow each other are joined to texts of the size from which the rules apply. What a threshold would drop of
the sample stands beside it, with how many texts that is out of.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import name

import numpy as np
import regex

from anukul.config import QualitySettings, TextInput
from anukul.corpus.quality import DUPLICATE, TOP, duplicate_lines, ngram_shares
from anukul.corpus.readers import read_documents
from anukul.errors import UserError
from anukul.languages import Language, Quality, available
from anukul.text.identify import identify
from anukul.text.keys import hash_key
from anukul.text.normalize import normalize_script
from anukul.text.words import LETTER, words

FEW = 400  # texts, below which a quantile of 0.995 rests on one or two of them
STOP_WORDS = 10  # the most frequent words, as many as FineWeb-2 has for most languages
FLOOR = 0.05  # a share of repetition: where the sample repeats nothing, a little is allowed all the same
TRUSTED = 0.9  # of a sample's documents look like its language
MEANING = {
    "min_word_length": "mean characters of a word, vowel signs counted; texts of shorter words are no prose",
    "max_word_length": "the same, at most: words are longer where spaces are missing",
    "min_alphabetic_words": "share of the words that hold a letter; the others are numbers",
    "max_duplicate_lines": "share of the lines that repeat an earlier one",
    "max_top_ngrams": "share of the characters in the most frequent run of 2, of 3 and of 4 words",
    "max_duplicate_ngrams": "share of the characters in runs of 5, 6, 7, 8, 9 and 10 words that stood before",
    "min_stop_words": "how many of a text's words are stop words; a list of names has none",
}
COLUMNS = {  # what a setting that is held now is measured by
    "min_word_length": ("word_length",),
    "max_word_length": ("word_length",),
    "min_alphabetic_words": ("alphabetic_words",),
    "max_duplicate_lines": ("duplicate_lines",),
    "max_top_ngrams": tuple(map(str, TOP)),
    "max_duplicate_ngrams": tuple(map(str, DUPLICATE)),
    "min_stop_words": ("own_stop_words",),
}
SCRIPT_LETTERS = 20_000  # letters looked at to tell the script


@dataclass(frozen=True, slots=True)
class Threshold:
    """A proposed number and the share of the sample's texts that it would drop."""

    value: float
    dropped: float
    floored: bool = False
    now: float | None = None  # what the language's YAML holds
    now_drops: float = 0.0  # share of the sample's texts


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sample proposes."""

    script: str
    documents: int  # that differ
    repeated: int  # documents left out, whose words stand in an earlier one
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
    all_texts = [text for text in (normalize_script(item, script)[0] for item in documents) if text]
    texts = list({hash_key(text): text for text in reversed(all_texts)}.values())[::-1]  # the first of each
    size = QualitySettings().from_words
    joined = list(_joined(texts, size))
    if not joined:
        again = ", repeated documents left out" if len(texts) < len(all_texts) else ""
        raise UserError(
            f"estimate: the sample holds fewer than {size} words{again}; the rules apply to texts of {size} words and "
            "more, and a few hundred such texts make a sample"
        )
    counts = Counter(word.lower() for text in texts for word in words(text))
    total = sum(counts.values())
    frequent = [(word, number) for word, number in counts.most_common(5 * STOP_WORDS) if LETTER.search(word)]
    chosen = frequent[:STOP_WORDS]
    own = language.quality.stop_words if language is not None else frozenset()
    measured = [_measure(text, {word for word, _ in chosen}, own) for text in joined]
    columns = {key: np.array([row[key] for row in measured]) for key in measured[0]}
    return Estimate(
        script,
        len(texts),
        len(all_texts) - len(texts),
        len(joined),
        total,
        quantile,
        size,
        [(word, number / total) for word, number in chosen],
        _thresholds(columns, quantile, language.quality if language is not None else None),
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


def _measure(text: str, frequent: set[str], own: frozenset[str]) -> dict[str, float]:
    found = words(text)
    with_letter = sum(1 for word in found if LETTER.search(word))
    shares = {n: share for n, (share, _) in ngram_shares(found, len(text))}
    return {
        "word_length": sum(map(len, found)) / len(found),
        "alphabetic_words": with_letter / len(found),
        "duplicate_lines": duplicate_lines(text),
        "stop_words": float(sum(1 for word in found if word.lower() in frequent)),
        "own_stop_words": float(sum(1 for word in found if word.lower() in own)),
        **{f"{n}": share for n, share in shares.items()},
    }


def _thresholds(
    columns: "dict[str, np.ndarray]", quantile: float, held: Quality | None
) -> dict[str, list[Threshold]]:
    """Return the quantiles of the columns, rounded outwards, beside the thresholds that are held now."""

    def most(key: str, digits: int = 3, floor: float = 0.0) -> Threshold:
        values = columns[key]
        value = float(np.ceil(np.quantile(values, quantile) * 10**digits) / 10**digits)
        value = max(value, floor)
        return Threshold(value, float(np.mean(values > value)), value == floor > 0)

    def least(key: str, digits: int = 3) -> Threshold:
        values = columns[key]
        value = float(np.floor(np.quantile(values, 1 - quantile) * 10**digits) / 10**digits)
        return Threshold(value, float(np.mean(values < value)))

    found = {
        "min_word_length": [least("word_length", 1)],
        "max_word_length": [most("word_length", 1)],
        "min_alphabetic_words": [least("alphabetic_words")],
        "max_duplicate_lines": [most("duplicate_lines", floor=FLOOR)],
        "max_top_ngrams": [most(str(n), floor=FLOOR) for n in TOP],
        "max_duplicate_ngrams": [most(str(n), floor=FLOOR) for n in DUPLICATE],
        "min_stop_words": [least("stop_words", 0)],
    }
    return found if held is None else {key: _beside(key, each, columns, held) for key, each in found.items()}


def _beside(
    key: str, proposed: list[Threshold], columns: "dict[str, np.ndarray]", held: Quality
) -> list[Threshold]:
    """Return proposed thresholds of one setting with those that are held now, and what these would drop."""
    now = getattr(held, key)
    numbers = now if isinstance(now, tuple) else (now,)
    rows = [columns[name] for name in COLUMNS[key]]
    below = key.startswith("min_")
    return [
        replace(item, now=float(number), now_drops=float(np.mean(row < number if below else row > number)))
        for item, number, row in zip(proposed, numbers, rows, strict=True)
    ]


def as_yaml(found: Estimate, source: str, language: Language | None) -> str:
    """Return the `quality:` section for languages/<code>.yaml, each line with what it would drop of the sample."""
    lines = [f"# {line}" for line in [*_sample_lines(found, source, language), *_use_lines(language)]]
    lines.append("quality:")
    lines.append(
        "  # least probability that a GlotLID model gives (corpus.glotlid); without one it is not used"
    )
    score = (
        f"{language.quality.language_score}  # as it is: a sample cannot tell it"
        if language is not None
        else "0.5  # a guess: a sample cannot tell it; FineWeb-2 has it for many languages, in configs/"
    )
    lines.append(f"  language_score: {score}")
    for key, thresholds in found.thresholds.items():
        lines.append(f"  # {MEANING[key]}")
        values = [_number(key, item.value) for item in thresholds]
        lines.append(f"  {key}: {_listed(values)}  # {_dropped(key, thresholds, found.texts)}")
    shares = ", ".join(f"{word} {share:.1%}" for word, share in found.stop_words)
    lines.append(f"  # the sample's most frequent words, with their share: {shares}")
    lines.append(
        "  # keep those that stand in any text, such as pronouns and case markers; take out names and topics"
    )
    lines.append(f"  stop_words: [{', '.join(_quoted(word) for word, _ in found.stop_words)}]")
    return "\n".join(lines) + "\n"


def _sample_lines(found: Estimate, source: str, language: Language | None) -> list[str]:
    """Say what was measured, and what speaks against the sample."""
    if language is not None:
        whom = language.code
    else:
        whom = (
            f"a language in {found.script} script, for there is no YAML of it among {', '.join(available())}"
        )
    lines = [
        f"Proposed for {whom}.",
        f"Sample: {source}, {found.documents:,} documents, {found.words:,} words.",
    ]
    if found.repeated:
        lines.append(
            f"{found.repeated:,} more documents repeat the words of an earlier one and were left out."
        )
    beyond = f"{1 - found.quantile:.1%}"
    lines += [
        f"The rules judge texts of {found.from_words} words or more, so shorter documents were joined in their order: "
        f"n = {found.texts:,} texts.",
        f"Each threshold lets {found.quantile:.1%} of them pass; behind it stands what it would drop.",
    ]
    if found.texts < FEW:
        rare = max(1, round(found.texts * (1 - found.quantile)))
        rests = (
            f"it rests on the {rare} most extreme texts" if rare > 1 else "it rests on the most extreme text"
        )
        lines.append(
            f"Few: {beyond} of {found.texts:,} texts is next to none, so that {rests}. Take a larger sample."
        )
    if found.looks_like and language is not None:
        ranked = sorted(found.looks_like.items(), key=lambda item: (-item[1], item[0]))
        shares = ", ".join(f"{code} {number / found.documents:.1%}" for code, number in ranked)
        lines.append(f"Its documents look like: {shares}.")
        if found.looks_like.get(language.code, 0) < TRUSTED * found.documents:
            lines.append(
                f"ATTENTION: fewer than {TRUSTED:.0%} look like {language.code}. Either this is no sample of it, or "
                f"function_words and suffixes in {language.code}.yaml are too short a list."
            )
    return lines


def _use_lines(language: Language | None) -> list[str]:
    place = f"languages/{language.code}.yaml" if language is not None else "the new language's YAML"
    return [
        f"It takes the place of `quality:` in {place}. For one run alone, put it under `corpus.quality` in",
        "run.yaml, without language_score, stop_words and min_stop_words, which counts these stop words.",
    ]


def _number(key: str, value: float) -> str:
    return f"{int(value)}" if key == "min_stop_words" else f"{value:g}"


def _listed(values: list[str]) -> str:
    return values[0] if len(values) == 1 else f"[{', '.join(values)}]"


def _dropped(key: str, thresholds: list[Threshold], texts: int) -> str:
    """Say what the proposed numbers drop of the texts, and what those do that hold now."""
    said = f"drops {_listed([f'{round(item.dropped * texts):,}' for item in thresholds])} of {texts:,}"
    if all(item.now is not None for item in thresholds):
        now = _listed([_number(key, item.now or 0.0) for item in thresholds])
        said += f"; now {now}, which drops {_listed([f'{round(item.now_drops * texts):,}' for item in thresholds])}"
    if any(item.floored for item in thresholds):
        said += f"; {FLOOR:g} where the sample hardly repeats itself"
    return said


def _quoted(word: str) -> str:
    """Return a word as YAML reads it as text, and not as a truth value or a number."""
    return f'"{word}"' if regex.fullmatch(r"[A-Za-z]{1,5}", word) else word
