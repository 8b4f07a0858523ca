"""Lines of two files that translate each other: those that evaluation translates, and its exemplars."""

import random
from dataclasses import dataclass

from anukul.config import TranslationSettings
from anukul.errors import UserError
from anukul.items.rows import read_lines


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence in both languages and its number in the files."""

    number: int
    base: str
    target: str


def load_lines(settings: TranslationSettings) -> tuple[list[Line], list[Line]]:
    """Return the lines to translate and those that exemplars come from; raise UserError for files that do not match.

    Line pairs of which a side is empty are left out.
    """
    base, target = (list(read_lines(path)) for path in (settings.source, settings.target))
    if len(base) != len(target):
        raise UserError(
            f"evaluate.translation: {settings.source} has {len(base):,} lines and {settings.target} {len(target):,}; "
            "line n of one must translate line n of the other"
        )
    lines = [
        Line(number, left.strip(), right.strip())
        for (number, left), (_, right) in zip(base, target, strict=True)
        if left.strip() and right.strip()
    ]
    lines = [line for line in lines if line.number > settings.skip]
    asked, rest = lines[: settings.limit], lines[settings.limit :]
    if not asked:
        raise UserError(f"evaluate.translation: {settings.source}: no lines after the first {settings.skip}")
    if len(rest) < max(settings.shots):
        raise UserError(
            f"evaluate.translation: {max(settings.shots)} shots are asked for but only {len(rest)} lines stand after "
            f"the {len(asked)} to translate; lower limit, skip or shots"
        )
    return asked, rest


def exemplars(rest: list[Line], settings: TranslationSettings, seed: int) -> list[Line]:
    """Return the exemplars in their order, drawn by seed: of k shots the first k."""
    return random.Random(f"{seed}:translation").sample(rest, max(settings.shots))
