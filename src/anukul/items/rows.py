"""Read the local files that evaluation scores, line by line; every fault names file and line."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from anukul.config import resolve
from anukul.errors import UserError


class BadRowError(Exception):
    """What is wrong with one row; the reader adds file and line."""


def read_lines(path: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 file; raise UserError where it cannot be read."""
    file_path = resolve(path)
    if not file_path.is_file():
        raise UserError(f"{path}: no such file")
    with file_path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path}: line {number}: not UTF-8 ({error.reason} at byte {error.start})"
                ) from None


def read_jsonl(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for each non-empty line of a JSONL file."""
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}: line {number}: not JSON ({error.msg} at column {error.colno})"
            ) from None
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {number}: not a JSON object")
        yield number, row


def text_of(row: dict[str, Any], key: str) -> str:
    """Return a non-empty string of a row."""
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise BadRowError(f"'{key}' must be a text that is not empty, got {short(value)}")
    return value


def texts_of(row: dict[str, Any], key: str) -> tuple[str, ...]:
    """Return at least two non-empty strings of a row."""
    values = row.get(key)
    if not isinstance(values, list) or len(values) < 2:
        raise BadRowError(f"'{key}' must be a list of at least two texts, got {short(values)}")
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise BadRowError(f"'{key}' must hold texts that are not empty, got {short(value)}")
    return tuple(values)


def label_of(row: dict[str, Any], key: str, default: str) -> str:
    """Return an optional label of a row, numbers as text."""
    value = row.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadRowError(f"'{key}' must be a text or a whole number, got {short(value)}")
    return str(value)


def gold_of(row: dict[str, Any], choices: int) -> int:
    """Return the index of the right choice."""
    gold = row.get("gold")
    if isinstance(gold, bool) or not isinstance(gold, int) or not 0 <= gold < choices:
        raise BadRowError(f"'gold' must be a whole number from 0 to {choices - 1}, got {short(gold)}")
    return gold


def short(value: Any) -> str:
    """Return a value as JSON of at most 60 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def strictly_best(values: Sequence[float]) -> int:
    """Return the place of the highest value, -1 for a tie: what is right must be strictly likelier."""
    best = max(values)
    return -1 if values.count(best) > 1 else values.index(best)


def check_finite(values: Sequence[float], task: str, item: str, model: str) -> None:
    """Raise UserError naming task and item where a log-likelihood is NaN or infinite."""
    if not all(math.isfinite(value) for value in values):
        raise UserError(
            f"task '{task}', item '{item}': the {model} model gives a log-likelihood that is not a finite number; "
            "the weights or the adapter are broken, or compute_dtype is too narrow: try float32"
        )


def check_unique(path: str, identifiers: Sequence[str]) -> None:
    """Raise UserError where two rows share an id."""
    seen: set[str] = set()
    for identifier in identifiers:
        if identifier in seen:
            raise UserError(f"{path}: two rows have the id '{identifier}'; ids must differ")
        seen.add(identifier)


def not_empty(path: str, rows: Sequence[object], what: str) -> None:
    """Raise UserError for a file without a single row to score."""
    if not rows:
        raise UserError(f"{path}: no {what} in this file")
