"""Paired statistics: pure functions of arrays, the seed an argument.

Every bootstrap here resamples clusters (single items where there are none) and returns percentile intervals.
Formulas: Efron & Tibshirani 1993 (percentile interval), McNemar 1947 in its exact binomial form, Benjamini &
Hochberg 1995, Wilson 1927.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
CHUNK = 4_000_000  # resampled indices held at once


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float


def bootstrap_ratios(
    numerators: ArrayLike,
    denominators: ArrayLike,
    seed: int,
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
    return interval(float(difference.mean()), drawn, confidence)


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
) -> Interval:
    """Return (A_k - A_0) - (B_k - B_0) of chance-corrected accuracy with its paired bootstrap interval.

    All arguments are per item; an item's accuracy a with chance c counts as (a - c) / (1 - c).
    """
    arrays = [np.asarray(values, dtype=np.float64) for values in (base_0, base_k, adapted_0, adapted_k)]
    room = 1 - np.asarray(chance, dtype=np.float64)
    if (room <= 0).any():
        raise ValueError("chance must be below 1")
    per_item = ((arrays[3] - arrays[2]) - (arrays[1] - arrays[0])) / room
    drawn = bootstrap_ratios(per_item, np.ones(len(per_item)), seed, resamples, clusters)[:, 0]
    return interval(float(per_item.mean()), drawn, confidence)


def interval(value: float, drawn: ArrayLike, confidence: float) -> Interval:
    """Return `value` with the percentile interval of its resampled values."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(drawn, dtype=np.float64), [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def bootstrap_p(drawn: ArrayLike) -> float:
    """Two-sided p that a difference is zero, from its resampled values; never below 2 / (resamples + 1)."""
    values = np.asarray(drawn, dtype=np.float64)
    smaller = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return min(1.0, 2 * (smaller + 1) / (len(values) + 1))


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p that items change in both directions equally often; 1 where none changed."""
    from scipy.stats import binomtest

    if lost + gained == 0:
        return 1.0
    return float(binomtest(gained, lost + gained, 0.5).pvalue)


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
