"""Read rows of .txt, .jsonl, .json, .csv and .parquet files, one at a time; a bad row is a row, not a crash.

Every reader yields `RawRow`s in file order. A line that is no UTF-8 or no JSON comes as a row with the name
of the rule that drops it, and where it stands, so that the caller can count it and write it down.
"""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import regex

from anukul.config import resolve
from anukul.errors import UserError

FORMATS = {
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}
SURROGATE = regex.compile(r"[\udc80-\udcff]")
BATCH = 1024  # rows of a Parquet file in memory at once


@dataclass(slots=True)
class RawRow:
    """One row as read: its values by column, or the rule that drops it and why."""

    number: int  # 1-based line or row in its file
    values: dict[str, str] = field(default_factory=dict)
    rule: str = ""  # "" where the row was read, else invalid_utf8 | invalid_json | missing_column
    detail: str = ""
    raw: str = ""  # what could be read of a bad row


def input_paths(path: str) -> list[Path]:
    """Return the file, or the files of a glob sorted by name; raise UserError when there is none."""
    found = resolve(path)
    files = [found]
    if "*" in found.name:
        files = sorted(item for item in found.parent.glob(found.name) if item.is_file())
    if not files or not files[0].is_file():
        raise UserError(f"{path}: no such file")
    return files


def format_of(path: Path, asked: str = "auto") -> str:
    """Return the format of a file, by its suffix when `auto`; an unknown suffix is read as lines of text."""
    return FORMATS.get(path.suffix.lower(), "txt") if asked == "auto" else asked


def count_rows(path: Path, file_format: str) -> int:
    """Return about how many rows a file holds, for a progress bar: exact for Parquet, else line breaks."""
    if file_format == "parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) + 1


def read_table(
    path: Path, file_format: str, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[RawRow]:
    """Yield the rows of a file with the named columns as text; a .txt file has one column, the first named.

    Blank lines are not rows. Raises UserError when the file or a column is not there, naming those that are.
    """
    if file_format == "txt":
        for row in read_lines(path):
            if row.rule or row.raw.strip():
                yield RawRow(row.number, {columns[0]: row.raw}, row.rule, row.detail, row.raw)
        return
    readers = {"jsonl": _read_jsonl, "json": _read_json, "csv": _read_csv, "parquet": _read_parquet}
    yield from readers[file_format](path, columns, optional)


def read_lines(path: Path) -> Iterator[RawRow]:
    """Yield every line of a text file, blank ones too, with its text in `raw`."""
    for number, offset, line in _byte_lines(path):
        try:
            yield RawRow(number, raw=line.decode("utf-8"))
        except UnicodeDecodeError as error:
            detail = _bad_byte(path, number, offset + error.start)
            yield RawRow(number, rule="invalid_utf8", detail=detail, raw=line.decode("utf-8", "replace"))


def _bad_byte(path: Path, number: int, offset: int) -> str:
    return f"{path.name}: line {number}, byte offset {offset}: not UTF-8"


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _byte_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield (line number, byte offset, line without its break); a byte order mark is left out."""
    offset = 0
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            size = len(line)
            if number == 1:
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    command = f"iconv -f UTF-16 -t UTF-8 {path.name} > new.txt"
                    raise UserError(f"{path}: is UTF-16; convert it: {command}")
                bare = line.removeprefix(b"\xef\xbb\xbf")
                offset, size, line = offset + len(line) - len(bare), len(bare), bare
            yield number, offset, line.removesuffix(b"\n").removesuffix(b"\r")
            offset += size


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pick(
    path: Path, number: int, item: Any, columns: Sequence[str], optional: Sequence[str], first: bool
) -> RawRow:
    """Return the row of one JSON object; the first of a file must have the columns, a later one may be bad."""
    if not isinstance(item, dict):
        detail = f"{path.name}: row {number}: not an object of columns"
        return RawRow(number, rule="invalid_json", detail=detail, raw=_as_text(item))
    missing = [name for name in columns if name not in item]
    if missing and first:
        raise missing_columns(path, missing, list(item))
    if missing:
        detail = f"{path.name}: row {number}: no {', '.join(missing)}; it has {', '.join(item)}"
        return RawRow(number, rule="missing_column", detail=detail, raw=_as_text(item))
    names = [*columns, *(name for name in optional if name in item)]
    # JSON may escape half of a surrogate pair, which no UTF-8 file can hold.
    values = {name: _as_text(item[name]).encode("utf-8", "replace").decode("utf-8") for name in names}
    return RawRow(number, values)


def missing_columns(path: Path, missing: Sequence[str], found: Sequence[str]) -> UserError:
    """Return the error for columns that a file lacks."""
    lacks = ", ".join(f"'{name}'" for name in missing)
    names = ", ".join(found) or "(none)"
    return UserError(
        f"{path}: no column {lacks}; the columns are {names}; set the column names in the config"
    )


def _read_jsonl(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    first = True
    for line in read_lines(path):
        if line.rule:
            yield line
            continue
        if not line.raw.strip():
            continue
        try:
            item = json.loads(line.raw)
        except (json.JSONDecodeError, RecursionError) as error:
            message = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
            detail = f"{path.name}: line {line.number}: not JSON: {message}"
            yield RawRow(line.number, rule="invalid_json", detail=detail, raw=line.raw)
            continue
        yield _pick(path, line.number, item, columns, optional, first)
        first = False


def _read_json(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    with _open(path) as file:
        data = file.read()
    try:
        items = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte offset {error.start}: not UTF-8; convert the file to UTF-8") from None
    except json.JSONDecodeError as error:
        message = f"{path}: line {error.lineno}: not JSON: {error.msg}; a file of lines is .jsonl"
        raise UserError(message) from None
    if not isinstance(items, list):
        raise UserError(f"{path}: must hold a list of objects; a file of one object per line is .jsonl")
    for number, item in enumerate(items, 1):
        yield _pick(path, number, item, columns, optional, number == 1)


def _read_csv(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    bad: list[int] = []  # byte offsets of the row being read

    def decoded() -> Iterator[str]:
        for _, offset, line in _byte_lines(path):
            try:
                yield line.decode("utf-8") + "\n"
            except UnicodeDecodeError as error:
                bad.append(offset + error.start)
                yield line.decode("utf-8", "surrogateescape") + "\n"

    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(decoded())
    try:
        header = next(reader, [])
        missing = [name for name in columns if name not in header]
        if missing:
            raise missing_columns(path, missing, header)
        places = {name: header.index(name) for name in [*columns, *optional] if name in header}
        bad.clear()
        line = reader.line_num + 1
        for cells in reader:
            number, line = line, reader.line_num + 1
            if bad:
                raw = SURROGATE.sub("\ufffd", ",".join(cells))
                yield RawRow(number, rule="invalid_utf8", detail=_bad_byte(path, number, bad[0]), raw=raw)
                bad.clear()
            elif len(cells) < len(header) and cells:
                detail = f"{path.name}: line {number}: {len(cells)} cells, the header has {len(header)}"
                yield RawRow(number, rule="missing_column", detail=detail, raw=",".join(cells))
            elif cells:
                yield RawRow(number, {name: cells[place] for name, place in places.items()})
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: not CSV: {error}") from None


def _read_parquet(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a Parquet file: {error}") from None
    with file:
        found = file.schema_arrow.names
        missing = [name for name in columns if name not in found]
        if missing:
            raise missing_columns(path, missing, found)
        number = 0
        wanted = [*columns, *(name for name in optional if name in found)]
        for batch in file.iter_batches(BATCH, columns=wanted):
            for item in batch.to_pylist():
                number += 1
                yield RawRow(number, {name: _as_text(value) for name, value in item.items()})
