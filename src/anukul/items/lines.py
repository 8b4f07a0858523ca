"""Held-out lines, read from a text file or from the `text` of JSONL rows."""

from pathlib import Path

from anukul.config import HeldOutText
from anukul.errors import UserError
from anukul.items.rows import BadRowError, not_empty, read_jsonl, read_lines, text_of


def load_held_out(settings: HeldOutText) -> list[tuple[int, str]]:
    """Return (line number, text) of the lines that are not empty, after `skip` of them and up to `limit`."""
    return lines_after(settings.path, settings.skip, settings.limit)


def lines_after(path: str, skip: int, limit: int | None = None) -> list[tuple[int, str]]:
    """Return (line number, text) of the lines that are not empty, after `skip` of them and up to `limit`."""
    lines: list[tuple[int, str]] = []
    if Path(path).suffix == ".jsonl":
        for number, row in read_jsonl(path):
            try:
                lines.append((number, text_of(row, "text")))
            except BadRowError as error:
                raise UserError(f"{path}: line {number}: {error}") from None
    else:
        lines = [(number, line) for number, line in read_lines(path) if line.strip()]
    lines = lines[skip:][:limit]
    not_empty(path, lines, f"lines after the first {skip}")
    return lines
