"""Keep what no translator may touch: code, URLs, placeholders and tags are masked, then put back and counted.

Blocks of code, and the marks that give Markdown its structure, are cut out, so that the translator never sees them;
what stands inside a sentence becomes a mask that it can carry along. A mask that does not come back exactly once means
that something was lost, and the row is dropped. Numbers are left to the translator, which writes them as words around
them ask, and are checked afterwards.
"""

from collections import Counter
from dataclasses import dataclass

import regex

from anukul.synth.markup import (
    ADDRESS,
    EMPHASIS,
    FENCED,
    INLINE,
    RULED,
    has_words,
    line_pieces,
    prose,
    segments,
)
from anukul.text.keys import fold_digits, numbers

MASK = "ZX{}Z"  # letters and a number: subword vocabularies know them, and no script folds them
BREAK = regex.compile(rf"(?P<kept>{INLINE.pattern})|\n")
MASKED = regex.compile(r"(?i)Z\s*X\s*(\p{Nd}+)\s*Z")


@dataclass(frozen=True, slots=True)
class Protected:
    """A text made ready: what the translator is given in turn, and what stands before, between and after it."""

    parts: tuple[str, ...]  # to be translated, each of one line; empty where nothing but code stands
    kept: tuple[str, ...]  # one more than `parts`: code, marks and blanks
    masks: tuple[str, ...]  # what mask 0, 1 … stands for, over all parts


def protect(text: str) -> Protected:
    """Take a text apart."""
    parts: list[str] = []
    kept = [""]
    masks: list[str] = []

    def masked(match: "regex.Match[str]") -> str:
        masks.append(match.group())
        return MASK.format(len(masks) - 1)

    def take(piece: str) -> None:
        if not has_words(piece):  # nothing but code, numbers and signs
            kept[-1] += piece
            return
        bare = piece.strip()
        start = piece.index(bare)
        kept[-1] += piece[:start]
        parts.append(INLINE.sub(masked, bare))
        kept.append(piece[start + len(bare) :])

    ruled = RULED.search(text) is not None
    for code, block in segments(text):
        if code:
            kept[-1] += block
            continue
        for place, line in enumerate(_lines(block)):
            kept[-1] += "\n" if place else ""
            for translates, piece in line_pieces(line, ruled):
                if translates:
                    take(piece)
                else:
                    kept[-1] += piece
    return Protected(tuple(parts), tuple(kept), tuple(masks))


def _lines(text: str) -> list[str]:
    """Return the lines of a text; what is protected over several lines stays in one."""
    lines: list[str] = []
    start = 0
    for found in BREAK.finditer(text):
        if found.group("kept") is None:
            lines.append(text[start : found.start()])
            start = found.end()
    return [*lines, text[start:]]


def restore(protected: Protected, translated: list[str]) -> tuple[str, str]:
    """Return (the text put together, what was lost of it: empty where nothing was).

    `translated` are the translations of `parts`. Every mask must come back exactly once, in any order.
    """
    seen: Counter[int] = Counter()

    def put_back(match: "regex.Match[str]") -> str:
        number = int(fold_digits(match.group(1)))
        seen[number] += 1
        return protected.masks[number] if number < len(protected.masks) else match.group()

    pieces = [MASKED.sub(put_back, text) for text in translated]
    text = protected.kept[0] + "".join(
        piece + after for piece, after in zip(pieces, protected.kept[1:], strict=True)
    )
    lost = [mask for number, mask in enumerate(protected.masks) if not seen[number]]
    twice = [mask for number, mask in enumerate(protected.masks) if seen[number] > 1]
    made_up = [str(number) for number in seen if number >= len(protected.masks)]
    told = [("lost", lost), ("written twice", twice), ("made up: mask", made_up)]
    return text, "; ".join(f"{what} {', '.join(names)}"[:200] for what, names in told if names)


def missing(before: str, after: str) -> tuple[str, str] | None:
    """Return (rule, detail) where code or what is protected in a text does not stand in another as it was.

    Addresses may be masked.
    """
    pieces: Counter[str] = Counter()
    for code, piece in segments(before):
        inside = (match.group() for match in INLINE.finditer(piece))
        pieces.update([piece] if code else [one for one in inside if not ADDRESS.fullmatch(one)])
    lost = [piece for piece, count in pieces.items() if after.count(piece) < count]
    return ("protected_changed", f"lost {', '.join(lost)}"[:300]) if lost else None


def changed(before: str, after: str) -> tuple[str, str] | None:
    """Return (rule, detail) where a translation does not hold what its source holds; None where it does.

    Code, URLs, placeholders and tags must be there as they were, and no others; marks of Markdown as often; numbers in
    any digits, and in any order.
    """
    for pattern in (FENCED, INLINE):
        ours, theirs = (
            Counter(match.group() for match in pattern.finditer(text)) for text in (before, after)
        )
        if ours != theirs:
            gone, more = list((ours - theirs).elements()), list((theirs - ours).elements())
            told = [f"{word} {', '.join(found)}" for word, found in (("lost", gone), ("new", more)) if found]
            return "protected_changed", "; ".join(told)[:300]
    lost = missing(before, after)
    if lost:
        return lost
    for rule, count in (("markdown_changed", EMPHASIS.findall), ("numbers_changed", numbers)):
        left, right = Counter(count(prose(before))), Counter(count(prose(after)))
        if left != right:
            told = [" ".join(found.elements()) or "none" for found in (left, right)]
            return rule, f"{told[0]} against {told[1]}"[:300]
    return None
