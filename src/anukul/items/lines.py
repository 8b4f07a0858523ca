"""Held-out lines, read from a text file or from the `text` of JSONL rows."""

from pathlib import Path

from anukul.config import HeldOutText
from anukul.errors import UserError
from anukul.items.rows import BadRowError, not_empty, read_jsonl, read_lines, text_of


def load_held_out(settings: HeldOutText) -> list[tuple[int, str]]:
    """Return (line number, text) of the lines that are not empty, after `skip` of them and up to `limit`."""
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
    return lines
