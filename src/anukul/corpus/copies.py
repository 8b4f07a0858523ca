"""Ids that are taken and documents that are copies, over all shards of a kind, from what the shards say of their rows.

In memory is a number or two for each row and document, not their texts: 25 bytes for each row that has an id of its
own, and what `dedup` needs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul.config import DedupSettings
from anukul.corpus.dedup import Duplicates
from anukul.corpus.judged import PARAGRAPHS, SKETCH
from anukul.corpus.sorted_out import Copies, Parts, part_id, row_id
from anukul.text.shingles import offsets_of

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class JudgedShard:
    """A judged shard among those of its kind."""

    folder: Path
    kind: str
    index: int  # of its input
    bad_files: dict[int, str]  # of its input, with the reason

    def good(self, name: str) -> Flags:
        """Say which rows, or documents, are of files that could be read, by the shard's array of files."""
        files = self.array(name)
        return np.isin(files, list(self.bad_files), invert=True) if self.bad_files else _all(len(files))

    def array(self, name: str) -> NDArray[Any]:
        """Return one of the shard's arrays."""
        return np.load(self.folder / f"{name}.npy")  # type: ignore[no-any-return]  # any kind of numbers


def _all(size: int) -> Flags:
    return np.ones(size, dtype=np.bool_)


def repeated_ids(shards: Sequence[JudgedShard]) -> list[Flags]:
    """Return for each shard which of its rows, `[rows]`, have the id of an earlier row.

    Ids are compared by 64 bits: that two different ones are taken for one costs a row its own id, once in many
    millions.
    """
    keys = [np.where(shard.good("files"), shard.array("ids"), 0) for shard in shards]
    flat = np.concatenate([*keys, np.zeros(0, dtype=np.uint64)])
    held = np.flatnonzero(flat)
    order = held[np.argsort(flat[held], kind="stable")]
    again = np.zeros(len(flat), dtype=np.bool_)
    again[order[1:]] = flat[order[1:]] == flat[order[:-1]]
    return _cut(again, [len(part) for part in keys])


def _cut(values: NDArray[Any], sizes: Sequence[int]) -> list[NDArray[Any]]:
    ends = np.cumsum(sizes, dtype=np.int64)
    return np.split(values, ends[:-1]) if len(ends) else []


def find_copies(shards: Sequence[JudgedShard], settings: DedupSettings) -> Iterator[Copies]:
    """Yield for each shard which of its documents are copies; the shards are in the order of their rows."""
    if not shards:
        return
    sizes = [len(shard.array("numbers")) for shard in shards]
    used = np.concatenate([shard.good("kept_files") & ~shard.array("contaminated") for shard in shards])
    root = shards[0].folder.parent
    names = [shard.folder.name for shard in shards]
    found = Duplicates(root, settings).clusters([f"{name}/{SKETCH}" for name in names], used)
    kept, size = found.kept, found.sizes()
    numbers = np.concatenate([shard.array("numbers") for shard in shards])
    inputs = np.repeat(np.array([shard.index for shard in shards]), sizes)

    def name(document: int) -> str:
        return row_id(shards[0].kind, inputs[document], numbers[document])

    start = 0
    for count, parts in zip(sizes, _parts(shards, names, kept & used, settings, name), strict=True):
        here = slice(start, start + count)
        first = found.first[here]
        yield Copies(
            [name(number) for number in first],
            kept[here],
            found.exact[here],
            found.similarity[here],
            size[here],
            parts,
        )
        start += count


def _parts(
    shards: Sequence[JudgedShard],
    names: Sequence[str],
    kept: Flags,
    settings: DedupSettings,
    name: Callable[[int], str],
) -> Iterator[Parts | None]:
    """Yield for each shard which of its paragraphs are copies; None where nobody asks.

    `kept` says which documents stay, and `name` gives the name of one.
    """
    if settings.level == "document":
        yield from (None for _ in shards)
        return
    counts = [shard.array("parts") for shard in shards]
    each = np.concatenate(counts)
    long = np.concatenate([shard.array("long") for shard in shards])
    root = shards[0].folder.parent
    used = long & np.repeat(kept, each)
    found = Duplicates(root, settings).clusters([f"{shard}/{PARAGRAPHS}" for shard in names], used)
    begins = offsets_of(each)
    document = np.repeat(np.arange(len(each)), each)

    def head(number: int) -> str:
        return part_id(name(document[number]), int(number - begins[document[number]]))

    kept_parts, several = found.kept, found.sizes() > 1
    ends = np.cumsum([int(count.sum()) for count in counts]).tolist()
    for start, end in zip([0, *ends], ends, strict=False):
        here = slice(start, end)
        heads = [
            head(first) if one else "" for first, one in zip(found.first[here], several[here], strict=True)
        ]
        yield Parts(heads, kept_parts[here], found.exact[here], found.similarity[here])
