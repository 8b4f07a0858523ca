"""What every way to translate has in common: texts cut at lines and sentences, and put together again.

A decoder that reaches its limit stops without a word, and half a translation teaches half a sentence. So the end
token is asked for and looked for, and inputs are cut at sentences, never by the engine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import regex

from anukul.languages import Language
from anukul.text.keys import fold_digits
from anukul.text.sentences import split_sentences

# What stands before the text of a list item: it is taken off, and put back as it was with the digits of the other side.
LIST_MARK = regex.compile(r"\s*(?:(?:[-*+•●○◦▪▫■□‣–—·]|\(?\p{Nd}{1,3}[.)])(?:\s+|$))?")
SAYS = regex.compile(r"[\p{L}\p{N}]")  # what a translation cannot leave out altogether
FAULTS = (RuntimeError, ValueError)  # of one text that an engine cannot take


@dataclass(frozen=True, slots=True)
class Translation:
    """A translated text; `ended` is False where any part of it never reached its end token, or failed."""

    text: str
    ended: bool
    tokens: int  # generated, the end token counted
    rule: str = (
        ""  # why it is dropped: not_ended | empty_translation | sentence_too_long | translation_failed
    )
    detail: str = ""
    input_tokens: int = 0


class Translator(Protocol):
    """What translates: texts in, as many translations out, in order."""

    name: str  # of the model and its hash, as rows bear it

    def translate(self, texts: list[str]) -> list[Translation]:
        """Translate texts; each comes back as one translation."""
        ...


Told = Callable[[int, int], None]  # hears of tokens made and pieces done


@dataclass(frozen=True, slots=True)
class Use:
    """What a translator is for."""

    where: str = "synth.translate"  # the key of run.yaml that asks for it
    paid: Path | None = None  # the folder in which is written down what it pays

    @classmethod
    def of(cls, where: str, parts: Path | None) -> "Use":
        """Return the use of the key `where`, with a folder of its own below the step's parts."""
        return cls(where, parts / "paid" / where if parts else None)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a text: what stands before it and is kept, and its pieces by number, None for one too long."""

    mark: str
    pieces: tuple[int | None, ...]


def cut_line(line: str, language: Language, size: Callable[[str], int], room: int) -> list[tuple[str, int]]:
    """Return the pieces of a line with their sizes: whole sentences, as many as fit into `room`; one may be larger."""
    whole = size(line)
    if whole <= room or not line:
        return [(line, whole)] if whole else []
    pieces: list[tuple[str, int]] = []
    held, length = "", 0
    for sentence in split_sentences(line, language):
        together = f"{held} {sentence}" if held else sentence
        now = size(together)
        if held and now > room:
            pieces.append((held, length))
            together, now = sentence, size(sentence)
        held, length = together, now
    return [*pieces, (held, length)]


def translate_texts(
    texts: Sequence[str],
    source: Language,
    target: Language,
    size: Callable[[str], int],
    limit: int,
    work: Callable[[list[str]], list[Translation]],
) -> list[Translation]:
    """Translate texts line by line, in pieces of at most `limit` by `size`; line breaks and list marks are kept.

    Pieces of several sentences take half the limit, which leaves room for a translation twice as long as its source.
    A sentence beyond the limit is not sent: its text comes back as not ended. So does one of which a piece with letters
    or digits is translated into nothing.
    """
    pieces: list[str] = []
    plans: list[list[Line]] = []
    for text in texts:
        plan: list[Line] = []
        for line in text.split("\n"):
            match = LIST_MARK.match(line)
            mark = match.group() if match else ""
            numbers: list[int | None] = []
            for piece, length in cut_line(line[len(mark) :], source, size, max(1, limit // 2)):
                numbers.append(len(pieces) if length <= limit else None)
                if length <= limit:
                    pieces.append(piece)
            plan.append(Line(_in_digits(mark, target), tuple(numbers)))
        plans.append(plan)
    made = work(pieces) if pieces else []
    done = [_not_empty(piece, one) for piece, one in zip(pieces, made, strict=True)]
    return [_join(plan, done, limit) for plan in plans]


def _not_empty(piece: str, made: Translation) -> Translation:
    """Return a translation as it is; one that says nothing, where its piece says something, as not ended."""
    if not made.ended or made.text.strip() or not SAYS.search(piece):
        return made
    detail = f"nothing came back for {' '.join(piece.split())[:80]!r}"
    return replace(made, ended=False, rule="empty_translation", detail=detail)


def _in_digits(mark: str, language: Language) -> str:
    return "".join(
        language.digits[int(folded)] if (folded := fold_digits(one)).isdecimal() else one for one in mark
    )


def _join(plan: list[Line], done: list[Translation], limit: int) -> Translation:
    """Put the pieces of one text together: pieces with a space, lines with a line break."""
    parts = [[done[number] for number in line.pieces if number is not None] for line in plan]
    lines = []
    for line, found in zip(plan, parts, strict=True):
        text = " ".join(part.text for part in found if part.text)
        lines.append(f"{line.mark}{text}" if text else line.mark.rstrip())
    every = [part for found in parts for part in found]
    fault = next((part for part in every if part.rule), None)
    rule, detail = (fault.rule, fault.detail) if fault else ("", "")
    if any(number is None for line in plan for number in line.pieces):
        rule, detail = "sentence_too_long", f"a sentence of more than {limit} tokens was not sent"
    tokens, given = sum(part.tokens for part in every), sum(part.input_tokens for part in every)
    return Translation("\n".join(lines), not rule, tokens, rule, detail, given)


def not_ended(text: str, tokens: int, input_tokens: int = 0) -> Translation:
    """Return a translation that reached the limit before its end token."""
    detail = f"no end token after {tokens} tokens"
    return Translation(text, False, tokens, "not_ended", detail, input_tokens)


def surviving(
    items: list[str],
    work: Callable[[list[str]], list[Translation]],
    faults: tuple[type[Exception], ...] = FAULTS,
) -> list[Translation]:
    """Do the work on all items; where it fails, on halves of them, down to the one that fails alone.

    So one text that an engine cannot take costs nothing but itself, and a batch too large for the memory is made small.
    """
    if not items:
        return []
    try:
        return work(items)
    except faults as error:
        if len(items) == 1:
            words = " ".join(str(error).split())[:200] or type(error).__name__
            return [Translation("", False, 0, "translation_failed", words)]
    half = (len(items) + 1) // 2
    return [*surviving(items[:half], work, faults), *surviving(items[half:], work, faults)]


def by_length(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return batches of places, the longest first, each at most `budget` tokens with its padding; one may be longer."""
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    batches: list[list[int]] = []
    for place in order:
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def in_batches(
    items: list[str],
    lengths: Sequence[int],
    budget: int,
    work: Callable[[list[str]], list[Translation]],
    told: Told,
) -> list[Translation]:
    """Translate items in batches of like length; return the translations in the order of the items."""
    found: list[Translation | None] = [None] * len(items)
    for batch in by_length(lengths, budget):
        done = surviving([items[place] for place in batch], work)
        told(sum(one.tokens for one in done), len(done))
        for place, one in zip(batch, done, strict=True):
            found[place] = one
    return [one for one in found if one is not None]
