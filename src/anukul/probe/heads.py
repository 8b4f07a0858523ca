"""The arcs of a treebank in groups of one relation and direction, their halves, and each half's best head."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul.probe import resample
from anukul.probe.treebank import Arc

HALVES = ("selection", "report", "all")
BOTH = "both"  # the direction of a group that pools the two
Ints = NDArray[np.int64]
Head = tuple[int, int]  # layer, head


def half_of(seed: int, sentence_id: str) -> str:
    """Return the half a sentence belongs to: it depends on the seed and the sentence's id alone."""
    digest = hashlib.sha256(f"{seed}\x1f{sentence_id}".encode()).digest()
    return HALVES[digest[0] & 1]


@dataclass(frozen=True, slots=True)
class ArcTable:
    """All arcs: `sentence` `[arcs]` numbers the sentences, `half` `[arcs]` is 0 (selection) or 1 (report)."""

    arcs: tuple[Arc, ...]
    sentence: Ints
    half: Ints


@dataclass(frozen=True, slots=True)
class Scores:
    """One model on the arcs of an `ArcTable`, all `[arcs, layers, heads]`: see `observe.Observed`."""

    correct: NDArray[np.bool_]
    mass: NDArray[np.float32]
    found: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Group:
    """The arcs of one relation in one direction (or in both), arrays `[arcs of the group]`.

    `distance` is how many words the true word stands before the attending one. `offsets` are the best fixed
    offsets in words (negative: earlier), chosen on the selection half and on the report half; a half without
    arcs chooses 0, which is never right.
    """

    relation: str
    direction: str
    index: Ints  # places in the table
    query: Ints  # the attending word; as many words stand before it
    distance: Ints
    half: Ints
    offsets: tuple[int, int]

    @property
    def name(self) -> str:
        """The relation and its direction in one word."""
        return f"{self.relation}/{self.direction}"

    @property
    def offset(self) -> int:
        """The offset chosen on the selection half."""
        return self.offsets[0]

    @property
    def hit(self) -> NDArray[np.bool_]:
        """`[arcs]`: whether the offset chosen on the selection half points at the true word."""
        return np.equal(-self.distance, self.offset)

    @property
    def crossed_hit(self) -> NDArray[np.bool_]:
        """`[arcs]`: the same for the offset that was chosen on the half that the arc does not belong to."""
        return np.equal(-self.distance, np.where(self.half == 0, self.offsets[1], self.offsets[0]))


def members_of(
    table: ArcTable, relations: tuple[str, ...] = (), pooled: bool = False
) -> dict[tuple[str, str], Ints]:
    """Return the places in the table of each relation and direction, by name; `pooled`: the two directions as one."""
    members: dict[tuple[str, str], list[int]] = {}
    for number, arc in enumerate(table.arcs):
        if not relations or arc.relation in relations:
            members.setdefault((arc.relation, BOTH if pooled else arc.direction), []).append(number)
    return {name: np.array(numbers) for name, numbers in sorted(members.items())}


def groups_of(
    table: ArcTable, min_arcs: int, relations: tuple[str, ...] = (), pooled: bool = False
) -> tuple[list[Group], list[dict[str, Any]]]:
    """Return the groups to score, by name, and those too rare with the reason.

    A group needs `min_arcs` arcs, and arcs of two sentences in each half: without them there is no interval.
    `pooled` gives the undirected groups instead, of relations that occur in both directions: an arc counts as
    found when its later word finds the earlier one, whichever of the two is the head (micro average over arcs;
    Htut et al. 2019, arXiv 1911.12246, section 3; a decoder's arc is seen from one end only).
    """
    directions: dict[str, set[str]] = {}
    for arc in table.arcs:
        directions.setdefault(arc.relation, set()).add(arc.direction)
    groups: list[Group] = []
    rare: list[dict[str, Any]] = []
    for (relation, direction), index in members_of(table, relations, pooled).items():
        if pooled and len(directions[relation]) < 2:
            continue
        clusters = [len(set(table.sentence[index[table.half[index] == half]].tolist())) for half in (0, 1)]
        entry = {"relation": relation, "direction": direction, "n": len(index)}
        if len(index) < min_arcs:
            rare.append({**entry, "reason": f"fewer than {min_arcs} arcs"})
        elif min(clusters) < 2:
            rare.append({**entry, "reason": "arcs of fewer than 2 sentences in one half"})
        else:
            groups.append(make_group(table, relation, direction, index))
    return groups, rare


def make_group(table: ArcTable, relation: str, direction: str, index: Ints) -> Group:
    """Put the arcs at `index` together and choose the fixed offset of each half."""
    query = np.array([table.arcs[i].query for i in index], dtype=np.int64)
    distance = query - np.array([table.arcs[i].key for i in index], dtype=np.int64)
    half = table.half[index]
    offsets = (_best_offset(distance[half == 0]), _best_offset(distance[half == 1]))
    return Group(relation, direction, index, query, distance, half, offsets)


def _best_offset(distance: Ints) -> int:
    """The most frequent offset; of equally frequent ones the nearest."""
    values, counts = np.unique(distance, return_counts=True)
    return -int(values[counts.argmax()]) if len(values) else 0


@dataclass(frozen=True, slots=True)
class Part:
    """The arcs of a group in one half, those of one sentence (a cluster) together."""

    at: Ints  # places in the group
    arcs: Ints  # places in the table
    starts: Ints  # [clusters] where each cluster begins
    counts: resample.Floats  # [clusters] arcs
    drawn: resample.Floats  # [resamples, clusters]

    def sums(self, values: NDArray[Any]) -> resample.Floats:
        """Sum `[arcs, ...]` over each cluster: `[clusters, ...]`."""
        return np.add.reduceat(values, self.starts, axis=0, dtype=np.float64)

    def interval(self, values: NDArray[Any]) -> tuple[resample.Floats, resample.Floats]:
        """Return low and high ends `[...]` of the mean of `[arcs, ...]`, clustered by sentence."""
        return resample.ratio_interval(self.sums(values), self.counts, self.drawn)

    def mean(self, values: NDArray[Any]) -> dict[str, float]:
        """Return the mean of `[arcs]` with its interval, as value, low and high."""
        low, high = self.interval(values)
        return {"value": float(values.mean(dtype=np.float64)), "low": float(low), "high": float(high)}


def part_of(table: ArcTable, group: Group, half: str, seed: int) -> Part:
    """Return the arcs of `half` with the draws that every comparison on them shares."""
    wanted = np.ones(len(group.index), bool) if half == "all" else group.half == HALVES.index(half)
    at = np.flatnonzero(wanted)
    at = at[np.argsort(table.sentence[group.index[at]], kind="stable")]
    arcs = group.index[at]
    _, starts, counts = np.unique(table.sentence[arcs], return_index=True, return_counts=True)
    # the same draws for all models and the baseline: all comparisons are paired
    drawn = resample.draws(len(counts), resample.generator(seed, group.name, half))
    return Part(at, arcs, starts, counts.astype(np.float64), drawn)


def best_head(scores: Scores, arcs: Ints) -> Head:
    """Return (layer, head) most accurate on `arcs`; ties go to mean mass, then the lower number."""
    correct = scores.correct[arcs].sum(0)
    mass = np.where(correct == correct.max(), scores.mass[arcs].astype(np.float64).mean(0), -1.0)
    layer, head = np.unravel_index(int(mass.argmax()), mass.shape)
    return int(layer), int(head)


@dataclass(frozen=True, slots=True)
class Crossed:
    """Heads chosen on one half and judged on the other, both ways; `correct` `[arcs of the group]`.

    `heads` holds the one chosen on the selection half and the one chosen on the report half, None where that
    half has no arcs: the other half's arcs then count as not found.
    """

    correct: NDArray[np.bool_]
    heads: tuple[Head | None, Head | None]


def cross_fit(group: Group, scores: Scores) -> Crossed:
    """Judge every arc by the head that is best on the other half (cross-fitting)."""
    correct = np.zeros(len(group.index), dtype=np.bool_)
    chosen: list[Head | None] = []
    for half in (0, 1):
        index = group.index[group.half == half]
        head = best_head(scores, index) if len(index) else None
        chosen.append(head)
        if head is not None:
            judged = group.half != half
            correct[judged] = scores.correct[(group.index[judged], *head)]
    return Crossed(correct, (chosen[0], chosen[1]))
