"""The rows of heads.parquet: every head on every relation, with its baselines and interval."""

import numpy as np

from anukul.probe.heads import HALVES, ArcTable, Group, Part, Scores, part_of
from anukul.probe.permute import looked, permuted_accuracy
from anukul.probe.resample import Floats
from anukul.records import HeadScore


def head_rows(
    table: ArcTable,
    group: Group,
    model: str,
    scores: Scores,
    seed: int,
    p: Floats | None = None,
    significant_at: float = 0.0,
) -> list[HeadScore]:
    """Return the rows of one group for every head and half.

    `p` `[heads]` is the max-statistic p over all arcs; heads with a p of at most `significant_at` are marked.
    """
    rows: list[HeadScore] = []
    for half in HALVES:
        part = part_of(table, group, half, seed)
        rows += _rows_of_half(group, part, half, model, scores, p, significant_at)
    return rows


def _rows_of_half(
    group: Group,
    part: Part,
    half: str,
    model: str,
    scores: Scores,
    p: Floats | None,
    significant_at: float,
) -> list[HeadScore]:
    correct = scores.correct[part.arcs]
    accuracy = correct.mean(0)
    mass = scores.mass[part.arcs].astype(np.float64).mean(0)
    low, high = part.interval(correct)
    query, distance = group.query[part.at], group.distance[part.at]
    permuted = permuted_accuracy(looked(scores.found[part.arcs], query, distance)).reshape(accuracy.shape)
    tested = np.full(accuracy.shape, np.nan) if p is None else p.reshape(accuracy.shape)
    baseline, uniform = float(group.hit[part.at].mean()), float((1.0 / query).mean())
    return [
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
            uniform=uniform,
            permuted=float(permuted[layer, head]),
            p=float(tested[layer, head]),
            significant=bool(tested[layer, head] <= significant_at),
        )
        for layer, head in np.ndindex(*accuracy.shape)
    ]
