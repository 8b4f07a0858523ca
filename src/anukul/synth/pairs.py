"""Read parallel text: two line-aligned files, or one file with a column for each side."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from anukul.config import PairInput
from anukul.errors import UserError
from anukul.licenses import both, is_unknown, of_model
from anukul.synth.sources import Files
from anukul.text.files import RawRow, format_of, input_paths, read_lines, read_table


@dataclass(slots=True)
class RawPair:
    """One pair as read, or the rule that drops it unread."""

    number: int  # 0-based, over all files of the input, skipped ones counted
    source: str
    target: str
    rule: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class MadeBy:
    """What the rows of an input bear of the machine that made their base side; empty where people wrote it."""

    translator: str
    license: str  # of the translator
    rows: str  # license of the rows: that of the text, and the translator's where it is known


def made_by(item: PairInput) -> MadeBy:
    """Return who made the base side of an input, `unknown` where nobody has said so."""
    if item.origin == "organic":
        return MadeBy("", "", item.license)
    known = of_model(item.translator, item.translator_license)
    rows = item.license if is_unknown(known) else both(item.license, known)
    return MadeBy(item.translator or "unknown", known, rows)


def pair_files(pair_input: PairInput) -> Files:
    """Return the files of an input; raise UserError where there is none."""
    if pair_input.target is None:
        return Files(input_paths(pair_input.source))
    return Files([_one(path) for path in (pair_input.source, pair_input.target)], together=True)


def read_pairs(pair_input: PairInput, files: Files | None = None) -> Iterator[RawPair]:
    """Yield the pairs of an input after `skip`, at most `limit`.

    Raises UserError for a missing file or column, and for two files that differ in lines, naming both counts.
    """
    files = files or pair_files(pair_input)
    stop = None if pair_input.limit is None else pair_input.skip + pair_input.limit
    rows = _aligned(pair_input, files) if files.together else files.numbered(partial(_table, pair_input))
    yield from islice(rows, pair_input.skip, stop)


def _aligned(pair_input: PairInput, files: Files) -> Iterator[RawPair]:
    return files.rows_of(files.paths[0], _lines(pair_input, *files.paths))


def _lines(pair_input: PairInput, source_path: Path, target_path: Path) -> Iterator[RawPair]:
    counts = [sum(1 for _ in read_lines(path)) for path in (source_path, target_path)]
    if counts[0] != counts[1]:
        raise UserError(
            f"{pair_input.source} has {counts[0]:,} lines and {pair_input.target} has {counts[1]:,}: line-aligned "
            "files must have as many lines as each other; find the line that is missing"
        )
    lines = zip(read_lines(source_path), read_lines(target_path), strict=True)
    for number, (source, target) in enumerate(lines):
        bad: RawRow | None = next((row for row in (source, target) if row.rule), None)
        rule, detail = (bad.rule, bad.detail) if bad else ("", "")
        yield RawPair(number, source.raw, target.raw, rule, detail)


def _one(path: str) -> Path:
    paths = input_paths(path)
    if len(paths) > 1:
        raise UserError(f"{path}: matches {len(paths)} files; line-aligned text is one file for each side")
    return paths[0]


def _table(pair_input: PairInput, path: Path) -> Iterator[RawPair]:
    columns = (pair_input.source_column, pair_input.target_column)
    file_format = format_of(path)
    if file_format == "txt":
        raise UserError(
            f"{path}: a text file holds one side only; give `target` as a second file, "
            "or a .jsonl, .csv or .parquet file with two columns"
        )
    for row in read_table(path, file_format, columns):
        sides = (row.raw, "") if row.rule else (row.values[columns[0]], row.values[columns[1]])
        yield RawPair(0, *sides, row.rule, row.detail)
