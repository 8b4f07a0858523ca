"""What became of every head: base against adapted on the same arcs, gained and lost heads."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from anukul.probe.heads import ArcTable, Group, Scores, part_of
from anukul.records import HeadChange
from anukul.stats import benjamini_hochberg

SHOWN = 50  # of the gained and of the lost heads in selected.json; all of them stand in changes.parquet


def head_changes(table: ArcTable, group: Group, base: Scores, adapted: Scores, seed: int) -> list[HeadChange]:
    """Return one row for each head of a group, over all of its arcs; no head is chosen, so none are held out.

    p is McNemar's exact test by sentence: a sentence counts as gained or lost by the sign of the sum of its arcs'
    changes (`stats.mcnemar_clustered`). q and verdict come with `judge`.
    """
    from scipy.stats import binom

    part = part_of(table, group, "all", seed)
    before, after = base.correct[part.arcs], adapted.correct[part.arcs]
    change = after.astype(np.float64) - before
    low, high = part.interval(change)
    net = part.sums(change)
    up, down = (net > 0).sum(0), (net < 0).sum(0)
    p = np.minimum(1.0, 2 * binom.cdf(np.minimum(up, down), up + down, 0.5))
    return [
        HeadChange(
            relation=group.relation,
            direction=group.direction,
            layer=layer,
            head=head,
            n=len(part.arcs),
            sentences=len(part.counts),
            base=float(before[:, layer, head].mean()),
            adapted=float(after[:, layer, head].mean()),
            change=float(change[:, layer, head].mean()),
            low=float(low[layer, head]),
            high=float(high[layer, head]),
            arcs_gained=int((change[:, layer, head] > 0).sum()),
            arcs_lost=int((change[:, layer, head] < 0).sum()),
            sentences_gained=int(up[layer, head]),
            sentences_lost=int(down[layer, head]),
            p=float(p[layer, head]),
            q=1.0,
            verdict="",
        )
        for layer, head in np.ndindex(*low.shape)
    ]


def judge(rows: Sequence[HeadChange], alpha: float) -> None:
    """Give every row its false discovery rate over all heads, relations and directions, and its verdict."""
    for row, q in zip(rows, benjamini_hochberg([row.p for row in rows]), strict=True):
        row.q = q
        if q <= alpha and row.sentences_gained > row.sentences_lost and row.change > 0:
            row.verdict = "gained"
        elif q <= alpha and row.sentences_gained < row.sentences_lost and row.change < 0:
            row.verdict = "lost"


def summary(rows: Sequence[HeadChange], alpha: float) -> dict[str, Any]:
    """Return `changed` of selected.json: how many heads gained and lost, and the `SHOWN` largest of each."""
    result: dict[str, Any] = {
        "tests": len(rows),
        "family": "every head on every relation and direction",
        "alpha": alpha,
    }
    for verdict in ("gained", "lost"):
        held = [row for row in rows if row.verdict == verdict]
        held.sort(key=lambda row: (-abs(row.change), row.relation, row.direction, row.layer, row.head))
        result[f"{verdict}_count"] = len(held)
        result[verdict] = [_entry(row) for row in held[:SHOWN]]
    return result


def _entry(row: HeadChange) -> dict[str, Any]:
    names = ("relation", "direction", "layer", "head", "n", "base", "adapted", "change", "low", "high", "q")
    return {name: getattr(row, name) for name in names}
