"""Text classification in a table: every label of the file is a choice after the text and a question."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anukul.config import LabelSettings
from anukul.errors import UserError
from anukul.items.rows import BadRowError, label_of, read_jsonl, read_lines, text_of

TABLES = {".tsv": "\t", ".csv": ","}


def read_labelled(path: str, settings: LabelSettings) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, row of query, choices, gold) for each row of a .tsv, .csv or .jsonl file.

    The choices are the labels of the whole file in alphabetical order, by the names that `settings` gives them. Raise
    UserError where a column is missing, a label has no name, or all rows have one label.
    """
    rows = list(_rows(path))
    found: list[tuple[int, dict[str, Any], str, str]] = []
    for number, row in rows:
        try:
            found.append((number, row, text_of(row, settings.text), _label(row, settings.label)))
        except BadRowError as error:
            raise UserError(f"{path}: line {number}: {error}; the columns are {', '.join(row)}") from None
    labels = sorted({label for *_, label in found})
    if found and len(labels) < 2:
        raise UserError(f"{path}: every row has the label '{labels[0]}': there is nothing to choose from")
    unnamed = [label for label in labels if settings.names and label not in settings.names]
    if unnamed:
        raise UserError(
            f"{path}: labels.names has no name for {', '.join(unnamed)}; name every label or none"
        )
    choices = [settings.names.get(label, label) for label in labels]
    for number, row, text, label in found:
        query = f"{text}\n{settings.question}" if settings.question else text
        made: dict[str, Any] = {"query": query, "choices": choices, "gold": labels.index(label)}
        yield number, made | {key: row[key] for key in ("id", "cluster", "split") if row.get(key)}


def _label(row: dict[str, Any], column: str) -> str:
    label = label_of(row, column, "").strip()
    if not label:
        raise BadRowError(f"'{column}' must be a label, and is empty")
    return label


def _rows(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    delimiter = TABLES.get(Path(path).suffix.lower())
    if delimiter is None:
        yield from read_jsonl(path)
        return
    lines = (f"{line}\n" for _, line in read_lines(path))
    if delimiter == "\t":  # there a quotation mark is a letter like any other
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter)
    header: list[str] | None = None
    try:
        for cells in reader:
            if header is None:
                header = cells
            elif cells:
                if len(cells) != len(header):
                    raise UserError(
                        f"{path}: line {reader.line_num}: {len(cells)} cells where the header has {len(header)}"
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: not a table ({error})") from None
