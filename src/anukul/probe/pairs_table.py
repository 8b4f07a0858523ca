"""The table of minimal pairs: accuracy of base and adapted by phenomenon, distance and attractor, and their difference.

Chance is 50 %. Intervals are clustered by the frame that pairs were made from; the test is McNemar's exact one over
frames; q is Benjamini and Hochberg's over the phenomena of all sets. Rows of one distance, of pairs with and without
attractor, and of a whole set describe and are not tested.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul import stats
from anukul.records import PairScore

SCHEMA = 1
RESAMPLES = 2000
CONFIDENCE = 0.95
CHANCE = 0.5
FAMILY = "comparisons of adapted and base: every phenomenon of every set of minimal pairs"


@dataclass(frozen=True, slots=True)
class Both:
    """One pair with both models' answers."""

    pair: PairScore  # of the base; its text, phenomenon and frame are those of the adapted model's row
    base: bool
    adapted: bool


def right(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each pair's good sentence is strictly the likelier one, `[pairs]`, from nats `[pairs, 2]`."""
    return np.asarray(scores[:, 0] > scores[:, 1])


def pairs_table(rows: Sequence[PairScore], seed: int) -> dict[str, Any]:
    """Return what pairs.json holds, from the rows of both models; ValueError where they are not of the same pairs."""
    base = [row for row in rows if row.model == "base"]
    adapted = {(row.set, row.pair): row for row in rows if row.model == "adapted"}
    if {(row.set, row.pair) for row in base} != set(adapted):
        raise ValueError("base and adapted were not scored on the same pairs")
    both = [Both(row, row.correct, adapted[row.set, row.pair].correct) for row in base]
    table = [{**head, **_compare(held, seed), "q": None} for head, held in _parts(both) if held]
    tested = [row for row in table if row["tested"]]
    q_values = stats.benjamini_hochberg([row["p"] for row in tested])
    for row, q in zip(tested, q_values, strict=True):
        row["q"] = q
    for row in table:
        if not row.pop("tested"):
            row["p"] = None
    return {
        "schema": SCHEMA,
        "seed": seed,
        "resamples": RESAMPLES,
        "confidence": CONFIDENCE,
        "chance": CHANCE,
        "family": {"comparisons": len(tested), "rows": FAMILY},
        "rows": table,
    }


def _parts(both: Sequence[Both]) -> Iterator[tuple[dict[str, Any], list[Both]]]:
    """Yield the head of a row and its pairs: each set whole and cut, then each of its phenomena whole and cut."""
    sets: dict[str, list[Both]] = {}
    for held in both:
        sets.setdefault(held.pair.set, []).append(held)
    for name, members in sets.items():
        yield from _cuts({"set": name, "phenomenon": None, "whole_set": True, "tested": False}, members)
        phenomena: dict[str, list[Both]] = {}
        for held in members:
            phenomena.setdefault(held.pair.phenomenon, []).append(held)
        for phenomenon, found in phenomena.items():
            head = {"set": name, "phenomenon": phenomenon, "whole_set": False, "tested": True}
            yield from _cuts(head, found)


def _cuts(head: dict[str, Any], held: list[Both]) -> Iterator[tuple[dict[str, Any], list[Both]]]:
    """Yield all pairs; then those of each distance, then those with and without attractor, where this is known."""
    yield {**head, "distance": None, "attractor": None}, held
    part = {**head, "whole_set": False, "tested": False}
    for distance in sorted({both.pair.distance for both in held} - {-1}):
        found = [both for both in held if both.pair.distance == distance]
        yield {**part, "distance": distance, "attractor": None}, found
    if {bool(both.pair.attractor) for both in held if both.pair.attractor is not None} == {True, False}:
        for wanted in (False, True):
            found = [
                both
                for both in held
                if both.pair.attractor is not None and bool(both.pair.attractor) == wanted
            ]
            yield {**part, "distance": None, "attractor": wanted}, found


def _compare(held: Sequence[Both], seed: int) -> dict[str, Any]:
    """Return n, accuracies with intervals, the paired difference, McNemar's p and the counts of changed pairs."""
    base = np.array([both.base for both in held], dtype=np.float64)
    adapted = np.array([both.adapted for both in held], dtype=np.float64)
    clusters = [both.pair.cluster for both in held]
    columns = np.stack([base, adapted, adapted - base], axis=1)
    drawn = stats.bootstrap_ratios(columns, np.ones(len(base)), seed, RESAMPLES, clusters)
    count, change = len(set(clusters)), columns[:, 2]
    intervals = [
        stats.interval(float(columns[:, i].mean()), drawn[:, i], CONFIDENCE, count) for i in range(3)
    ]
    for i, side in enumerate((base, adapted)):
        if count == len(base) or side.min() == side.max():
            # Wilson's has width where all are right or all wrong; then the frames are what was seen.
            intervals[i] = stats.wilson(float(side.mean()) * count, count, CONFIDENCE)
    named = zip(("base", "adapted", "difference"), intervals, strict=True)
    return {
        "n": len(held),
        "clusters": count,
        **{name: {"value": found.value, "low": found.low, "high": found.high} for name, found in named},
        "p": stats.mcnemar_clustered(change, clusters),
        "lost": int((change < 0).sum()),
        "gained": int((change > 0).sum()),
    }
