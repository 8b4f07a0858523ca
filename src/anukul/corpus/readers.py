"""The documents of one input of run.yaml, in order, numbered over all files of its glob."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from anukul.config import TextInput
from anukul.progress import say
from anukul.text.files import RawRow, count_rows, format_of, input_paths, read_table

SAID = 20  # bad lines told one by one; all of them are written to dropped.parquet


@dataclass(slots=True)
class RawDocument:
    """One document as read: `given_id` is the input's own id, "" where there is none."""

    number: int  # 0-based, over all files of the input, skipped ones counted
    given_id: str
    text: str
    rule: str  # "" or the rule that drops it unread
    detail: str


def read_documents(text_input: TextInput) -> Iterator[RawDocument]:
    """Yield the documents of an input after `skip`, at most `limit`; a .txt line is a document.

    Raises UserError for a file or column that is not there. Says each line that is not UTF-8.
    """
    stop = None if text_input.limit is None else text_input.skip + text_input.limit
    said = 0
    for number, row in islice(enumerate(_rows(text_input)), text_input.skip, stop):
        if row.rule:
            said += 1
            if said <= SAID:
                say(f"corpus: dropped {row.rule}: {row.detail}")
            yield RawDocument(number, "", row.raw, row.rule, row.detail)
        else:
            yield RawDocument(number, row.values.get("id", ""), row.values[text_input.text_column], "", "")
    if said > SAID:
        say(f"corpus: {text_input.path}: {said - SAID:,} more bad lines; all are in corpus/dropped.parquet")


def _rows(text_input: TextInput) -> Iterator[RawRow]:
    for path in input_paths(text_input.path):
        file_format = format_of(path, text_input.format)
        optional = ("id",) if file_format == "jsonl" else ()
        yield from read_table(path, file_format, (text_input.text_column,), optional)


def expected_documents(text_input: TextInput) -> int:
    """Return about how many documents an input will give, for the progress bar."""
    paths = input_paths(text_input.path)
    total = sum(count_rows(path, format_of(path, text_input.format)) for path in paths) - text_input.skip
    return max(0, total if text_input.limit is None else min(total, text_input.limit))
