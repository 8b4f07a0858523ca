"""Find evaluation items in training texts by runs of words, in time linear in the text.

Words are those of the match key: case, punctuation, danda, joiners and the script of digits make no difference. A text
is contaminated by an item where
- it is the item of three or more words, by its match key (`exact`), or
- the item is too short for what follows, and stands in it as a line or a sentence (`sentence`), or
- of the item's words, in the stretch of the text that has most of them, at least `share` stand in common runs of
  `ngram` words (`overlap`). Coverage of words is what the Llama 2 paper counts (arXiv 2307.09288, appendix A.6); PaLM's
  share of common 8-grams (arXiv 2204.02311, section 8) would lose a short item with one word changed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from anukul.contamination.sentences import WholeSentences
from anukul.text.shingles import BATCH, Hashes, Offsets, shingle_hashes, word_hashes

# Measured on SIB-200 items with words changed or left out, and on text without: see tests/corpus/test_decontaminate.py
NGRAM = 3
SHARE = 0.6
MIN_WORDS = 8  # words that must be common where the text is not the item: 6 find `rise in the east and set in the west`
EXACT_WORDS = 3  # a text that is `yes` or the name of a label is no item
TEMPLATE = 50  # a run of words that is in more items than this is their form, not their content
SHOWN = 200  # characters of an item that are kept for reading


@dataclass(frozen=True, slots=True)
class EvalText:
    """One text of an evaluation item."""

    set: str  # what the run's config calls it, such as tasks.sib200-nepali
    item: str  # its id in the set
    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """An evaluation item that a text holds."""

    set: str
    item: str
    how: str  # exact | sentence | overlap
    share: float  # of the item's words
    excerpt: str  # of the item

    @property
    def detail(self) -> str:
        """The reason, for a reader."""
        found = {"exact": "is", "sentence": "has a sentence that is"}.get(
            self.how, f"has {self.share:.0%} of the words of"
        )
        return f"{found} {self.set}, item {self.item}: {self.excerpt}"


@dataclass(frozen=True, slots=True)
class _Match:
    """One run of words that a text and an item share."""

    text: NDArray[np.int64]  # number of the text
    item: NDArray[np.int64]  # number of the item
    there: NDArray[np.int64]  # place of the run's first word in the text
    here: NDArray[np.int64]  # and in the item


class Contamination:
    """The runs of words of every evaluation item. Texts that are in several sets are held once."""

    def __init__(
        self,
        items: Iterable[EvalText],
        ngram: int = NGRAM,
        share: float = SHARE,
        min_words: int = MIN_WORDS,
    ) -> None:
        self.ngram, self.share, self.min_words = ngram, share, min_words
        self.sets: dict[str, int] = {}  # items by set
        texts: dict[str, list[EvalText]] = {}
        counted: set[tuple[str, str]] = set()
        for item in items:
            texts.setdefault(item.text, []).append(item)
            if (item.set, item.item) not in counted:
                counted.add((item.set, item.item))
                self.sets[item.set] = self.sets.get(item.set, 0) + 1
        self._items = list(texts.values())
        words, offsets = word_hashes(list(texts))
        self._sizes = np.diff(offsets)
        self._exact: dict[bytes, list[int]] = {}
        for number, (first, last) in enumerate(pairwise(offsets)):
            if last - first >= EXACT_WORDS:
                self._exact.setdefault(words[first:last].tobytes(), []).append(number)
        self._index(words, offsets)
        short = np.flatnonzero(self._wanted < self.min_words).tolist()
        self._sentences = WholeSentences(words, offsets, short)

    def _index(self, words: Hashes, offsets: Offsets) -> None:
        """Sort the items' runs of words, those of templates left out, and mark them in a table of bits."""
        # an item of fewer words than a run has is found by its key alone
        grams, bounds = shingle_hashes(words, offsets, self.ngram)
        counts = np.diff(bounds)
        number = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(len(grams)) - np.repeat(bounds[:-1], counts)
        whole = self._sizes[number] >= self.ngram
        grams, number, place = grams[whole], number[whole], place[whole]
        order = np.argsort(grams, kind="stable")
        self._grams, first, held = np.unique(grams[order], return_index=True, return_counts=True)
        self._first, self._held = first, np.where(held > TEMPLATE, 0, held)
        self._number, self._place = number[order], place[order]
        template = np.repeat(held > TEMPLATE, held)
        lost = np.bincount(self._number[template], minlength=len(self._sizes))
        # the words that only runs of a template hold cannot be found: about one for each run
        self._wanted = np.maximum(self._sizes - lost, 1)
        bits = max(16, len(self._grams).bit_length() + 4)
        self._mask = np.uint64((1 << bits) - 1)
        self._seen = np.zeros(1 << bits, dtype=np.bool_)
        self._seen[self._grams & self._mask] = True

    def check(self, text: str) -> list[Hit]:
        """Return the evaluation items that a text holds, in the order of the sets; none where it is clean."""
        return self.check_all([text])[0]

    def check_all(self, texts: Sequence[str]) -> list[list[Hit]]:
        """Return the items that each text holds; many texts at once are several times faster than one by one."""
        found: list[list[Hit]] = []
        batch: list[str] = []
        size = 0
        for text in texts:
            if batch and size + len(text) > BATCH:
                found += self._check(batch)
                batch, size = [], 0
            batch.append(text)
            size += len(text)
        return found + self._check(batch)

    def _check(self, texts: list[str]) -> list[list[Hit]]:
        words, offsets = word_hashes(texts)
        found: list[dict[int, tuple[str, float]]] = [{} for _ in texts]  # by item; what is said last holds
        for text, item, share in self._overlaps(words, offsets):
            found[text][item] = "overlap", share
        for text, item in self._sentences.find(texts, words, offsets):
            found[text][item] = "sentence", 1.0
        for text, (first, last) in enumerate(pairwise(offsets)):
            if first < last and last - first <= self._sizes.max(initial=0):
                for item in self._exact.get(words[first:last].tobytes(), ()):
                    found[text][item] = "exact", 1.0
        return [
            [
                Hit(item.set, item.item, *held[number], item.text[:SHOWN])
                for number in sorted(held)
                for item in self._items[number]
            ]
            for held in found
        ]

    def _overlaps(self, words: Hashes, offsets: Offsets) -> Iterator[tuple[int, int, float]]:
        """Yield (text, item, share of the item's words) where enough of them stand in common runs."""
        grams, bounds = shingle_hashes(words, offsets, self.ngram)
        maybe = np.flatnonzero(self._seen[grams & self._mask])
        place = np.searchsorted(self._grams, grams[maybe])
        place = np.minimum(place, len(self._grams) - 1)
        there = self._grams[place] == grams[maybe] if len(self._grams) else np.zeros(0, dtype=np.bool_)
        gram, where = place[there], maybe[there]
        held = self._held[gram]
        gram, where, held = gram[held > 0], where[held > 0], held[held > 0]
        if not len(gram):
            return
        entry = np.repeat(self._first[gram] - np.cumsum(held) + held, held) + np.arange(held.sum())
        where = np.repeat(where, held)
        text = np.searchsorted(bounds, where, side="right") - 1
        match = _Match(text, self._number[entry], where - bounds[text], self._place[entry])
        order = np.lexsort((match.there, match.item, match.text))
        pair = match.text[order] * len(self._sizes) + match.item[order]
        begins = np.flatnonzero(np.concatenate([[True], pair[1:] != pair[:-1]]))
        ends = np.append(begins[1:], len(pair))
        item = match.item[order[begins]]
        # a run covers at most its own words: fewer runs than that cannot be enough
        enough = (ends - begins) * self.ngram >= self._needed(item)
        for first, last in zip(begins[enough].tolist(), ends[enough].tolist(), strict=True):
            part = order[first:last]
            number = int(match.item[part[0]])
            common = self._common(match.there[part], match.here[part], int(self._sizes[number]))
            if common >= self._needed(np.array([number]))[0]:
                yield int(match.text[part[0]]), number, min(1.0, common / int(self._wanted[number]))

    def _needed(self, item: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how many words of each item must be common."""
        return np.maximum(self.share * self._wanted[item], self.min_words) - 1e-9

    def _common(self, there: NDArray[np.int64], here: NDArray[np.int64], size: int) -> int:
        """Return how many words of an item stand in common runs, in the best stretch of 1.25 times its length."""
        best = 0
        reach = size + size // 4
        start = 0
        for end in range(len(there)):
            while there[end] - there[start] > reach:
                start += 1
            if end + 1 < len(there) and there[end + 1] - there[start] <= reach:
                continue  # the stretch goes on
            covered = np.zeros(size, dtype=np.bool_)
            for offset in range(self.ngram):
                covered[here[start : end + 1] + offset] = True
            best = max(best, int(covered.sum()))
        return best
