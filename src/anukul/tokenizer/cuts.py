"""How a tokenizer cuts text: tokens per word, bytes per token, and the letters it tears apart.

A letter is an extended grapheme cluster (Unicode annex 29): a consonant with its vowel sign, or a conjunct.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import regex

from anukul.tokenizer.files import BYTE
from anukul.tokenizer.script import bytes_of, is_cut_letter

WORD = regex.compile(r"\S+")
LETTER = regex.compile(r"\X")
BATCH = 512  # lines


@dataclass(frozen=True, slots=True)
class Cuts:
    """Counts over the lines of one text."""

    language: str
    source: str
    lines: int
    words: int  # between white space
    bytes: int  # of UTF-8
    tokens: int
    torn_words: int  # with a cut inside a letter
    broken_words: int  # of those, with a cut inside a character: its bytes in two tokens
    partial_tokens: int  # that begin or end inside a character, or stand for a single byte of one

    @property
    def tokens_per_word(self) -> float:
        """Fertility: tokens per word between white space."""
        return self.tokens / self.words

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes per token."""
        return self.bytes / self.tokens

    def as_json(self) -> dict[str, Any]:
        """Counts and what follows from them."""
        return {
            **asdict(self),
            "tokens_per_word": self.tokens_per_word,
            "bytes_per_token": self.bytes_per_token,
            "torn_words_share": self.torn_words / self.words,
            "broken_words_share": self.broken_words / self.words,
            "partial_tokens_share": self.partial_tokens / self.tokens,
        }


def measure(
    tokenizer: Any, byte_level: bool, lines: Iterable[str], language: str, source: str
) -> Cuts | None:
    """Cut lines with a tokenizer of the tokenizers library and count; None where there is no word."""
    kept = [line for line in lines if line.strip()]
    words = tokens = torn = broken = partial = 0
    for first in range(0, len(kept), BATCH):
        part = kept[first : first + BATCH]
        for line, encoded in zip(part, tokenizer.encode_batch(part, add_special_tokens=False), strict=True):
            marks = [_is_partial(token, byte_level) for token in encoded.tokens]
            spans = [match.span() for match in WORD.finditer(line)]
            inside, within = _cuts(line, encoded.offsets, marks)
            words += len(spans)
            tokens += len(marks)
            partial += sum(marks)
            broken += len(_hit(spans, inside))
            torn += len(_hit(spans, inside) | _hit(spans, within))
    if not words or not tokens:
        return None
    size = sum(len(line.encode("utf-8")) for line in kept)
    return Cuts(language, source, len(kept), words, size, tokens, torn, broken, partial)


def _is_partial(token: str, byte_level: bool) -> bool:
    if not byte_level:
        return BYTE.fullmatch(token) is not None
    data = bytes_of(token)
    return data is not None and is_cut_letter(data)


def _cuts(
    line: str, offsets: Sequence[tuple[int, int]], partial: Sequence[bool]
) -> tuple[set[int], set[int]]:
    """Return the places of characters that a cut goes through, and of cuts between characters of one letter."""
    borders = {match.start() for match in LETTER.finditer(line)}
    inside: set[int] = set()
    within: set[int] = set()
    for index in range(1, len(offsets)):
        start, end = offsets[index][0], offsets[index - 1][1]
        if partial[index] and partial[index - 1] and start < end:
            inside.add(start)
        elif 0 < start < len(line) and start not in borders:
            within.add(start)
    return inside, within


def _hit(spans: Sequence[tuple[int, int]], places: set[int]) -> set[int]:
    """The numbers of the words in which one of the places lies."""
    starts = [start for start, _ in spans]
    found = ((bisect_right(starts, place) - 1, place) for place in places)
    return {index for index, place in found if index >= 0 and place < spans[index][1]}
