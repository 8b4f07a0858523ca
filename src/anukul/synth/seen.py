"""What millions of rows are remembered by: sorted 64-bit keys, 8 bytes for each.

That two different texts are taken for one costs a row, about once in a million runs of five million pairs.
"""

from array import array
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from anukul.records import Document
from anukul.tables import iter_rows
from anukul.text.keys import hash_key

NEW = 1 << 16  # keys in a set of their own before they are sorted in: a set takes ten times as much
LOW = (1 << 64) - 1

Keys = NDArray[np.uint64]


class Seen:
    """A set of keys that only grows: blocks in order of size, each at least twice as large as the next."""

    def __init__(self) -> None:
        self._new: set[int] = set()
        self._blocks: list[Keys] = []

    def add(self, key: int) -> None:
        """Take in a key; of one of 128 bits the lower half counts."""
        self._new.add(key & LOW)
        if len(self._new) >= NEW:
            self._settle()

    def __contains__(self, key: int) -> bool:
        low = key & LOW
        return low in self._new or any(_holds(block, low) for block in self._blocks)

    def copy(self) -> "Seen":
        """Return what it holds now; blocks are shared, as none of them changes."""
        other = Seen()
        other._new, other._blocks = set(self._new), list(self._blocks)
        return other

    def _settle(self) -> None:
        block = np.fromiter(self._new, np.uint64, len(self._new))
        while self._blocks and len(self._blocks[-1]) < 2 * len(block):
            block = np.concatenate([self._blocks.pop(), block])
        self._blocks.append(np.unique(block))
        self._new = set()


class DocumentIds:
    """The ids of a corpus's documents by the keys of their texts; of equal texts the last."""

    def __init__(self, path: Path) -> None:
        """Read documents.parquet, a part of it at a time; where it is not there, nothing is held."""
        keys = array("Q")
        if path.is_file():
            keys.extend(hash_key(document.text) & LOW for document in iter_rows(path, Document))
        held = np.frombuffer(keys, np.uint64) if keys else np.zeros(0, np.uint64)
        self._places = np.argsort(held, kind="stable").astype(np.uint32)
        self._keys: Keys = held[self._places]
        self._ids = _column(path, "id") if keys else None

    def get(self, key: int) -> str:
        """Return the id of the document with this key, "" where there is none."""
        low = key & LOW
        place = bisect_right(self._keys.data, low) - 1
        if place < 0 or self._ids is None or int(self._keys[place]) != low:
            return ""
        return str(self._ids[int(self._places[place])])


def id_key(name: str) -> int:
    """Return the key of an id."""
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass"))


def _holds(block: Keys, key: int) -> bool:
    place = bisect_left(block.data, key)  # ints, where the array itself gives numbers of numpy
    return place < len(block) and int(block[place]) == key


def _column(path: Path, name: str) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=[name])[name].combine_chunks()
