"""Paired statistics: pure functions of arrays, the seed an argument.

Every bootstrap here resamples clusters (single items where there are none) and returns percentile intervals, widened
for few clusters as Student's t is against the normal distribution (Hesterberg, arXiv 1411.5279, section 4.3).
Formulas: Efron & Tibshirani 1993 (percentile interval), McNemar 1947 in its exact binomial form, Benjamini &
Hochberg 1995, Wilson 1927, Lopez-Paz & Ranzato 2017 (backward transfer).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
FEW_CLUSTERS = 10
CHUNK = 4_000_000  # resampled indices held at once
ROUNDING = 1e-9  # sums and means of ones and zeros closer than this are the same


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate(Interval):
    """A difference with its interval and the two-sided p that it is zero, all of one bootstrap."""

    p: float


@dataclass(frozen=True, slots=True)
class TaskChanges:
    """What one task adds to backward transfer: adapted minus base per item `[items]`, and the items' clusters."""

    changes: ArrayLike
    clusters: Sequence[Hashable] | None = None


def bootstrap_ratios(
    numerators: ArrayLike,
    denominators: ArrayLike,
    seed: int | Sequence[int],
    resamples: int = 2000,
    clusters: Sequence[Hashable] | None = None,
) -> Floats:
    """Return ratios of sums for each resample, `[resamples, columns]`.

    `numerators` is `[items, columns]` (or `[items]`, one column); `denominators` is `[items]`. All columns share one
    resample, so that differences of columns are paired. With `clusters` `[items]` whole clusters are drawn.
    """
    top, bottom = _columns(numerators), np.asarray(denominators, dtype=np.float64)
    if clusters is not None:
        top, bottom = _sum_clusters(top, bottom, clusters)
    count = len(bottom)
    if count == 0:
        raise ValueError("no items to resample")
    generator = np.random.default_rng(seed)
    out = np.empty((resamples, top.shape[1]))
    step = max(1, CHUNK // count)
    for first in range(0, resamples, step):
        drawn = generator.integers(count, size=(min(step, resamples - first), count))
        below = bottom[drawn].sum(axis=1)
        for column in range(top.shape[1]):
            out[first : first + len(drawn), column] = top[drawn, column].sum(axis=1) / below
    return out


def mean_difference(
    base: ArrayLike,
    adapted: ArrayLike,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
    clusters: Sequence[Hashable] | None = None,
) -> Interval:
    """Return mean(adapted) - mean(base) over paired items with its bootstrap interval."""
    difference = np.asarray(adapted, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    drawn = bootstrap_ratios(difference, np.ones(len(difference)), seed, resamples, clusters)[:, 0]
    return interval(float(difference.mean()), drawn, confidence, _count(difference, clusters))


def difference_in_differences(
    base_0: ArrayLike,
    base_k: ArrayLike,
    adapted_0: ArrayLike,
    adapted_k: ArrayLike,
    chance: ArrayLike,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
    clusters: Sequence[Hashable] | None = None,
) -> Estimate:
    """Return (A_k - A_0) - (B_k - B_0) of chance-corrected accuracy with its paired bootstrap interval and p.

    All arguments are per item; an item's accuracy a with chance c counts as (a - c) / (1 - c).
    """
    corners = [correct_for_chance(values, chance) for values in (base_0, base_k, adapted_0, adapted_k)]
    per_item = (corners[3] - corners[2]) - (corners[1] - corners[0])
    drawn = bootstrap_ratios(per_item, np.ones(len(per_item)), seed, resamples, clusters)[:, 0]
    return _estimate(float(per_item.mean()), drawn, confidence, _count(per_item, clusters))


def backward_transfer(
    tasks: Sequence[TaskChanges], seed: int, resamples: int = 2000, confidence: float = 0.95
) -> Estimate:
    """Return the mean over tasks of each task's mean change, with its bootstrap interval and p.

    Backward transfer of Lopez-Paz & Ranzato (arXiv 1706.08840, equation 3) with one stage between the two models:
    every task weighs the same however many items it has. The tasks are the benchmark set, not a sample of tasks: items
    (clusters) are resampled inside each task, on their own. A resample of n clusters loses 1 / n of their variance,
    which is put back task by task; the degrees of freedom are Welch's and Satterthwaite's. Where a task has fewer than
    `FEW_CLUSTERS`, whose resamples cannot spread far enough, the interval and p are those of Student's t.
    """
    if not tasks:
        raise ValueError("no tasks")
    values = [np.asarray(task.changes, dtype=np.float64) for task in tasks]
    # Each task has a stream of random numbers of its own: shared ones would tie tasks of the same size together.
    drawn = [
        bootstrap_ratios(changes, np.ones(len(changes)), (seed, number), resamples, task.clusters)[:, 0]
        for number, (task, changes) in enumerate(zip(tasks, values, strict=True))
    ]
    counts = np.array([_count(v, task.clusters) for task, v in zip(tasks, values, strict=True)])
    value = float(np.mean([v.mean() for v in values]))
    if counts.min() < 2:
        return _estimate(value, np.mean(drawn, axis=0), confidence, 1)
    scaled = [
        (draws - v.mean()) * sqrt(n / (n - 1))
        for draws, v, n in zip(drawn, values, counts.tolist(), strict=True)
    ]
    variances = np.array([deviations.var() for deviations in scaled])
    spread = float((variances**2 / (counts - 1)).sum())
    freedom = float(variances.sum() ** 2 / spread) if spread > 0 else float(counts.sum() - len(counts))
    if counts.min() < FEW_CLUSTERS:
        return _students(value, sqrt(float(variances.sum())) / len(counts), freedom, confidence)
    # `interval` and `bootstrap_p` put (n - 1) / n back once more, for the freedom + 1 clusters that they are told of
    deviation = np.mean(scaled, axis=0) * sqrt(freedom / (freedom + 1))
    return _estimate(value, value + deviation, confidence, freedom + 1)


def _students(value: float, error: float, freedom: float, confidence: float) -> Estimate:
    """Return a value with a standard error, its t interval and p; no width where nothing varied."""
    from scipy.stats import t

    if error == 0:
        return Estimate(value, value, value, 1.0)
    half = float(t.ppf(0.5 + confidence / 2, freedom)) * error
    return Estimate(value, value - half, value + half, float(2 * t.sf(abs(value) / error, freedom)))


def correct_for_chance(accuracy: ArrayLike, chance: ArrayLike) -> Floats:
    """Return (accuracy - chance) / (1 - chance): 0 is guessing, 1 all right."""
    guessed = np.asarray(chance, dtype=np.float64)
    if (guessed >= 1).any():
        raise ValueError("chance must be below 1")
    return np.asarray((np.asarray(accuracy, dtype=np.float64) - guessed) / (1 - guessed))


def interval(value: float, drawn: ArrayLike, confidence: float, count: float | None = None) -> Interval:
    """Return `value` with the percentile interval of its resampled values, of `count` clusters (None: very many)."""
    tail = (1 - confidence) / 2
    if count is not None:
        tail = _widened(tail, count)
    # The (resamples + 1) q-th value, so that the ends and `bootstrap_p` agree.
    low, high = np.quantile(np.asarray(drawn, dtype=np.float64), [tail, 1 - tail], method="weibull")
    return Interval(float(value), float(low), float(high))


def bootstrap_p(drawn: ArrayLike, count: float | None = None) -> float:
    """Two-sided p that a difference is zero, from the resampled values of `count` clusters (None: very many).

    It is below 1 - confidence where `interval` leaves out 0, but that it never falls below what 2 / (resamples + 1)
    is worth with so few clusters, while the interval ends at the outermost resample.
    """
    from scipy.stats import norm, t

    values = np.asarray(drawn, dtype=np.float64)
    smaller = min(int((values <= 0).sum()), int((values >= 0).sum()))
    p = min(1.0, 2 * (smaller + 1) / (len(values) + 1))
    if count is None or p == 1:
        return p
    if count < 2:
        return 1.0
    return float(2 * t.sf(norm.isf(p / 2) * sqrt((count - 1) / count), count - 1))


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p that items change in both directions equally often; 1 where none changed."""
    from scipy.stats import binomtest

    if lost + gained == 0:
        return 1.0
    return float(binomtest(gained, lost + gained, 0.5).pvalue)


def mcnemar_clustered(changes: ArrayLike, clusters: Sequence[Hashable]) -> float:
    """Exact McNemar over clusters: one counts as lost or gained by the sign of the sum of its items' changes.

    With every item its own cluster this is McNemar's test of the items.
    """
    net, _ = _sum_clusters(_columns(changes), np.ones(len(clusters)), clusters)
    # Averages over seeds may leave rounding where gains and losses cancel.
    return mcnemar(int((net < -ROUNDING).sum()), int((net > ROUNDING).sum()))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return q values: the false discovery rate at which each hypothesis would be rejected."""
    p = np.asarray(p_values, dtype=np.float64)
    if len(p) == 0:
        return []
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    q = np.empty_like(adjusted)
    q[order] = adjusted
    return [float(value) for value in q]


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Return a proportion with Wilson's score interval, which stays inside [0, 1] and has width at 0 and 1."""
    from scipy.stats import norm

    if n < 1:
        raise ValueError("no trials")
    z = float(norm.ppf(0.5 + confidence / 2))
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At a share of 0 or 1 the end equals the value; rounding must not put it on the other side.
    return Interval(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def percent_increase(start: float, end: float) -> float | None:
    """Return 100 (end - start) / start; None where the start is 0."""
    return None if start == 0 else 100 * (end - start) / start


def _estimate(value: float, drawn: Floats, confidence: float, count: float) -> Estimate:
    ends = interval(value, drawn, confidence, count)
    return Estimate(ends.value, ends.low, ends.high, bootstrap_p(drawn, count))


def _count(items: Floats, clusters: Sequence[Hashable] | None) -> int:
    return len(items) if clusters is None else len(set(clusters))


def _widened(tail: float, count: float) -> float:
    """Return the smaller tail to cut off, where `count` clusters tell how widely the mean spreads."""
    from scipy.stats import norm, t

    if count < 2:
        return 0.0
    return float(norm.sf(sqrt(count / (count - 1)) * t.isf(tail, count - 1)))


def _columns(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    return array[:, None] if array.ndim == 1 else array


def _sum_clusters(top: Floats, bottom: Floats, clusters: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """Add up the items of each cluster, clusters in the order of their first item."""
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)
    if len(index) != len(bottom):
        raise ValueError(f"{len(index)} clusters for {len(bottom)} items")
    summed = np.zeros((len(numbers), top.shape[1]))
    np.add.at(summed, index, top)
    added = np.bincount(index, weights=bottom, minlength=len(numbers))
    return summed, added.astype(np.float64)
