"""Does a head know more than positions? Arcs permuted with their offsets kept, and the largest excess of any head.

A head finds an arc where the distance that it looks back is the arc's own. Under the null the two have nothing to do
with each other, given where the attending word stands: so the true distances of a relation's arcs are permuted among
arcs whose later words stand at the same place of their sentences (neighboring places are put together until there are
`STRATUM` arcs). A head that looks a fixed number of words back, or always at the first word, keeps its score; one that
follows the grammar loses it. (A control in the spirit of Hewitt and Liang 2019, arXiv 1909.03368.)

The test is the single-step max-statistic of Westfall and Young 1993: of every permutation the largest excess over all
heads is kept, so that p holds for the best of them all. Arcs of one sentence are not independent: a head's excess is
divided by the root of its design effect (Kish 1965, clusters are sentences) before it is compared.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anukul.probe.heads import Ints
from anukul.probe.resample import Floats

PERMUTATIONS = 2000
STRATUM = 8  # arcs, at least, among which distances are permuted
CELLS = 1 << 24  # comparisons held at once: 16 MiB


@dataclass(frozen=True, slots=True)
class Looked:
    """How far the heads look and how far they should, arcs of one group: the table of every test here.

    `looks` is `[arcs, heads]`: the distance in words from the attending word back to the word that the head finds,
    0 where it finds none; `true` is `[arcs]`; `stratum` is `[arcs]`, numbered from 0.
    """

    looks: Ints
    true: Ints
    stratum: Ints


def looked(found: NDArray[np.int16], query: Ints, distance: Ints) -> Looked:
    """Return the table of arcs for which the heads found the words `found` `[arcs, ...]`.

    `query` is `[arcs]`, the place of the attending words, `distance` the true distances.
    """
    words = found.reshape(len(found), -1).astype(np.int64)
    return Looked(np.where(words >= 0, query[:, None] - words, 0), distance, strata(query))


def strata(query: Ints) -> Ints:
    """Return `[arcs]`: the stratum of each arc by the place of its attending word, at least STRATUM arcs in each."""
    values, counts = np.unique(query, return_counts=True)
    numbers = np.zeros(len(values), dtype=np.int64)
    current = held = 0
    for place, count in enumerate(counts.tolist()):
        if held >= STRATUM:
            current, held = current + 1, 0
        numbers[place] = current
        held += count
    if held < STRATUM and current > 0:
        numbers[numbers == current] = current - 1
    return numbers[np.searchsorted(values, query)]


def permuted_accuracy(table: Looked) -> Floats:
    """Return `[heads]`: the accuracy that permuted arcs give on average, over all permutations (no sampling)."""
    shares = _shares(table)
    expected: Floats = shares[table.stratum[:, None], table.looks].mean(0)
    return expected


def _shares(table: Looked) -> Floats:
    """Return `[strata, distances]`: how frequent each true distance is in a stratum; distance 0 never is."""
    width = int(max(table.true.max(), table.looks.max())) + 1
    counts = np.zeros((int(table.stratum.max()) + 1, width))
    np.add.at(counts, (table.stratum, table.true), 1.0)
    sizes = counts.sum(1, keepdims=True)
    counts[:, 0] = 0.0
    counts /= sizes
    return counts


def design_effects(table: Looked, sentence: Ints) -> Floats:
    """Return `[heads]`: by how much clustering by sentence widens a head's excess, 1 at least.

    An arc's part in the excess is its match less what either side gives by itself, sum over distances v of (looks = v,
    less its share) times (true = v, less its share); the effect is the variance of their sums over sentences by that of
    single arcs.
    """
    shares = _shares(table)
    strata_count, width = shares.shape
    heads = table.looks.shape[1]
    sizes = np.bincount(table.stratum, minlength=strata_count).astype(np.float64)
    cell = (table.stratum[:, None] * width + table.looks) * heads + np.arange(heads)
    looks = np.bincount(cell.ravel(), minlength=strata_count * width * heads).astype(np.float64)
    looks = looks.reshape(strata_count, width, heads) / sizes[:, None, None]
    match = (table.looks == table.true[:, None]) & (table.looks > 0)
    parts = match - shares[table.stratum[:, None], table.looks] - looks[table.stratum, table.true]
    parts += np.einsum("sv,svh->sh", shares, looks)[table.stratum]
    parts -= parts.mean(0)
    order = np.argsort(sentence, kind="stable")
    _, starts = np.unique(sentence[order], return_index=True)
    alone = (parts**2).sum(0)
    together = (np.add.reduceat(parts[order], starts, axis=0) ** 2).sum(0)
    effects: Floats = np.divide(together, alone, out=np.ones_like(alone), where=alone > 1e-12)
    return effects.clip(min=1.0)


def max_statistic(table: Looked, sentence: Ints, rng: np.random.Generator) -> Floats:
    """Return `[heads]`: the one-sided p that a head finds arcs beyond what positions give, over all heads at once.

    The smallest p is 1 / (PERMUTATIONS + 1). Permutations are drawn and counted a bounded number at a time.
    """
    arcs, heads = table.looks.shape
    expected = permuted_accuracy(table) * arcs
    matches = ((table.looks == table.true[:, None]) & (table.looks > 0)).sum(0)
    excess = (matches - expected) / np.sqrt(design_effects(table, sentence))
    # fewer bytes are compared faster
    small = np.int8 if max(int(table.looks.max()), int(table.true.max())) < 127 else np.int16
    looks = table.looks.astype(small)
    largest = np.empty(PERMUTATIONS)
    step = max(1, CELLS // (arcs * heads))
    for start in range(0, PERMUTATIONS, step):
        count = min(step, PERMUTATIONS - start)
        drawn = permuted(table, count, rng).astype(small)
        hits = (looks[None] == drawn[:, :, None]).sum(1, dtype=np.int32)
        largest[start : start + count] = (hits - expected).max(1)
    # counts are whole numbers: what differs by rounding alone is a tie
    reached = PERMUTATIONS - np.searchsorted(np.sort(largest), excess - 1e-6, side="left")
    p: Floats = (1 + reached) / (PERMUTATIONS + 1)
    return p


def permuted(table: Looked, count: int, rng: np.random.Generator) -> Ints:
    """Return `[count, arcs]`: the true distances, permuted inside their strata."""
    order = np.argsort(table.stratum, kind="stable")
    # a whole number and a fraction: sorted, the strata stand in their order and their arcs in any
    drawn = np.argsort(table.stratum + rng.random((count, len(table.true))), axis=1)
    result = np.empty((count, len(table.true)), dtype=np.int64)
    result[:, order] = table.true[drawn]
    return result


def chosen_families(smallest: list[float], alpha: float) -> tuple[list[bool], float]:
    """Return which groups are found by their heads' smallest p, and the p at which their heads count as found.

    Benjamini and Bogomolov 2014: groups by Benjamini-Hochberg at `alpha`, then inside the R of m that are found the
    heads at alpha R / m: the share of false heads, on average over the groups found, stays below alpha.
    """
    from anukul.stats import benjamini_hochberg

    found = [q <= alpha for q in benjamini_hochberg(smallest)]
    return found, alpha * sum(found) / max(1, len(found))
