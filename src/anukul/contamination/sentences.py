"""Items too short to be told by their runs of words: found where they are a line or a sentence of a text, as a whole.

Measured on 8,800 items of 3 to 7 words (SIB-200, TICO-19, FLORES, ARC-easy, PIQA, COPA, Winogrande, HellaSwag,
treebanks) and 19,700 texts in English and Nepali that hold none of them: anywhere in a text 79 items of three words are
found, such as `in the air`, one of five, none of six or seven; as a line or sentence none of any length. Those texts
have few headings and lists, in which three or four words stand alone by chance: such items are found as whole texts
only.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import regex

from anukul.text.keys import KEY_WORD, fold
from anukul.text.shingles import Hashes, Offsets, shingle_hashes

LEAST = 5  # words
# between two words: where a line, a sentence, or what follows `Question:` begins and ends
BORDER = regex.compile(r"[\n\t.?!।॥…:;|]")


class WholeSentences:
    """The items that are looked for as a whole, by the run of LEAST words that the fewest of them share."""

    def __init__(self, words: Hashes, offsets: Offsets, wanted: Sequence[int]) -> None:
        """Take those of the items numbered `wanted`, whose words are `words[offsets[i]:offsets[i + 1]]`."""
        held = {number: words[offsets[number] : offsets[number + 1]] for number in wanted}
        self._words = {number: found for number, found in held.items() if len(found) >= LEAST}
        runs = {number: _runs(found) for number, found in self._words.items()}
        together = np.concatenate([np.zeros(0, dtype=np.uint64), *runs.values()])
        values, counts = np.unique(together, return_counts=True)
        self._items: dict[int, list[tuple[int, int]]] = {}  # (item, place of the run in it) by run
        for number, found in runs.items():
            place = int(np.argmin(counts[np.searchsorted(values, found)]))
            self._items.setdefault(int(found[place]), []).append((number, place))
        self._runs = np.array(sorted(self._items), dtype=np.uint64)
        bits = max(16, len(self._runs).bit_length() + 4)
        self._mask = np.uint64((1 << bits) - 1)
        self._seen = np.zeros(1 << bits, dtype=np.bool_)
        self._seen[self._runs & self._mask] = True

    def find(self, texts: Sequence[str], words: Hashes, offsets: Offsets) -> Iterator[tuple[int, int]]:
        """Yield (text, item) where a text has an item as a line or sentence; the words are those of the texts."""
        if not self._items:
            return
        runs, bounds = shingle_hashes(words, offsets, LEAST)
        maybe = np.flatnonzero(self._seen[runs & self._mask])
        maybe = maybe[np.isin(runs[maybe], self._runs)]
        parted: dict[int, list[bool]] = {}
        for where, text in zip(maybe.tolist(), np.searchsorted(bounds, maybe, side="right") - 1, strict=True):
            text = int(text)
            for item, place in self._items[int(runs[where])]:
                own = self._words[item]
                start = where - int(bounds[text]) - place
                first = int(offsets[text]) + start
                if start < 0 or first + len(own) > offsets[text + 1]:
                    continue
                if not np.array_equal(words[first : first + len(own)], own):
                    continue
                if text not in parted:
                    parted[text] = borders(texts[text])
                if parted[text][start] and parted[text][start + len(own)]:
                    yield text, item


def _runs(words: Hashes) -> Hashes:
    return shingle_hashes(words, np.array([0, len(words)], dtype=np.int64), LEAST)[0]


def borders(text: str) -> list[bool]:
    """Return whether a line or sentence ends before each word of a text, and after the last, `[words + 1]`."""
    text = fold(text)
    found = [match.span() for match in KEY_WORD.finditer(text)]
    inner = (BORDER.search(text, end, start) is not None for (_, end), (start, _) in pairwise(found))
    return [True, *inner, True]
