"""MinHash signatures of texts, cut into bands: texts that share a band's key are candidates for near duplicates.

Broder 1997; banding as in Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", section 3.4. Two texts whose sets
of shingles have the Jaccard similarity s share the key of one of b bands of r rows with probability 1 - (1 - s^r)^b:
for 14 x 8 that is .05 at s = .5, .56 at .7, .92 at .8 and 1.00 at .9. Of what shares a band, the share of equal rows of
the other bands tells those alike from those that met by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rensa
from numpy.typing import NDArray

from anukul.text.shingles import BATCH, Hashes, Offsets, mix, shingle_hashes, word_hashes

SEED = 0  # the permutations are no matter of luck: a signature must mean the same in every run
AT_ONCE = 2000  # signatures that are lists of Python numbers at a time
EMPTY = np.uint32(0xFFFF_FFFF)  # every row of the signature of a text without words
LANE = np.uint16  # what is kept of a row to compare two signatures: by chance 1 in 65,536 is equal


@dataclass(frozen=True, slots=True)
class Sketches:
    """What is kept of texts to find their copies."""

    exact: NDArray[np.uint64]  # [texts, 2]: 128 bits for the words in their order; 0 for a text without words
    bands: NDArray[np.uint64]  # [bands, texts]: 0 for a text without words
    lanes: NDArray[np.uint16]  # [texts, rows of all bands]


def sketch(texts: Sequence[str], ngram: int, bands: int, rows: int) -> Sketches:
    """Return the sketches of texts; without bands (0) only what finds exact copies."""
    parts = [_sketch(batch, ngram, bands, rows) for batch in _batches(texts)]
    if not parts:
        parts = [_sketch([], ngram, bands, rows)]
    return Sketches(
        np.concatenate([part.exact for part in parts]),
        np.concatenate([part.bands for part in parts], axis=1),
        np.concatenate([part.lanes for part in parts]),
    )


def _batches(texts: Sequence[str]) -> list[list[str]]:
    batches: list[list[str]] = []
    size = 0
    for text in texts:
        if not batches or size + len(text) > BATCH:
            batches.append([])
            size = 0
        batches[-1].append(text)
        size += len(text)
    return batches


def _sketch(texts: list[str], ngram: int, bands: int, rows: int) -> Sketches:
    words, offsets = word_hashes(texts)
    exact = exact_keys(words, offsets)
    if not bands:
        nothing = np.zeros((len(texts), 0), dtype=LANE)
        return Sketches(exact, np.zeros((0, len(texts)), dtype=np.uint64), nothing)
    found = signatures(*shingle_hashes(words, offsets, ngram), bands * rows)
    return Sketches(exact, band_keys(found, bands, rows), found.astype(LANE))


def exact_keys(words: Hashes, offsets: Offsets) -> NDArray[np.uint64]:
    """Return 128 bits for the words of each text in their order, `[texts, 2]`; 0 for a text without words.

    Texts with one `match_key` have one key.
    """
    counts = np.diff(offsets)
    place = np.arange(len(words), dtype=np.uint64) - np.repeat(offsets[:-1], counts).astype(np.uint64)
    keys = np.zeros((len(counts), 2), dtype=np.uint64)
    if not len(words):
        return keys
    held = np.flatnonzero(counts)
    for half in (0, 1):
        # a word's hash scrambled with its place, and summed: another order is another sum
        placed = mix(words ^ mix(place * np.uint64(2) + np.uint64(half + 1)))
        keys[held, half] = mix(np.add.reduceat(placed, offsets[held])) | np.uint64(1)
    return keys


def signatures(shingles: Hashes, offsets: Offsets, size: int) -> NDArray[np.uint32]:
    """Return the MinHash signatures of sets of shingles, `[sets, size]`, by rensa."""
    found = np.empty((len(offsets) - 1, size), dtype=np.uint32)
    for first in range(0, len(found), AT_ONCE):
        bounds = offsets[first : first + AT_ONCE + 1]
        part = shingles[bounds[0] : bounds[-1]]
        matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
            part, (bounds - bounds[0]).astype(np.uint64), size, SEED
        )
        found[first : first + AT_ONCE] = np.array(matrix.to_rows(), dtype=np.uint32)
    return found


def band_keys(found: NDArray[np.uint32], bands: int, rows: int) -> NDArray[np.uint64]:
    """Return a key for each band of each signature, `[bands, texts]`; 0 for the signature of a text without words."""
    keys = np.zeros((bands, len(found)), dtype=np.uint64)
    held = np.flatnonzero((found != EMPTY).any(axis=1))
    for band in range(bands):
        key = np.zeros(len(held), dtype=np.uint64)
        for row in range(rows):
            key = mix(key ^ found[held, band * rows + row].astype(np.uint64))
        keys[band, held] = key | np.uint64(1)
    return keys
