"""Shards: the finished parts of a step that may be killed, and how they become its Parquet files.

A shard is a folder, whole or absent. A step that starts again skips the shards that stand; merging them in
order gives the same bytes as a run that was never interrupted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from anukul.records import columns_in, read_rows, schema_of, write_rows
from anukul.rundir import atomic_file, atomic_folder, read_json, write_json

Row = TypeVar("Row")
Item = TypeVar("Item")


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` items, the last one shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def counts(names: Iterable[str]) -> dict[str, int]:
    """Return how often each name occurs, by name."""
    return dict(sorted(Counter(names).items()))


def add_up(stats: Iterable[Mapping[str, Any]], empty: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sum of counts and of tables of counts; `empty` says which keys there are."""
    held = list(stats)
    total: dict[str, Any] = {}
    for key, nothing in empty.items():
        if isinstance(nothing, dict):
            table: Counter[str] = Counter()
            for item in held:
                table.update(item[key])
            total[key] = dict(sorted(table.items()))
        else:
            total[key] = sum(item[key] for item in held)
    return total


def reasons(dropped: Mapping[str, int]) -> str:
    """Put counts of dropped rows into words, the most frequent first."""
    ordered = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    return "dropped: " + ", ".join(f"{count:,} {rule}" for rule, count in ordered)


class Shards:
    """The finished shards in a folder, in the order in which they were asked for."""

    def __init__(self, folder: Path, tables: Mapping[str, type[Any]]) -> None:
        self.folder = folder
        self.tables = dict(tables)
        self.names: list[str] = []

    def has(self, name: str) -> bool:
        """Say whether a shard stands, and take it into the order."""
        if name not in self.names:
            self.names.append(name)
        return (self.folder / name).is_dir()

    def write(self, name: str, rows: Mapping[str, list[Any]], stats: dict[str, Any]) -> None:
        """Write one shard atomically: a Parquet file for each table, and its counts."""
        if name not in self.names:
            self.names.append(name)
        with atomic_folder(self.folder / name) as folder:
            for table, row_type in self.tables.items():
                write_rows(folder / f"{table}.parquet", rows.get(table, []), row_type)
            write_json(folder / "stats.json", stats)

    def stats(self, name: str) -> dict[str, Any]:
        """Return the counts of a shard."""
        return dict(read_json(self.folder / name / "stats.json"))

    def rows(self, name: str, table: str, row_type: type[Row]) -> list[Row]:
        """Return the rows of one table of a shard."""
        return read_rows(self.folder / name / f"{table}.parquet", row_type)

    def merge(self, table: str, target: Path) -> int:
        """Write the table of all shards, in order, as one Parquet file, atomically; return its rows.

        Only one shard is in memory at a time.
        """
        import pyarrow.parquet as pq

        schema = schema_of(self.tables[table])
        count = 0
        with atomic_file(target) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for name in self.names:
                part = pq.read_table(self.folder / name / f"{table}.parquet", schema=schema)
                if part.num_rows:
                    writer.write_table(part)
                    count += part.num_rows
        return count


def iter_rows(path: Path, row_type: type[Row], size: int = 10_000) -> Iterator[Row]:
    """Yield the rows of a Parquet file, `size` of them in memory at a time."""
    import pyarrow.parquet as pq

    names = columns_in(path, row_type)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(size, columns=names):
            for item in batch.to_pylist():
                yield row_type(**item)


def rules_of(path: Path) -> dict[str, int] | None:
    """Return how many rows of a file each rule touched, None where the file does not say."""
    import pyarrow.parquet as pq

    if "rules" not in pq.read_schema(path).names:
        return None
    held = pq.read_table(path, columns=["rules"])["rules"].to_pylist()
    return dict(sorted(Counter(rule for rules in held for rule in rules or []).items()))
