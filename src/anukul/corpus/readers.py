"""The documents of one input of run.yaml, in order, numbered over all its files, cut into shards."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from anukul.config import TextInput, resolve
from anukul.progress import say
from anukul.text.files import (
    BadFiles,
    CorruptFile,
    DatasetSource,
    OddFile,
    RawRow,
    dataset_commit,
    estimate_rows,
    format_of,
    input_paths,
    labels,
    read_dataset,
    read_table,
)

SAID = 20  # bad lines told one by one; all of them are written to dropped.parquet
LOOKED_INTO = 16  # files of an input from which its documents are estimated


@dataclass(slots=True)
class RawDocument:
    """One document as read: `given_id` is the input's own id, "" where there is none."""

    number: int  # 0-based, over all files of the input, skipped ones counted
    given_id: str
    text: str
    rule: str  # "" or the rule that drops it unread
    detail: str
    file: int = 0  # which file of the input, from 0
    place: str = ""  # "file:row", the row from 1
    source: str = ""
    license: str = ""


def dataset_of(text_input: TextInput) -> DatasetSource | None:
    """Return the dataset that an input is, None for files."""
    name = text_input.dataset
    if name is None:
        return None
    return DatasetSource(name, text_input.subset, text_input.split, text_input.revision)


class Reader:
    """Reads one input; unreadable files go to `bad`, and their numbers, from 0, to `bad_files`."""

    def __init__(self, text_input: TextInput, bad: BadFiles | None = None) -> None:
        self.input = text_input
        self.bad = bad or BadFiles()
        self.bad_files: dict[int, str] = {}  # with the reason
        self.dataset = dataset_of(text_input)
        self.paths: list[Path] = [] if self.dataset else input_paths(text_input.path)
        self.labels = [str(self.dataset)] if self.dataset else labels(self.paths)
        wanted = (text_input.id_column, text_input.source_column, text_input.license_column)
        self.optional = tuple(dict.fromkeys(name for name in wanted if name))

    def documents(self) -> Iterator[RawDocument]:
        """Yield the documents after `skip`, at most `limit`; a .txt line is a document.

        Raises UserError for a file or column that is not there. Says each line that is not UTF-8.
        """
        item = self.input
        stop = None if item.limit is None else item.skip + item.limit
        said = 0
        for number, (file, row) in islice(enumerate(self._rows()), item.skip, stop):
            if row.rule:
                said += 1
                if said <= SAID:
                    say(f"corpus: dropped {row.rule}: {row.detail}")
            yield self._document(number, file, row)
        if said > SAID:
            say(f"corpus: {item.path}: {said - SAID:,} more bad lines; all are in corpus/dropped.parquet")

    def _document(self, number: int, file: int, row: RawRow) -> RawDocument:
        item, values = self.input, row.values
        return RawDocument(
            number,
            values.get(item.id_column, ""),
            row.raw if row.rule else values[item.text_column],
            row.rule,
            row.detail,
            file,
            f"{self.labels[file]}:{row.number}",
            values.get(item.source_column or "", "") or item.source,
            values.get(item.license_column or "", "") or item.license,
        )

    def _rows(self) -> Iterator[tuple[int, RawRow]]:
        columns = (self.input.text_column,)
        if self.dataset is not None:
            for row in read_dataset(self.dataset, columns, self.optional):
                yield 0, row
            return
        odd = 0
        for file, path in enumerate(self.paths):
            file_format = format_of(path, self.input.format)
            optional = () if file_format == "txt" else self.optional
            try:
                for row in read_table(path, file_format, columns, optional):
                    yield file, row
            except CorruptFile as error:
                odd += isinstance(error, OddFile)
                if odd == len(self.paths):  # not the files are odd, but what the config says
                    raise
                self.bad.add(error)
                self.bad_files[file] = error.reason


def read_documents(text_input: TextInput) -> Iterator[RawDocument]:
    """Yield the documents of an input after `skip`, at most `limit`; raise UserError for what cannot be read."""
    yield from Reader(text_input).documents()


def shards(documents: Iterator[RawDocument], rows: int, characters: int) -> Iterator[list[RawDocument]]:
    """Cut documents into lists: at most so many rows, and characters unless one row alone has more."""
    held: list[RawDocument] = []
    size = 0
    for document in documents:
        if held and (len(held) == rows or size + len(document.text) > characters):
            yield held
            held, size = [], 0
        held.append(document)
        size += len(document.text)
    if held:
        yield held


def expected_documents(text_input: TextInput) -> int:
    """Return about how many documents an input will give, for the progress bar; the limit for a dataset."""
    if text_input.dataset is not None:
        return text_input.limit or 0
    paths = input_paths(text_input.path)
    step = -(-len(paths) // LOOKED_INTO)
    looked = paths[::step]
    found = sum(estimate_rows(path, format_of(path, text_input.format)) for path in looked)
    if step > 1:
        found = found * _size(paths) // max(1, _size(looked))
    found -= text_input.skip
    return max(0, found if text_input.limit is None else min(found, text_input.limit))


def _size(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def files_of(text_input: TextInput) -> list[Path]:
    """Return the files that an input is read from: none for a dataset on the hub, all those of one in a folder."""
    dataset = dataset_of(text_input)
    if dataset is None:
        return input_paths(text_input.path)
    if dataset.folder is None:
        return []
    return sorted(file for file in dataset.folder.rglob("*") if file.is_file())


def revision_of(text_input: TextInput) -> str | None:
    """Return the commit of a dataset on the hub, None for files."""
    dataset = dataset_of(text_input)
    return None if dataset is None else dataset_commit(dataset)


def folder_of(text_input: TextInput) -> Path:
    """Return the folder below which the files of an input lie."""
    dataset = dataset_of(text_input)
    found = resolve(dataset.name if dataset else text_input.path)
    return found if found.is_dir() else found.parent
