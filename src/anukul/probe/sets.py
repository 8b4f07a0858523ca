"""Which sets of heads are silenced: those selected, each of them alone, and sets like them drawn at random."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod

import numpy as np

from anukul.probe.heads import Head

Heads = tuple[Head, ...]
ENUMERATED = 20_000  # sets listed one by one, at most; of more than these a few are drawn


@dataclass(frozen=True, slots=True)
class Trial:
    """A set of heads to be silenced together; see `records.Silenced` for `kind` and `number`."""

    kind: str
    number: int
    heads: Heads


@dataclass(frozen=True, slots=True)
class RandomSets:
    """Sets with as many heads of each layer as the selected set has.

    `distinct` is how many there are to draw from. `overlap`: too few sets do without the selected heads, so that these
    may have some of them. `exact`: all are there, and the rank of the selected set is an exact p.
    """

    sets: tuple[Heads, ...]
    distinct: int
    overlap: bool

    @property
    def exact(self) -> bool:
        """Whether every set is there."""
        return len(self.sets) == self.distinct

    @property
    def smallest_p(self) -> float:
        """The p of a selected set that does more harm than every one of these."""
        return 1 / (1 + len(self.sets))


def random_sets(selected: Sequence[Head], heads: int, count: int, rng: np.random.Generator) -> RandomSets:
    """Return at most `count` sets of the same size in every layer, of layers with `heads` heads, all different.

    The selected heads are left out where `count` sets can be made without them; otherwise only the selected set itself
    is (its rank among all sets of its kind is a permutation test), and all sets are taken where there are too few.
    """
    sizes = _per_layer(selected)
    apart = prod(comb(heads - len(own), len(own)) for own in sizes.values())
    overlap = apart < count
    pools = {
        layer: [head for head in range(heads) if overlap or head not in own] for layer, own in sizes.items()
    }
    whole = prod(comb(len(pools[layer]), len(own)) for layer, own in sizes.items())
    distinct = whole - 1 if overlap else whole
    own_set = tuple(sorted(selected))
    if whole <= ENUMERATED:
        every = [heads_ for heads_ in _every_set(sizes, pools) if heads_ != own_set]
        chosen = sorted(rng.permutation(len(every))[:count].tolist())
        return RandomSets(tuple(every[place] for place in chosen), distinct, overlap)
    found: dict[Heads, None] = {}
    while len(found) < count:
        drawn = tuple(
            sorted(
                (layer, int(head))
                for layer, own in sizes.items()
                for head in rng.choice(pools[layer], size=len(own), replace=False)
            )
        )
        if drawn != own_set:
            found[drawn] = None
    return RandomSets(tuple(found), distinct, overlap)


def choose_heads(found: Sequence[Head], heads: int, most: int) -> list[Head]:
    """Return at most `most` of the heads found, in their order, and no more than two fifths of the `heads` of a layer.

    The others are there to compare with: sets of as many heads, and several of them, without those that were found.
    """
    chosen: list[Head] = []
    for layer, head in found:
        beside = sum(own == layer for own, _ in chosen)
        if len(chosen) < most and beside < max(1, 2 * heads // 5):
            chosen.append((layer, head))
    return chosen


def _per_layer(selected: Sequence[Head]) -> dict[int, list[int]]:
    sizes: dict[int, list[int]] = {}
    for layer, head in sorted(selected):
        sizes.setdefault(layer, []).append(head)
    return sizes


def _every_set(sizes: dict[int, list[int]], pools: dict[int, list[int]]) -> Iterator[Heads]:
    """Yield every set in order."""
    per_layer = [
        [tuple((layer, head) for head in chosen) for chosen in combinations(pools[layer], len(own))]
        for layer, own in sizes.items()
    ]
    for parts in product(*per_layer):
        yield tuple(head for part in parts for head in part)


def trials_of(
    selected: Sequence[Head], heads: int, others: int, random: RandomSets, seed: int
) -> list[Trial]:
    """Return everything to be silenced: the set, each head, up to `others` heads of each layer, the random sets.

    A selected set of one head stands for that head.
    """
    trials = [Trial("selected", 0, tuple(sorted(selected)))]
    if len(selected) > 1:
        trials += [Trial("single", number, (head,)) for number, head in enumerate(selected)]
        compared: list[Head] = []
        for layer, own in _per_layer(selected).items():
            left = [head for head in range(heads) if head not in own]
            rng = np.random.default_rng((seed, layer))
            chosen = sorted(rng.permutation(len(left))[:others].tolist())
            compared += [(layer, left[place]) for place in chosen]
        trials += [Trial("other", number, (head,)) for number, head in enumerate(compared)]
    return trials + [Trial("random", number, found) for number, found in enumerate(random.sets)]
