"""Words and shingles as 64-bit hashes, for many texts at once.

The words are those of `match_key`: mark-aware, danda and punctuation dropped, joiners, case and digits folded.
Splitting and hashing are array operations over code points, several times faster than making the words as strings. A
word's hash is a polynomial over random values of its characters modulo 2^64 (Karp and Rabin 1987), then mixed.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from anukul.text.keys import KEY_WORD, digits, fold

BATCH = 1 << 21  # characters hashed at once: 16 MB for an array of 64-bit values
BASE = 0x9E37_79B9_7F4A_7C15  # odd, hence with an inverse modulo 2^64
INVERSE = pow(BASE, -1, 1 << 64)
CODE_POINTS = 0x11_0000

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]


def mix(values: Hashes) -> Hashes:
    """Return a bijective scrambling of 64-bit values (the finalizer of splitmix64, Steele et al. 2014)."""
    values = values ^ (values >> np.uint64(30))
    values = values * np.uint64(0xBF58_476D_1CE4_E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D0_49BB_1331_11EB)
    return values ^ (values >> np.uint64(31))


@cache
def _values() -> Hashes:
    """Return a random odd value for each code point of words, 0 for the others, `[code points]`.

    Digits of all scripts have the value of 0-9. The classes are asked of `regex`, as `match_key` does.
    """
    values = np.zeros(CODE_POINTS, dtype=np.uint64)
    for first, last in ((0, 0xD800), (0xE000, CODE_POINTS)):  # surrogates are no characters
        for match in KEY_WORD.finditer("".join(map(chr, range(first, last)))):
            points = np.arange(first + match.start(), first + match.end(), dtype=np.uint64)
            values[points] = mix(points + np.uint64(BASE)) | np.uint64(1)
    for point, plain in digits().items():
        values[point] = values[ord(plain)]
    return values


@cache
def _powers(size: int) -> tuple[Hashes, Hashes]:
    """Return BASE and its inverse to the powers 0 to `size` - 1, modulo 2^64."""
    powers = np.full((2, size), [[BASE], [INVERSE]], dtype=np.uint64)
    powers[:, 0] = 1
    np.multiply.accumulate(powers, axis=1, out=powers)
    return powers[0], powers[1]


def forget() -> None:
    """Let go of the tables, 40 MB."""
    _values.cache_clear()
    _powers.cache_clear()


def word_hashes(texts: Sequence[str]) -> tuple[Hashes, Offsets]:
    """Return the hashes of the words of `texts`, one after the other, and where each text's begin, `[texts + 1]`."""
    hashes: list[Hashes] = []
    counts: list[Offsets] = []
    for batch in _batches(texts):
        found, held = _batch_hashes(batch)
        hashes.append(found)
        counts.append(held)
    if not hashes:
        return np.zeros(0, dtype=np.uint64), np.zeros(1, dtype=np.int64)
    return np.concatenate(hashes), offsets_of(np.concatenate(counts))


def offsets_of(counts: Offsets) -> Offsets:
    """Return where each of several runs begins, and where the last ends, `[runs + 1]`."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield folded texts, about BATCH characters at a time; a longer text comes alone."""
    batch: list[str] = []
    size = 0
    for text in texts:
        folded = fold(text)
        if batch and size + len(folded) > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(folded)
        size += len(folded) + 1
    if batch:
        yield batch


def _batch_hashes(texts: list[str]) -> tuple[Hashes, Offsets]:
    """Return the hashes of the words of folded texts, and how many words each text has."""
    joined = "\n".join(texts) + "\n"  # a line break parts words, so that each one ends inside the array
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    values = _values()[points]
    inside = np.zeros(len(values) + 1, dtype=np.int8)
    np.not_equal(values, 0, out=inside[1:], casting="unsafe")
    edges = np.diff(inside)
    starts = np.flatnonzero(edges == 1)
    ends = np.flatnonzero(edges == -1)
    size = 1 << max(21, (len(values) - 1).bit_length())  # few sizes, so that the powers are made once
    powers, inverses = _powers(size)
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values * powers[: len(values)], out=sums[1:])
    hashes = mix((sums[ends] - sums[starts]) * inverses[starts])
    borders = np.cumsum(np.fromiter((len(text) + 1 for text in texts), dtype=np.int64, count=len(texts)))
    return hashes, np.diff(np.searchsorted(starts, borders), prepend=0).astype(np.int64)


@cache
def _places(size: int) -> Hashes:
    """Return a random odd factor for each place in a shingle, `[size]`."""
    return mix(np.arange(1, size + 1, dtype=np.uint64)) | np.uint64(1)


def shingle_hashes(words: Hashes, offsets: Offsets, size: int) -> tuple[Hashes, Offsets]:
    """Return the hashes of all runs of `size` words inside each text, and where each text's begin, `[texts + 1]`.

    A text of fewer words is one shingle; a text without words has none.
    """
    counts = np.diff(offsets)
    held = np.where(counts >= size, counts - size + 1, np.minimum(counts, 1))
    bounds = offsets_of(held)
    found = np.zeros(int(bounds[-1]), dtype=np.uint64)
    factors = _places(size)
    whole = len(words) - size + 1
    if whole > 0:
        # a window is of a text where it ends before that text does
        first = np.flatnonzero(np.arange(size, len(words) + 1) <= np.repeat(offsets[1:], counts)[:whole])
        total = np.zeros(len(first), dtype=np.uint64)
        for place in range(size):
            total += words[first + place] * factors[place]
        shift = np.repeat(bounds[:-1] - offsets[:-1], counts)
        found[first + shift[first]] = mix(total)
    short = np.flatnonzero((counts > 0) & (counts < size))
    if len(short):
        total = counts[short].astype(np.uint64) * np.uint64(BASE)  # so that it is no part of a longer shingle
        for place in range(size - 1):
            there = counts[short] > place
            total[there] += words[offsets[short[there]] + place] * factors[place]
        found[bounds[short]] = mix(total)
    return found, bounds
