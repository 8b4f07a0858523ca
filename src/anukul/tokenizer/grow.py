"""Train more pieces on top of a vocabulary: byte-pair merges that go on where the old ones end.

The trainer of the tokenizers library cannot go on from merges that are there, nor keep to one script.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise

Pieces = tuple[str, ...]  # a word as the old vocabulary cuts it


@dataclass(frozen=True, slots=True)
class Growth:
    """What was learnt, in the model's own alphabet."""

    pieces: Pieces  # in the order of their ids
    merges: tuple[tuple[str, str], ...]  # in the order of their ranks; two may make the same piece
    uses: tuple[int, ...]  # how often each new piece stands in the corpus, when all are there


def grow(
    words: Mapping[Pieces, int],
    vocabulary: Container[str],
    owned: Callable[[str], bool],
    extend: int,
    min_count: int,
) -> Growth:
    """Learn at most `extend` new pieces from words cut into old pieces, with how often each word occurs.

    A part of a word that is not in the vocabulary is a single character: those that are `owned` become pieces first,
    by frequency. Then the most frequent pair is merged, again and again, where the result is owned; on a draw the one
    that sorts first. A piece that would occur fewer than `min_count` times is not made, nor is an old one made anew:
    the old merges that go on from it would then cut the word in another way than is counted here.
    """
    singles: Counter[str] = Counter()
    for word, count in words.items():
        for part in word:
            if part not in vocabulary:
                singles[part] += count
    chosen = [part for part, count in singles.items() if count >= min_count and owned(part)]
    chosen = sorted(chosen, key=lambda part: (-singles[part], part))[:extend]
    known = set(chosen)
    work = _Words(
        words,
        lambda part: part in known or part in vocabulary,
        lambda piece: piece not in vocabulary and owned(piece),
    )
    pieces = list(chosen)
    merges: dict[tuple[str, str], None] = {}
    while len(pieces) < extend:
        pair = work.best(min_count)
        if pair is None:
            break
        product = pair[0] + pair[1]
        merges[pair] = None
        if product not in known:
            pieces.append(product)
            known.add(product)
        work.merge(pair)
    uses = work.uses()
    return Growth(tuple(pieces), tuple(merges), tuple(uses[piece] for piece in pieces))


class _Words:
    """The words as they are cut by now, and the pairs in them; a pair that may not be merged is not counted."""

    def __init__(
        self, words: Mapping[Pieces, int], known: Callable[[str], bool], owned: Callable[[str], bool]
    ) -> None:
        self.words = [list(word) for word in words]
        self.counts = list(words.values())
        self.pairs: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.places: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        self._known, self._owned = known, owned
        self._may: dict[tuple[str, str], bool] = {}
        for index, word in enumerate(self.words):
            self._count(index, word, self.counts[index])
        self.heap = [(-count, pair) for pair, count in self.pairs.items()]
        heapify(self.heap)

    def may(self, pair: tuple[str, str]) -> bool:
        """Whether a pair may become a piece."""
        found = self._may.get(pair)
        if found is None:
            found = self._known(pair[0]) and self._known(pair[1]) and self._owned(pair[0] + pair[1])
            self._may[pair] = found
        return found

    def _count(self, index: int, parts: list[str], count: int) -> None:
        for pair in pairwise(parts):
            if self.may(pair):
                self.pairs[pair] += count
                self.places[pair].add(index)

    def best(self, least: int) -> tuple[str, str] | None:
        """The most frequent pair; None where none occurs `least` times."""
        while self.heap:
            count, pair = self.heap[0]
            if -count != self.pairs[pair]:
                heappop(self.heap)
                if self.pairs[pair] > 0:
                    heappush(self.heap, (-self.pairs[pair], pair))
                continue
            return pair if -count >= least else None
        return None

    def merge(self, pair: tuple[str, str]) -> None:
        """Make the pair one piece wherever it stands, and count the pairs that this changes."""
        left, right = pair
        product = left + right
        changed: set[tuple[str, str]] = set()
        for index in self.places.pop(pair):
            word, count = self.words[index], self.counts[index]
            made: list[str] = []
            place = 0
            while place < len(word):
                if place + 1 < len(word) and word[place] == left and word[place + 1] == right:
                    made.append(product)
                    place += 2
                else:
                    made.append(word[place])
                    place += 1
            if len(made) == len(word):
                continue
            before, after = Counter(pairwise(word)), Counter(pairwise(made))
            for other in before.keys() | after.keys():
                difference = after[other] - before[other]
                if difference and self.may(other):
                    self.pairs[other] += count * difference
                    if difference > 0:
                        self.places[other].add(index)
                    changed.add(other)
            self.words[index] = made
        self.pairs[pair] = 0
        for other in changed:
            if self.pairs[other] > 0 and other != pair:
                heappush(self.heap, (-self.pairs[other], other))

    def uses(self) -> Counter[str]:
        """How often each piece stands in the words as they are cut now."""
        found: Counter[str] = Counter()
        for word, count in zip(self.words, self.counts, strict=True):
            for part in word:
                found[part] += count
        return found
