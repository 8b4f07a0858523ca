"""Rows of a file in any format, by named columns; how many there are."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from anukul.text.files.opened import CorruptFile, open_bytes, open_seekable, reading, sample_lines
from anukul.text.files.paths import compression_of
from anukul.text.files.rows import (
    RawRow,
    Reader,
    as_text,
    missing_columns,
    read_csv,
    read_json,
    read_jsonl,
    read_tsv,
    read_txt,
)

BATCH = 1024  # rows of a Parquet file in memory at once
BUFFER = 1 << 20  # bytes of a column that are read ahead
SAMPLE = 8 << 20  # bytes of a file's content from which its rows are estimated
PARQUET_ROW = 1000  # bytes, as a guess


def read_table(
    path: Path, file_format: str, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[RawRow]:
    """Yield the rows of a file with the named columns as text; a .txt file has one column, the first named.

    Blank lines are not rows. Raises UserError when a column is not there, naming those that are, and CorruptFile where
    the file cannot be read, or not to its end.
    """
    readers: dict[str, Reader] = {
        "txt": read_txt,
        "jsonl": read_jsonl,
        "json": read_json,
        "csv": read_csv,
        "tsv": read_tsv,
        "parquet": _read_parquet,
    }
    yield from readers[file_format](path, columns, optional)


def _read_parquet(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_seekable(path) as raw:
        try:
            file = pq.ParquetFile(raw, buffer_size=BUFFER)
        except (pa.ArrowException, OSError) as error:
            raise CorruptFile(path, f"not a Parquet file: {error}") from None
        with file:
            found = file.schema_arrow.names
            missing = [name for name in columns if name not in found]
            if missing:
                raise missing_columns(path, missing, found)
            number = 0
            wanted = [*columns, *(name for name in optional if name in found)]
            batches = file.iter_batches(BATCH, columns=wanted)
            while True:
                try:
                    with reading(path):
                        items = next(batches).to_pylist()
                except StopIteration:
                    return
                except (pa.ArrowException, UnicodeDecodeError) as error:
                    raise CorruptFile(path, f"damaged after row {number}: {error}") from None
                for item in items:
                    number += 1
                    yield RawRow(number, {name: as_text(value) for name, value in item.items()})


def count_rows(path: Path, file_format: str) -> int:
    """Return about how many rows a file holds: exact for Parquet, else line breaks; it is read to its end for that."""
    if file_format == "parquet":
        return _parquet_rows(path)
    with open_bytes(path) as file:
        lines = 0
        while True:
            with reading(path):
                block = file.read(BUFFER)
            if not block:
                return lines + 1
            lines += block.count(b"\n")


def _parquet_rows(path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_seekable(path) as raw:
        try:
            return int(pq.read_metadata(raw).num_rows)
        except (pa.ArrowException, OSError) as error:
            raise CorruptFile(path, f"not a Parquet file: {error}") from None


def estimate_rows(path: Path, file_format: str) -> int:
    """Return about how many rows a file holds, for a progress bar, from its beginning; 0 where it cannot be read."""
    try:
        if file_format == "parquet":
            packed = compression_of(path) is not None
            return path.stat().st_size // PARQUET_ROW if packed else _parquet_rows(path)
        breaks, taken, whole = sample_lines(path, SAMPLE)
    except CorruptFile:
        return 0
    if whole:
        return breaks + 1
    return breaks * path.stat().st_size // max(1, taken)
