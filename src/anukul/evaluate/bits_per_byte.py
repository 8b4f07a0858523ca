"""Held-out lines, whose log-likelihood after BOS is counted in bits per UTF-8 byte."""

from pathlib import Path

from anukul.config import HeldOutText
from anukul.errors import UserError
from anukul.evaluate.rows import BadRowError, not_empty, read_jsonl, read_lines, text_of
from anukul.evaluate.whole_texts import Ranking


def load_lines(settings: HeldOutText, target: str) -> list[Ranking]:
    """Read the non-empty lines of a text file, or the `text` of JSONL rows, after `skip` and up to `limit`."""
    lines: list[tuple[int, str]] = []
    if Path(settings.path).suffix == ".jsonl":
        for number, row in read_jsonl(settings.path):
            try:
                lines.append((number, text_of(row, "text")))
            except BadRowError as error:
                raise UserError(f"{settings.path}: line {number}: {error}") from None
    else:
        lines = [(number, line) for number, line in read_lines(settings.path) if line.strip()]
    lines = lines[settings.skip :][: settings.limit]
    not_empty(settings.path, lines, f"lines after the first {settings.skip}")
    role = "target" if settings.language == target else "forgetting"
    return [
        Ranking(
            "bits_per_byte",
            settings.name,
            settings.language,
            role,
            str(number),
            str(number),
            "",
            "",
            (line,),
            -1,
        )
        for number, line in lines
    ]
