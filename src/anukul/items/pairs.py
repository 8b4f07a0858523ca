"""Minimal pairs: a grammatical sentence and one that differs from it and is not; ours, BLiMP's and MultiBLiMP's."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.config import resolve
from anukul.errors import UserError
from anukul.items.rows import (
    BadRowError,
    check_unique,
    label_of,
    not_empty,
    read_jsonl,
    read_lines,
    short,
    text_of,
)

# What the two sentences are called: here, in BLiMP (arXiv 1912.00582), in MultiBLiMP (arXiv 2504.02768).
SENTENCES = (("good", "bad"), ("sentence_good", "sentence_bad"), ("sen", "wrong_sen"))
PHENOMENA = ("phenomenon", "UID", "linguistics_term")  # the first that a row has
NUMBERS = ("pairID", "pair_id")  # BLiMP's, which start anew in every file
SUFFIXES = (".jsonl", ".ndjson", ".tsv")
UNKNOWN = -1  # distance


@dataclass(frozen=True, slots=True)
class MinimalPair:
    """Two sentences of which the good one should be the likelier.

    `distance` is the number of words between the word that demands a form and the word that differs; -1: not known.
    `attractor` is a word that would demand the wrong form; "": there is none; None: not known.
    """

    id: str
    good: str
    bad: str
    phenomenon: str
    language: str
    cluster: str  # pairs made from one frame; the id where a pair stands alone
    split: str = ""
    distance: int = UNKNOWN
    attractor: str | None = None


def is_pair_row(row: dict[str, Any]) -> bool:
    """Whether a row is a minimal pair."""
    return any(good in row for good, _ in SENTENCES)


def load_pairs(path: str, language: str) -> list[MinimalPair]:
    """Read a file (.jsonl, or MultiBLiMP's .tsv), all such files of a folder, or those of a glob.

    `language` is that of rows without one of their own; a row without a phenomenon has the name of its file. Raise
    UserError naming file and line of a bad row, or where there is no pair.
    """
    files = _files(path)
    pairs: list[MinimalPair] = []
    for file in files:
        shown = path if len(files) == 1 and resolve(path) == file else str(file)
        prefix = "" if len(files) == 1 else f"{file.stem}:"
        for number, row in _rows(shown):
            try:
                pairs.append(pair_of(row, f"{prefix}{number}", language, file.stem))
            except BadRowError as error:
                raise UserError(f"{shown}: line {number}: {error}") from None
    not_empty(path, pairs, "minimal pairs")
    check_unique(path, [pair.id for pair in pairs])
    return pairs


def pair_of(row: dict[str, Any], identifier: str, language: str, phenomenon: str) -> MinimalPair:
    """Return the pair of a row; the last three are for what it does not say. Raise BadRowError for a bad row."""
    keys = next((keys for keys in SENTENCES if keys[0] in row), None)
    if keys is None:
        raise BadRowError(
            "a minimal pair needs good and bad, or BLiMP's sentence_good and sentence_bad, or MultiBLiMP's sen and "
            f"wrong_sen; found {', '.join(str(key) for key in row) or 'nothing'}"
        )
    good, bad = (text_of(row, key) for key in keys)
    if good == bad:
        raise BadRowError("the good and the bad sentence are the same")
    number = next((label_of(row, key, "") for key in NUMBERS if row.get(key) is not None), "")
    if number:
        identifier = "/".join(part for part in (label_of(row, "UID", phenomenon), number) if part)
    identifier = label_of(row, "id", identifier)
    ours = keys == SENTENCES[0]  # MultiBLiMP counts its distance in another way
    return MinimalPair(
        id=identifier,
        good=good,
        bad=bad,
        phenomenon=next(
            (label_of(row, key, "") for key in PHENOMENA if row.get(key) not in (None, "")), phenomenon
        ),
        language=label_of(row, "language", language),
        cluster=label_of(row, "cluster", identifier),
        split=label_of(row, "split", ""),
        distance=_distance(row) if ours else UNKNOWN,
        attractor=_attractor(row) if ours else None,
    )


def _distance(row: dict[str, Any]) -> int:
    value = row.get("distance", UNKNOWN)
    if isinstance(value, bool) or not isinstance(value, int) or value < UNKNOWN:
        raise BadRowError(f"'distance' must be a count of words, got {short(value)}")
    return value


def _attractor(row: dict[str, Any]) -> str | None:
    value = row.get("attractor")
    if value is not None and not isinstance(value, str):
        raise BadRowError(f"'attractor' must be a word, or empty where there is none, got {short(value)}")
    return value


def _files(path: str) -> list[Path]:
    """Return the file, or those of a folder or glob in the order of their names."""
    found = resolve(path)
    if found.is_dir():
        files = sorted(file for file in found.iterdir() if file.suffix in SUFFIXES and file.is_file())
        if not files:
            raise UserError(
                f"{path}: no minimal pairs in this folder: it has no {' or '.join(SUFFIXES)} file"
            )
        return files
    if "*" in found.name:
        files = sorted(file for file in found.parent.glob(found.name) if file.is_file())
        if not files:
            raise UserError(f"{path}: no such file")
        return files
    return [found]


def _rows(path: str) -> Iterable[tuple[int, dict[str, Any]]]:
    return _table(path) if path.endswith(".tsv") else read_jsonl(path)


def _table(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, row) of a table with tabs, a header, and quotation marks doubled inside quoted cells."""
    reader = csv.DictReader((f"{line}\n" for _, line in read_lines(path)), delimiter="\t")
    try:
        for row in reader:
            if None in row:
                raise UserError(f"{path}: line {reader.line_num}: more cells than the header has")
            yield reader.line_num, dict(row)
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: not a table ({error})") from None
