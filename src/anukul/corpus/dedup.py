"""Copies among documents or paragraphs: exact by their match keys, near by MinHash, in bounded memory.

What is needed of a text to find its copies is on disk, 352 bytes for each; in memory there are a few numbers for each
text, and the keys of one band at a time, or of a part of one.

The first of a cluster stays: the order of inputs is the user's order of trust, and what stays does not change when
more text is added after it. (The longest is often the one with the most boilerplate around it.)
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from anukul.config.corpus import DedupSettings
from anukul.corpus.minhash import sketch
from anukul.rundir import atomic_folder
from anukul.text.shingles import Offsets, offsets_of

SORTED = 1 << 25  # keys sorted at once: about 1 GB
COMPARED = 1 << 16  # pairs of signatures compared at once
PER_SHARD = 64  # and more where shards are many, as each is opened for them
ROUNDS = 64  # how often the texts of one bucket that are unlike its first are compared among themselves
Numbers = NDArray[np.int64]
Check = Callable[[Numbers, Numbers], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Clusters:
    """Which texts are copies, `[texts]` in the order of the shards."""

    first: Numbers  # number of the first text of each one's cluster; its own where it is the first or alone
    exact: NDArray[np.bool_]  # its words stand in their order in an earlier text
    similarity: NDArray[
        np.float32
    ]  # estimated Jaccard similarity to the first of its cluster; standard error < .05

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which texts stay, `[texts]`."""
        return np.asarray(self.first == np.arange(len(self.first)))

    def sizes(self) -> Numbers:
        """Return how many texts each one's cluster has, `[texts]`: what the first weighs where copies count."""
        return np.bincount(self.first, minlength=len(self.first))[self.first]


class Duplicates:
    """The sketches of texts in a folder, shard by shard, and the clusters among them.

    Shards may be added by several processes in any order; the clusters depend on the order of the names alone.
    """

    def __init__(self, folder: Path, settings: DedupSettings) -> None:
        self.folder = folder
        self.ngram, self.rows = settings.ngram, settings.rows
        self.bands = settings.bands if settings.near else 0
        self.min_similarity = settings.min_similarity

    def has(self, name: str) -> bool:
        """Say whether a shard stands."""
        return (self.folder / name).is_dir()

    def add(self, name: str, texts: Sequence[str]) -> None:
        """Write the sketches of one shard's texts atomically, where they do not stand."""
        if self.has(name):
            return
        found = sketch(texts, self.ngram, self.bands, self.rows)
        with atomic_folder(self.folder / name) as folder:
            np.save(folder / "exact.npy", found.exact)
            np.save(folder / "bands.npy", found.bands)
            np.save(folder / "lanes.npy", found.lanes)

    def clusters(self, names: Sequence[str], used: NDArray[np.bool_] | None = None) -> Clusters:
        """Return the clusters over the shards of these names, in this order.

        Texts that are not `used` are in no cluster but their own. Texts without words are not either.
        """
        exact, bands, lanes = (
            [Stored.at(self.folder / name / f"{kind}.npy") for name in names]
            for kind in ("exact", "bands", "lanes")
        )
        starts = offsets_of(np.array([array.shape[0] for array in exact], dtype=np.int64))
        label = np.arange(starts[-1], dtype=np.int64)

        def same(heads: Numbers, members: Numbers) -> NDArray[np.bool_]:
            second = [_rows(exact, starts, numbers) for numbers in (heads, members)]
            return np.asarray(second[0][:, 1] == second[1][:, 1])

        label = _join(label, partial(_first_halves, exact), starts, used, same)
        repeats = label != np.arange(len(label))

        def alike(heads: Numbers, members: Numbers) -> NDArray[np.bool_]:
            equal = _equal(lanes, starts, heads, members)
            # that one band is equal is why they are compared, and says nothing of the others
            return np.asarray((equal - self.rows) >= self.min_similarity * (self.bands - 1) * self.rows)

        alone = ~repeats if used is None else used & ~repeats  # an exact copy goes where its first goes
        for band in range(self.bands):
            label = _join(label, partial(_band, bands, band), starts, alone, alike)
        similarity = np.ones(len(label), dtype=np.float32)
        others = np.flatnonzero(label != np.arange(len(label)))
        if self.bands:
            similarity[others] = _equal(lanes, starts, label[others], others) / (self.bands * self.rows)
        return Clusters(label, repeats, similarity)


@dataclass(frozen=True, slots=True)
class Stored:
    """An array in a file of its own, read where it is needed: of any number of shards no file stays open."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int  # byte of the file where the values begin

    @classmethod
    def at(cls, path: Path) -> "Stored":
        """Return the array that `np.save` wrote to a file."""
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            return cls(path, dtype, shape, file.tell())

    def whole(self) -> NDArray[Any]:
        """Return all of it."""
        return np.fromfile(self.path, self.dtype, offset=self.start).reshape(self.shape)

    def row(self, number: int) -> NDArray[Any]:
        """Return one row of a table."""
        size = self.shape[1]
        start = self.start + number * size * self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, size, offset=start)

    def rows(self, numbers: Numbers) -> NDArray[Any]:
        """Return some rows, of which there is at least one."""
        with self.path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
            table: NDArray[Any] = np.ndarray(self.shape, self.dtype, mapped, self.start)
            found: NDArray[Any] = table[numbers]
            del table  # what is looked at cannot be closed
        return found


def _first_halves(arrays: Sequence[Stored]) -> Iterator[NDArray[Any]]:
    return (array.whole()[:, 0] for array in arrays)


def _band(arrays: Sequence[Stored], band: int) -> Iterator[NDArray[Any]]:
    return (array.row(band) for array in arrays)


def _rows(arrays: Sequence[Stored], starts: Offsets, numbers: Numbers) -> NDArray[Any]:
    """Return rows by their numbers over several arrays, of which each one's first row has the number `starts`."""
    found = np.empty((len(numbers), *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    order = np.argsort(numbers, kind="stable")
    borders = np.searchsorted(numbers[order], starts)
    for array, start, first, last in zip(arrays, starts, borders, borders[1:], strict=False):
        if first < last:
            wanted = order[first:last]
            found[wanted] = array.rows(numbers[wanted] - start)
    return found


def _equal(arrays: Sequence[Stored], starts: Offsets, heads: Numbers, members: Numbers) -> Numbers:
    """Return in how many places the signatures of heads and members are equal, `[pairs]`."""
    found = np.zeros(len(heads), dtype=np.int64)
    order = np.argsort(heads, kind="stable")  # few shards hold the heads of a part
    size = max(COMPARED, PER_SHARD * len(arrays))
    for first in range(0, len(heads), size):
        part = order[first : first + size]
        found[part] = np.count_nonzero(
            _rows(arrays, starts, heads[part]) == _rows(arrays, starts, members[part]), axis=1
        )
    return found


def _join(
    label: Numbers,
    columns: Callable[[], Iterable[NDArray[Any]]],
    starts: Offsets,
    used: NDArray[np.bool_] | None,
    check: Check,
) -> Numbers:
    """Return labels where texts with one key that pass the check are of one cluster; its label is its first text.

    `columns` reads the keys by shard. They are sorted a part at a time, by their remainder.
    """
    edges: list[tuple[Numbers, Numbers]] = []
    parts = max(1, -(-len(label) // SORTED))
    for part in range(parts):
        keys: list[NDArray[np.uint64]] = []
        numbers: list[Numbers] = []
        for column, start in zip(columns(), starts, strict=False):
            wanted = column != 0
            if parts > 1:
                wanted &= (column >> np.uint64(1)) % np.uint64(parts) == part
            if used is not None:
                wanted &= used[start : start + len(column)]
            found = np.flatnonzero(wanted)
            keys.append(column[found])
            numbers.append(found + start)
        if keys:
            edges += _matches(np.concatenate(keys), np.concatenate(numbers), label, check)
    return _united(label, edges)


def _matches(
    keys: NDArray[np.uint64], numbers: Numbers, label: Numbers, check: Check
) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield pairs of texts that have one key, are not of one cluster yet, and pass the check.

    Each text is compared with the one before it in its bucket, and with the first; those unlike the first are then
    compared with the first of them, and so on. Of three texts these are all pairs.
    """
    order = np.argsort(keys, kind="stable")
    keys, numbers = keys[order], numbers[order]
    begins = np.ones(len(keys), dtype=np.bool_)
    begins[1:] = keys[1:] != keys[:-1]
    shared = ~begins
    shared[:-1] |= ~begins[1:]
    bucket, numbers = np.cumsum(begins)[shared], numbers[shared]
    next_to = np.flatnonzero((bucket[1:] == bucket[:-1]) & (label[numbers[1:]] != label[numbers[:-1]]))
    passed = next_to[check(numbers[next_to], numbers[next_to + 1])]
    yield numbers[passed], numbers[passed + 1]
    for _ in range(ROUNDS):
        if not len(numbers):
            return
        begins = np.ones(len(bucket), dtype=np.bool_)
        begins[1:] = bucket[1:] != bucket[:-1]
        place = np.maximum.accumulate(np.where(begins, np.arange(len(bucket)), 0))
        heads, members, bucket = numbers[place[~begins]], numbers[~begins], bucket[~begins]
        joined = label[heads] == label[members]
        asked = np.flatnonzero(~joined)
        passed = asked[check(heads[asked], members[asked])]
        yield heads[passed], members[passed]
        joined[passed] = True
        numbers, bucket = members[~joined], bucket[~joined]


def _united(label: Numbers, edges: Sequence[tuple[Numbers, Numbers]]) -> Numbers:
    """Return the labels when the clusters of each edge's ends are one."""
    heads = label[np.concatenate([edge[0] for edge in edges])] if edges else label[:0]
    if not len(heads):
        return label
    members = label[np.concatenate([edge[1] for edge in edges])]
    roots, ends = np.unique(np.concatenate([heads, members]), return_inverse=True)
    graph = coo_array(
        (np.ones(len(heads), dtype=np.bool_), (ends[: len(heads)], ends[len(heads) :])),
        shape=(len(roots), len(roots)),
    )
    _, component = connected_components(graph, directed=False)
    first = np.unique(component, return_index=True)[1]  # roots are in order: the first of each component
    renamed = np.arange(len(label), dtype=np.int64)
    renamed[roots] = roots[first][component]
    return renamed[label]
