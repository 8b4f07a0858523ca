"""Score heads on relations: chosen on one half of the sentences, reported on the other, beside a baseline."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul.probe import resample
from anukul.probe.treebank import Arc
from anukul.records import HeadScore
from anukul.stats import benjamini_hochberg

HALVES = ("selection", "report", "all")
Ints = NDArray[np.int64]


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
    """One model on the arcs of an `ArcTable`: `correct` and `mass` are `[arcs, layers, heads]`."""

    correct: NDArray[np.bool_]
    mass: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Group:
    """The arcs of one relation in one direction, and the best fixed offset in words (negative: earlier)."""

    relation: str
    direction: str
    index: Ints
    offset: int
    hit: NDArray[np.bool_]  # [arcs of the group] the offset points at the true word

    @property
    def name(self) -> str:
        """The relation and its direction in one word."""
        return f"{self.relation}/{self.direction}"


def groups_of(
    table: ArcTable, min_arcs: int, relations: tuple[str, ...] = ()
) -> tuple[list[Group], list[dict[str, Any]]]:
    """Return the groups to score, by name, and those too rare with the reason.

    A group needs `min_arcs` arcs, and arcs of two sentences in each half: without them there is no interval.
    """
    members: dict[tuple[str, str], list[int]] = {}
    for number, arc in enumerate(table.arcs):
        if not relations or arc.relation in relations:
            members.setdefault((arc.relation, arc.direction), []).append(number)
    groups: list[Group] = []
    rare: list[dict[str, Any]] = []
    for (relation, direction), numbers in sorted(members.items()):
        index = np.array(numbers)
        clusters = [len(set(table.sentence[index[table.half[index] == half]].tolist())) for half in (0, 1)]
        entry = {"relation": relation, "direction": direction, "n": len(index)}
        if len(index) < min_arcs:
            rare.append({**entry, "reason": f"fewer than {min_arcs} arcs"})
        elif min(clusters) < 2:
            rare.append({**entry, "reason": "arcs of fewer than 2 sentences in one half"})
        else:
            groups.append(_group(table, relation, direction, index))
    return groups, rare


def _group(table: ArcTable, relation: str, direction: str, index: Ints) -> Group:
    offsets = np.array([table.arcs[i].key - table.arcs[i].query for i in index])
    values, counts = np.unique(offsets[table.half[index] == 0], return_counts=True)
    # of equally good offsets the nearest: values ascend, and the last is the closest to the query
    offset = int(values[len(values) - 1 - int(counts[::-1].argmax())])
    return Group(relation, direction, index, offset, offsets == offset)


@dataclass(frozen=True, slots=True)
class _Part:
    """The arcs of a group in one half, those of one sentence (a cluster) together."""

    at: Ints  # places in the group
    arcs: Ints  # places in the table
    starts: Ints  # [clusters] where each cluster begins
    counts: resample.Floats  # [clusters] arcs
    drawn: resample.Floats  # [resamples, clusters]

    def sums(self, values: NDArray[Any]) -> resample.Floats:
        """Sum `[arcs, ...]` over each cluster: `[clusters, ...]`."""
        return np.add.reduceat(values, self.starts, axis=0, dtype=np.float64)


def _part(table: ArcTable, group: Group, half: str, seed: int) -> _Part:
    wanted = (
        np.ones(len(group.index), bool) if half == "all" else table.half[group.index] == HALVES.index(half)
    )
    at = np.flatnonzero(wanted)
    at = at[np.argsort(table.sentence[group.index[at]], kind="stable")]
    arcs = group.index[at]
    _, starts, counts = np.unique(table.sentence[arcs], return_index=True, return_counts=True)
    # the same draws for both models and the baseline: all comparisons are paired
    drawn = resample.draws(len(counts), resample.generator(seed, group.name, half))
    return _Part(at, arcs, starts, counts.astype(np.float64), drawn)


def head_rows(table: ArcTable, group: Group, model: str, scores: Scores, seed: int) -> list[HeadScore]:
    """Return the rows of one group for every head and half."""
    rows: list[HeadScore] = []
    for half in HALVES:
        part = _part(table, group, half, seed)
        correct = scores.correct[part.arcs]
        accuracy = correct.mean(0)
        mass = scores.mass[part.arcs].astype(np.float64).mean(0)
        low, high = resample.ratio_interval(part.sums(correct), part.counts, part.drawn)
        baseline = float(group.hit[part.at].mean())
        rows += [
            HeadScore(
                model=model,
                relation=group.relation,
                direction=group.direction,
                half=half,
                layer=layer,
                head=head,
                accuracy=float(accuracy[layer, head]),
                mass=float(mass[layer, head]),
                n=len(part.arcs),
                baseline=baseline,
                offset=group.offset,
                low=float(low[layer, head]),
                high=float(high[layer, head]),
            )
            for layer, head in np.ndindex(*accuracy.shape)
        ]
    return rows


def best_head(scores: Scores, arcs: Ints) -> tuple[int, int]:
    """Return (layer, head) most accurate on `arcs`; ties go to mean mass, then the lower number."""
    correct = scores.correct[arcs].sum(0)
    mass = np.where(correct == correct.max(), scores.mass[arcs].astype(np.float64).mean(0), -1.0)
    layer, head = np.unravel_index(int(mass.argmax()), mass.shape)
    return int(layer), int(head)


def select(table: ArcTable, group: Group, models: Mapping[str, Scores], seed: int) -> dict[str, Any]:
    """Return the group's entry in selected.json: each model's best head against the baseline, its change."""
    chosen_on, shown = (_part(table, group, half, seed) for half in ("selection", "report"))
    hit = group.hit[shown.at]
    earlier = np.array([table.arcs[i].query for i in shown.arcs])
    entry: dict[str, Any] = {
        "relation": group.relation,
        "direction": group.direction,
        "n_selection": len(chosen_on.arcs),
        "n_report": len(shown.arcs),
        "sentences_selection": len(chosen_on.counts),
        "sentences_report": len(shown.counts),
        "baseline": {
            "offset": group.offset,
            "accuracy_selection": float(group.hit[chosen_on.at].mean()),
            "accuracy": float(hit.mean()),
        },
        "uniform": float((1.0 / earlier).mean()),  # accuracy of a guess among the earlier words
    }
    for name, scores in models.items():
        layer, head = best_head(scores, chosen_on.arcs)
        correct = {model: other.correct[shown.arcs, layer, head] for model, other in models.items()}
        against = correct[name].astype(np.float64) - hit
        low, high = _interval(shown, correct[name])
        difference_low, difference_high = _interval(shown, against)
        entry[name] = {
            "layer": layer,
            "head": head,
            "accuracy_selection": float(scores.correct[chosen_on.arcs, layer, head].mean()),
            "accuracy": float(correct[name].mean()),
            "low": low,
            "high": high,
            "mass": float(scores.mass[shown.arcs, layer, head].astype(np.float64).mean()),
            "difference": float(against.mean()),
            "difference_low": difference_low,
            "difference_high": difference_high,
            "p": resample.sign_flip(shown.sums(against), resample.generator(seed, group.name, "p", name)),
            "change": _change(shown, correct["base"], correct["adapted"]),
        }
    return entry


def _interval(part: _Part, values: NDArray[Any]) -> tuple[float, float]:
    low, high = resample.ratio_interval(part.sums(values), part.counts, part.drawn)
    return float(low), float(high)


def _change(part: _Part, base: NDArray[np.bool_], adapted: NDArray[np.bool_]) -> dict[str, float]:
    """Return adapted minus base for one head on the same arcs, with its interval."""
    change = adapted.astype(np.float64) - base
    low, high = _interval(part, change)
    return {"accuracy": float(change.mean()), "low": low, "high": high}


def add_q_values(entries: list[dict[str, Any]], models: tuple[str, ...]) -> None:
    """Give each entry's `p` its false discovery rate `q` over all relations and directions of the model."""
    for name in models:
        q_values = benjamini_hochberg([entry[name]["p"] for entry in entries])
        for entry, q in zip(entries, q_values, strict=True):
            entry[name]["q"] = q
