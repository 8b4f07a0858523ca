"""From scored items to scores.json: every score with its n, its interval and the paired test of base and adapted."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from anukul import stats
from anukul.records import Item

SCHEMA = 1
ALL = "all"


@dataclass(frozen=True, slots=True)
class Method:
    """How intervals are made."""

    resamples: int
    confidence: float
    seed: int


@dataclass(slots=True)
class Paired:
    """Items that both models answered, seeds averaged; all arrays `[items]`."""

    base: stats.Floats
    adapted: stats.Floats
    weights: stats.Floats  # 1, or bytes where the score is per byte
    chance: stats.Floats
    clusters: list[str]


Key = tuple[str, str, str, str]  # kind, task, language, role


def make_scores(items: list[Item], method: Method) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of `scores` and of `retention`."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault((item.kind, item.task, item.language, item.role), []).append(item)
    scores: list[dict[str, Any]] = []
    retention: list[dict[str, Any]] = []
    for key, members in groups.items():
        made = [score for part in _parts(members) for score in _score_part(key, *part, method)]
        _add_increases(made)
        scores += made
        retention += _retention(key, members, method)
    for score, q in zip(scores, stats.benjamini_hochberg([score["p"] for score in scores]), strict=True):
        score["q"] = q
    return scores, retention


def _parts(items: list[Item]) -> Iterable[tuple[str, str, int, list[Item]]]:
    """Yield (split, phenomenon, shots, items): pooled first, then each split, then each phenomenon."""
    for shots in sorted({item.shots for item in items}):
        held = [item for item in items if item.shots == shots]
        pooled = ALL if any(item.phenomenon for item in held) else ""
        yield ALL, pooled, shots, held
        for split in sorted({item.split for item in held} - {""}):
            yield split, pooled, shots, [item for item in held if item.split == split]
        for phenomenon in sorted({item.phenomenon for item in held} - {""}):
            yield ALL, phenomenon, shots, [item for item in held if item.phenomenon == phenomenon]


def _score_part(
    key: Key, split: str, phenomenon: str, shots: int, items: list[Item], method: Method
) -> list[dict[str, Any]]:
    """Return one row for each metric that the items have."""
    kind, task, language, role = key
    head: dict[str, Any] = {"kind": kind, "task": task, "language": language, "role": role}
    head |= {"split": split, "phenomenon": phenomenon, "shots": shots}
    if kind == "bits_per_byte":
        return [{**head, **_row("bits_per_byte", _pair(items, _bits), method)}]
    rows = [{**head, **_row("accuracy", _pair(items, lambda item: item.correct), method)}]
    if not any(math.isnan(item.correct_norm) for item in items):
        rows.append({**head, **_row("accuracy_norm", _pair(items, lambda item: item.correct_norm), method)})
    return rows


def _bits(item: Item) -> float:
    return -item.loglikelihoods[0] / math.log(2)


def _pair(items: list[Item], value: Callable[[Item], float]) -> Paired:
    """Match base and adapted by item and average each over its seeds, items in the order of the base's rows."""
    found: dict[str, dict[str, list[float]]] = {"base": {}, "adapted": {}}
    first: dict[str, Item] = {}
    for item in items:
        found[item.model].setdefault(item.item, []).append(value(item))
        first.setdefault(item.item, item)
    if {name: len(values) for name, values in found["base"].items()} != {
        name: len(values) for name, values in found["adapted"].items()
    }:
        raise ValueError("base and adapted were not scored on the same items")
    per_byte = items[0].kind == "bits_per_byte"
    return Paired(
        np.array([np.mean(values) for values in found["base"].values()]),
        np.array([np.mean(found["adapted"][name]) for name in found["base"]]),
        np.array(
            [first[name].byte_counts[0] if per_byte else 1.0 for name in found["base"]], dtype=np.float64
        ),
        np.array([first[name].chance for name in found["base"]]),
        [first[name].cluster for name in found["base"]],
    )


def _row(metric: str, paired: Paired, method: Method) -> dict[str, Any]:
    """Return metric, n, chance, values with intervals, and the test."""
    columns = np.stack([paired.base, paired.adapted, paired.adapted - paired.base], axis=1)
    values = columns.sum(axis=0) / paired.weights.sum()
    drawn = stats.bootstrap_ratios(columns, paired.weights, method.seed, method.resamples, paired.clusters)
    intervals = [stats.interval(values[i], drawn[:, i], method.confidence) for i in range(3)]
    n = len(paired.base)
    p = stats.bootstrap_p(drawn[:, 2])
    lost = gained = None
    chance = None
    if metric != "bits_per_byte":
        if len(set(paired.clusters)) == n:  # a plain proportion: Wilson's interval is right at 0 and 1 too
            intervals[:2] = [stats.wilson(float(side.sum()), n, method.confidence) for side in columns.T[:2]]
        lost, gained = int((columns[:, 2] < 0).sum()), int((columns[:, 2] > 0).sum())
        p = _exact_p(columns[:, 2], paired.clusters)
        chance = float(paired.chance.mean())
    base, adapted, difference = (_interval(interval) for interval in intervals)
    return {
        "metric": metric,
        "n": n,
        "chance": chance,
        "base": base,
        "adapted": adapted,
        "difference": difference,
        "p": p,
        "q": None,
        "lost": lost,
        "gained": gained,
        "percent_increase": None,
    }


def _exact_p(changes: stats.Floats, clusters: list[str]) -> float:
    """Exact McNemar over clusters: one counts as lost or gained by the sign of its net change.

    With one seed and every item its own cluster this is McNemar's test of the items.
    """
    net: dict[str, float] = {}
    for cluster, change in zip(clusters, changes.tolist(), strict=True):
        net[cluster] = net.get(cluster, 0.0) + change
    # Averages over seeds may leave rounding where gains and losses cancel.
    signs = [value for value in net.values() if abs(value) > 1e-9]
    return stats.mcnemar(sum(value < 0 for value in signs), sum(value > 0 for value in signs))


def _interval(interval: stats.Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _add_increases(scores: list[dict[str, Any]]) -> None:
    """Fill in the percent increase over 0 shots where both are there."""
    zero = {(s["split"], s["phenomenon"], s["metric"]): s for s in scores if s["shots"] == 0}
    for score in scores:
        start = zero.get((score["split"], score["phenomenon"], score["metric"]))
        if score["shots"] > 0 and start is not None:
            score["percent_increase"] = {
                model: stats.percent_increase(start[model]["value"], score[model]["value"])
                for model in ("base", "adapted")
            }


def _retention(key: Key, items: list[Item], method: Method) -> list[dict[str, Any]]:
    """Return (A_k - A_0) - (B_k - B_0) of chance-corrected accuracy for each k above 0."""
    counts = sorted({item.shots for item in items})
    if key[0] == "bits_per_byte" or counts[0] != 0:
        return []
    at = {k: _pair([item for item in items if item.shots == k], lambda item: item.correct) for k in counts}
    rows = []
    for k in counts[1:]:
        found = stats.difference_in_differences(
            at[0].base,
            at[k].base,
            at[0].adapted,
            at[k].adapted,
            at[0].chance,
            method.seed,
            method.resamples,
            method.confidence,
            at[0].clusters,
        )
        kind, task, language, role = key
        head = {"kind": kind, "task": task, "language": language, "role": role, "k": k, "n": len(at[0].base)}
        rows.append({**head, "difference_in_differences": _interval(found)})
    return rows
