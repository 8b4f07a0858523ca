"""One number for a whole model: the share of all arcs that the best head of each relation resolves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from anukul.probe import resample
from anukul.probe.heads import ArcTable, Scores, cross_fit, make_group, members_of
from anukul.probe.resample import Floats
from anukul.stats import mcnemar_clustered

PAIRS = (("adapted", "base"), ("base", "offset"), ("adapted", "offset"))


def tree_scores(
    table: ArcTable, models: Mapping[str, Scores], seed: int, randoms: tuple[Scores, ...] = ()
) -> dict[str, Any]:
    """Return `tree` of selected.json: base, adapted, the fixed offsets and random weights, and their differences.

    Every arc of the table counts, those of rare relations too. It is judged by the head (or the offset) that is best
    for its relation and direction on the other half of the sentences; where that half has none of the kind, the arc
    counts as not resolved. Intervals and McNemar's p are clustered by sentence.
    """
    resolved = _resolved(table, models, randoms)
    order = np.argsort(table.sentence, kind="stable")
    sentence = table.sentence[order]
    _, starts, counts = np.unique(sentence, return_index=True, return_counts=True)
    drawn = resample.draws(len(counts), resample.generator(seed, "tree"))

    def estimate(values: Floats) -> dict[str, float]:
        sums = np.add.reduceat(values[order], starts)
        low, high = resample.ratio_interval(sums, counts.astype(np.float64), drawn)
        return {"value": float(values.mean()), "low": float(low), "high": float(high)}

    result: dict[str, Any] = {"arcs": len(table.arcs), "sentences": len(counts)}
    result |= {name: estimate(values) for name, values in resolved.items()}
    for first, second in PAIRS:
        change = resolved[first] - resolved[second]
        p = mcnemar_clustered(change[order], sentence.tolist())
        result[f"{first}_minus_{second}"] = {**estimate(change), "p": p}
    return result


def _resolved(
    table: ArcTable, models: Mapping[str, Scores], randoms: tuple[Scores, ...]
) -> dict[str, Floats]:
    """Return `[arcs]` of 1 and 0 by name; `random` is the mean over the models with random weights."""
    names = [*models, "offset"] + (["random"] if randoms else [])
    resolved = {name: np.zeros(len(table.arcs)) for name in names}
    for (relation, direction), index in members_of(table).items():
        group = make_group(table, relation, direction, index)
        resolved["offset"][index] = group.crossed_hit
        for name, scores in models.items():
            resolved[name][index] = cross_fit(group, scores).correct
        for scores in randoms:
            resolved["random"][index] += cross_fit(group, scores).correct / len(randoms)
    return resolved
