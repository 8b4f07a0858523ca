"""Keep what no translator may touch: code, URLs, placeholders and tags are masked, then put back and counted.

Blocks of code are cut out, so that the translator never sees them; what stands inside a sentence becomes a mask that
it can carry along. A mask that does not come back exactly once means that something was lost, and the row is dropped.
Numbers are left to the translator, which writes them as words around them ask, and are checked afterwards.
"""

from collections import Counter
from dataclasses import dataclass

import regex

from anukul.text.keys import fold_digits, numbers
from anukul.text.words import LETTER

# fenced, with or without a language; an open fence runs to the end
FENCED = regex.compile(r"(?:```|~~~)[\s\S]*?(?:```|~~~|\Z)")
INLINE = regex.compile(
    r"`[^`\n]+`"  # code
    r"|\$\$[^$]+\$\$|\\\([^\n]*?\\\)|\\\[[\s\S]*?\\\]"  # formulas
    r"|(?:https?|ftp)://[^\s<>\"'`।]*[^\s<>\"'`।.,;:!?)\]}]|www\.[^\s<>\"'`।]*[^\s<>\"'`।.,;:!?)\]}]"
    r"|[\w.+-]+@[\w-]+(?:\.[A-Za-z][\w-]*)+"  # addresses
    r"|\{\{[^{}\n]*\}\}|\$\{[^{}\n]*\}|\{[A-Za-z_][\w.]*\}|\{\}|\{\d+\}"  # {{name}} ${name} {name} {}
    r"|%\([A-Za-z_]\w*\)[sdif]|%[sdifg](?![\p{L}\p{M}])"  # %(name)s %s
    r"|\[[A-Z][A-Z0-9_ ]*\]"  # [NAME]
    r"|</?[A-Za-z][\w-]*(?:\s[^<>\n]*)?/?>"  # tags
    r"|\$[A-Za-z_]\w*"  # $name
    r"|\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\(\)"  # call()
    r"|\b[A-Za-z]\w*_\w+\b"  # snake_case
)
MASK = "ZX{}Z"  # letters and a number: subword vocabularies know them, and no script folds them
MASKED = regex.compile(r"(?i)Z\s*X\s*(\p{Nd}+)\s*Z")


@dataclass(frozen=True, slots=True)
class Protected:
    """A text made ready: what the translator is given in turn, and what stands before, between and after it."""

    parts: tuple[str, ...]  # to be translated; empty where nothing but code stands
    kept: tuple[str, ...]  # one more than `parts`: blocks of code with the blanks around them
    masks: tuple[str, ...]  # what mask 0, 1 … stands for, over all parts


def prose(text: str) -> str:
    """Return a text without what is protected: what a reader reads as language."""
    return INLINE.sub(" ", FENCED.sub("\n", text))


def protect(text: str) -> Protected:
    """Take a text apart."""
    parts: list[str] = []
    kept = [""]
    masks: list[str] = []

    def masked(match: "regex.Match[str]") -> str:
        masks.append(match.group())
        return MASK.format(len(masks) - 1)

    def take(piece: str) -> None:
        bare = piece.strip()
        if not LETTER.search(prose(bare)):  # nothing but code, numbers and signs
            kept[-1] += piece
            return
        start = piece.index(bare)
        kept[-1] += piece[:start]
        parts.append(INLINE.sub(masked, bare))
        kept.append(piece[start + len(bare) :])

    end = 0
    for block in FENCED.finditer(text):
        take(text[end : block.start()])
        kept[-1] += block.group()
        end = block.end()
    take(text[end:])
    return Protected(tuple(parts), tuple(kept), tuple(masks))


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


def changed(before: str, after: str) -> tuple[str, str] | None:
    """Return (rule, detail) where a translation does not hold what its source holds; None where it does.

    Code, URLs, placeholders and tags must be there as they were; numbers in any digits, and in any order.
    """
    for pattern in (FENCED, INLINE):
        ours, theirs = Counter(pattern.findall(before)), Counter(pattern.findall(after))
        if ours != theirs:
            missing, more = list((ours - theirs).elements()), list((theirs - ours).elements())
            told = [
                f"{word} {', '.join(found)}" for word, found in (("lost", missing), ("new", more)) if found
            ]
            return "protected_changed", "; ".join(told)[:300]
    left, right = Counter(numbers(prose(before))), Counter(numbers(prose(after)))
    if left != right:
        return (
            "numbers_changed",
            f"{' '.join(left.elements()) or 'none'} against {' '.join(right.elements()) or 'none'}",
        )
    return None
