"""Resampling by sentence: intervals of ratios, and a one-sided test of a difference.

Arcs of one sentence are not independent, so whole sentences are drawn (cluster bootstrap, Miller 2024,
arXiv 2411.00640, section 2.2; Field and Welsh 2007). `stats.bootstrap_ratios` draws items column by column; here a
thousand heads share one matrix of draws, and the resampled sums are one matrix product.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 1000
FLIPS = 4000
CONFIDENCE = 0.95
COLUMNS = 256  # ratios resampled at once, to bound memory
CELLS = 1 << 22  # signs drawn at once


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return a generator that depends on the seed and the names alone, not on what was drawn before."""
    key = "\x1f".join([str(seed), *names]).encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:16], "big"))


def draws(clusters: int, rng: np.random.Generator) -> Floats:
    """Return how often each cluster is drawn, `[RESAMPLES, clusters]`."""
    return rng.multinomial(clusters, np.full(clusters, 1.0 / clusters), size=RESAMPLES).astype(np.float64)


def ratio_interval(sums: Floats, counts: Floats, drawn: Floats) -> tuple[Floats, Floats]:
    """Return low and high ends `[...]` of sum/count, from `sums` `[clusters, ...]`, `counts` `[clusters]`.

    Percentile bootstrap at CONFIDENCE; one `drawn` for several ratios keeps them paired.
    """
    flat = sums.reshape(len(sums), -1)
    total = (drawn @ counts)[:, None]
    tail = (1.0 - CONFIDENCE) / 2
    ends = [
        np.quantile(drawn @ flat[:, start : start + COLUMNS] / total, [tail, 1.0 - tail], axis=0)
        for start in range(0, flat.shape[1], COLUMNS)
    ]
    low, high = np.concatenate(ends, axis=1).reshape(2, *sums.shape[1:])
    return low, high


def sign_flip(differences: Floats, rng: np.random.Generator) -> float:
    """Return the one-sided p-value that per-cluster `differences` `[clusters]` sum to more than nothing.

    Under the null each cluster's difference is as likely with the other sign (Fisher's randomisation test);
    the smallest p is 1 / (FLIPS + 1), so that one surest of a hundred tests can outlive their correction.
    """
    held = differences[differences != 0]
    step = max(1, CELLS // max(1, len(held)))
    reached = 0
    for start in range(0, FLIPS, step):
        signs = rng.integers(0, 2, size=(min(step, FLIPS - start), len(held))) * 2.0 - 1.0
        reached += int((signs @ held >= held.sum() - 1e-9).sum())
    return (1 + reached) / (FLIPS + 1)
