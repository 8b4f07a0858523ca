"""Rows of text, JSON and CSV files; a line that is none is a row with the rule that drops it."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import regex

from anukul.text.files.opened import MAX_ROW, CorruptFile, OddFile, byte_lines, open_bytes, reading

MEGABYTE = 1 << 20
MAX_JSON = 512 * MEGABYTE  # of a .json file, which is read as a whole
SURROGATE = regex.compile(r"[\udc80-\udcff]")


@dataclass(slots=True)
class RawRow:
    """One row as read: its values by column, or the rule that drops it and why."""

    number: int  # 1-based line or row in its file
    values: dict[str, str] = field(default_factory=dict)
    # "" where the row was read, else invalid_utf8 | invalid_json | invalid_csv | missing_column | extra_cells |
    # oversized_row
    rule: str = ""
    detail: str = ""
    raw: str = ""  # what could be read of a bad row


Reader = Callable[[Path, Sequence[str], Sequence[str]], Iterator[RawRow]]


def read_lines(path: Path) -> Iterator[RawRow]:
    """Yield every line of a text file, blank ones too, with its text in `raw`."""
    for number, offset, line in byte_lines(path):
        if line is None:
            detail = f"{path.name}: line {number}: more than {MAX_ROW // MEGABYTE} MB"
            yield RawRow(number, rule="oversized_row", detail=detail)
            continue
        try:
            yield RawRow(number, raw=line.decode("utf-8"))
        except UnicodeDecodeError as error:
            detail = _bad_byte(path, number, offset + error.start)
            yield RawRow(number, rule="invalid_utf8", detail=detail, raw=line.decode("utf-8", "replace"))


def read_txt(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    """Yield the lines that are not blank; the one column is the first named."""
    for row in read_lines(path):
        if row.rule or row.raw.strip():
            yield RawRow(row.number, {columns[0]: row.raw}, row.rule, row.detail, row.raw)


def _bad_byte(path: Path, number: int, offset: int) -> str:
    return f"{path.name}: line {number}, byte offset {offset}: not UTF-8"


def as_text(value: Any) -> str:
    """Return a cell as text: "" for none, JSON for what is no text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def pick(
    path: Path | str, number: int, item: Any, columns: Sequence[str], optional: Sequence[str], first: bool
) -> RawRow:
    """Return the row of one JSON object; the first of a file must have the columns, a later one may be bad."""
    name = Path(path).name
    if not isinstance(item, dict):
        detail = f"{name}: row {number}: not an object of columns"
        return RawRow(number, rule="invalid_json", detail=detail, raw=as_text(item))
    missing = [column for column in columns if column not in item]
    if missing and first:
        raise missing_columns(path, missing, list(item))
    if missing:
        detail = f"{name}: row {number}: no {', '.join(missing)}; it has {', '.join(item)}"
        return RawRow(number, rule="missing_column", detail=detail, raw=as_text(item))
    names = [*columns, *(column for column in optional if column in item)]
    # JSON may escape half of a surrogate pair, which no UTF-8 file can hold.
    values = {column: as_text(item[column]).encode("utf-8", "replace").decode("utf-8") for column in names}
    return RawRow(number, values)


def missing_columns(path: Path | str, missing: Sequence[str], found: Sequence[str]) -> OddFile:
    """Return the error for columns that a file lacks."""
    lacks = ", ".join(f"'{name}'" for name in missing)
    names = ", ".join(found) or "(none)"
    return OddFile(path, f"no column {lacks}; the columns are {names}; set the column names in the config")


def read_jsonl(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    """Yield the rows of a file of one JSON object per line."""
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
        yield pick(path, line.number, item, columns, optional, first)
        first = False


def read_json(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    """Yield the rows of a file that holds one list of objects; it is read as a whole."""
    with open_bytes(path) as file, reading(path):
        data = file.read(MAX_JSON + 1)
    if len(data) > MAX_JSON:
        raise OddFile(
            path,
            f"a .json file is read as a whole, and this one is longer than {MAX_JSON // MEGABYTE} MB; convert it to "
            f"lines: jq -c '.[]' {path.name} > new.jsonl",
        )
    try:
        items = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CorruptFile(path, f"byte offset {error.start}: not UTF-8; convert it to UTF-8") from None
    except json.JSONDecodeError as error:
        reason = f"line {error.lineno}: not JSON: {error.msg}; a file of lines is .jsonl"
        raise CorruptFile(path, reason) from None
    except RecursionError:
        raise CorruptFile(path, "not JSON: nested too deep") from None
    if not isinstance(items, list):
        raise OddFile(path, "must hold a list of objects; a file of one object per line is .jsonl")
    for number, item in enumerate(items, 1):
        yield pick(path, number, item, columns, optional, number == 1)


def read_csv(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    """Yield the rows of a comma-separated file with a header; a quoted cell may hold line breaks."""
    yield from _separated(path, columns, optional, ",")


def read_tsv(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    """Yield the rows of a tab-separated file with a header; a quotation mark is a character as any other.

    So the registration of text/tab-separated-values has it (IANA, 1993), and so is text written that begins with one.
    """
    yield from _separated(path, columns, optional, "\t")


def _separated(
    path: Path, columns: Sequence[str], optional: Sequence[str], delimiter: str
) -> Iterator[RawRow]:
    rows = _cells(path, delimiter)
    header, first = next(rows, ([], RawRow(1)))
    if first.rule == "invalid_csv":
        raise CorruptFile(path, f"the header is no row: {first.detail}")
    missing = [name for name in columns if name not in header]
    if missing:
        raise missing_columns(path, missing, header)
    places = {name: header.index(name) for name in [*columns, *optional] if name in header}
    for cells, row in rows:
        if row.rule:
            yield row
        elif not cells:
            continue
        elif len(cells) < len(header) or any(cell.strip() for cell in cells[len(header) :]):
            row.rule = "missing_column" if len(cells) < len(header) else "extra_cells"
            row.detail = f"{path.name}: line {row.number}: {len(cells)} cells, the header has {len(header)}"
            row.raw = delimiter.join(cells)
            yield row
        else:
            row.values = {name: cells[place] for name, place in places.items()}
            yield row


def _cells(path: Path, delimiter: str) -> Iterator[tuple[list[str], RawRow]]:
    """Yield the cells of each row, and the row that they shall make: its number, or what is wrong with it.

    Quotation marks are taken strictly, or one that is open by mistake would swallow the rows up to the next. After a
    row that is wrong, reading goes on at the next line.
    """
    bad: list[int] = []  # byte offsets in the row being read
    held: list[str] = []  # its lines
    ended = False

    def decoded() -> Iterator[str]:
        nonlocal ended
        for number, offset, line in byte_lines(path):
            if line is None:
                raise CorruptFile(path, f"line {number}: more than {MAX_ROW // MEGABYTE} MB")
            try:
                held.append(line.decode("utf-8") + "\n")
            except UnicodeDecodeError as error:
                bad.append(offset + error.start)
                held.append(line.decode("utf-8", "surrogateescape") + "\n")
            yield held[-1]
        ended = True

    csv.field_size_limit(MAX_ROW)
    plain = delimiter == "\t"
    kind = "TSV" if plain else "CSV"
    reader = csv.reader(
        decoded(),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
        strict=True,
    )
    while True:
        held.clear()
        bad.clear()
        number = reader.line_num + 1
        cells: list[str] = []
        row = RawRow(number)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if ended:
                reason = f"line {number}: a quotation mark is opened in this row and never closed"
                raise CorruptFile(path, reason) from None
            if sum(map(len, held)) > MAX_ROW:
                raise CorruptFile(path, f"line {reader.line_num}: not {kind}: {error}") from None
            row.rule, row.detail = "invalid_csv", f"{path.name}: line {number}: not {kind}: {error}"
        if bad:
            row.rule, row.detail = "invalid_utf8", _bad_byte(path, number, bad[0])
        if row.rule:
            raw = delimiter.join(cells) if cells else "".join(held).removesuffix("\n")
            row.raw = SURROGATE.sub("\ufffd", raw)
        yield cells, row
