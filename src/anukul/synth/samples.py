"""A few rows of every rule for a person to read: those that were kept, and those that each rule dropped."""

import heapq
from collections.abc import Iterator, Mapping

import xxhash

from anukul.records import Dropped, Pair, PairSample
from anukul.tables import Shards

SIDE = 250  # characters of each side that are shown


def shown(source: str, target: str) -> str:
    """Return both sides of a pair, cut, as a row to be read bears them."""
    return f"{source[:SIDE]}\t{target[:SIDE]}"


def draw(shards: Mapping[str, Shards], kinds: tuple[str, ...], size: int, seed: int) -> list[PairSample]:
    """Draw at most `size` rows of each kind and rule, by seed; no more than those are in memory.

    A row is drawn for the hash of its id, so that neither shards nor kills change what is drawn.
    """
    found: list[PairSample] = []
    for kind in kinds:
        held: dict[str, list[tuple[int, int, PairSample]]] = {}
        for place, row in enumerate(_rows(shards[kind], kind)):
            rank = xxhash.xxh3_64_intdigest(f"{seed}\t{kind}\t{row.rule}\t{row.id}".encode())
            heap = held.setdefault(row.rule, [])
            heapq.heappush(heap, (-rank, -place, row))
            if len(heap) > size:
                heapq.heappop(heap)
        for rule in sorted(held):
            found += [row for _, _, row in sorted(held[rule], key=lambda item: -item[1])]
    return found


def _rows(shards: Shards, kind: str) -> Iterator[PairSample]:
    for name in shards.names:
        for pair in shards.rows(name, "pairs", Pair):
            yield PairSample(kind, "", pair.id, "", shown(pair.source_text, pair.target_text))
        for row in shards.rows(name, "dropped", Dropped):
            yield PairSample(kind, row.rule, row.id, row.detail, row.text)
