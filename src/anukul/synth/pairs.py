"""Read parallel text: two line-aligned files, or one file with a column for each side."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from anukul.config import PairInput
from anukul.errors import UserError
from anukul.text.files import RawRow, count_rows, format_of, input_paths, read_lines, read_table


@dataclass(slots=True)
class RawPair:
    """One pair as read, or the rule that drops it unread."""

    number: int  # 0-based row of the input, skipped ones counted
    source: str
    target: str
    rule: str = ""
    detail: str = ""


def read_pairs(pair_input: PairInput) -> Iterator[RawPair]:
    """Yield the pairs of an input after `skip`, at most `limit`.

    Raises UserError for a missing file or column, and for two files that differ in lines, naming both counts.
    """
    stop = None if pair_input.limit is None else pair_input.skip + pair_input.limit
    rows = _aligned(pair_input) if pair_input.target is not None else _columns(pair_input)
    yield from islice(rows, pair_input.skip, stop)


def expected_pairs(pair_input: PairInput) -> int:
    """Return about how many pairs an input will give, for the progress bar."""
    total = -pair_input.skip
    for path in input_paths(pair_input.source):
        total += count_rows(path, format_of(path))
    return max(0, total if pair_input.limit is None else min(total, pair_input.limit))


def _aligned(pair_input: PairInput) -> Iterator[RawPair]:
    source_path, target_path = (_one(path) for path in (pair_input.source, pair_input.target or ""))
    counts = [_count_lines(path) for path in (source_path, target_path)]
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


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _columns(pair_input: PairInput) -> Iterator[RawPair]:
    columns = (pair_input.source_column, pair_input.target_column)
    number = 0
    for path in input_paths(pair_input.source):
        file_format = format_of(path)
        if file_format == "txt":
            raise UserError(
                f"{path}: a text file holds one side only; give `target` as a second file, "
                "or a .jsonl, .csv or .parquet file with two columns"
            )
        for row in read_table(path, file_format, columns):
            sides = (row.raw, "") if row.rule else (row.values[columns[0]], row.values[columns[1]])
            yield RawPair(number, *sides, row.rule, row.detail)
            number += 1
