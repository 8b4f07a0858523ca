"""The rows of a stage: how many there are, and examples made of a sample of them by the code of training."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from anukul.config import HUB, STAGE_FILES, RunConfig, Stage
from anukul.errors import UserError
from anukul.records import Document, Instruction, Pair, columns_in
from anukul.text.files import count_rows as count_lines
from anukul.text.files import format_of, input_paths
from anukul.train.formats import PORTION, Example, Formatter

Row = TypeVar("Row")

SAMPLE_ROWS = 4000  # of a file; up to so many are all tokenised
READ = 10_000 + PORTION  # rows in memory at once: a batch that is read, and a portion that is tokenised
CELL = 24.0  # bytes of a cell of a table that is read, beside its text: pointers to it, its place in Arrow's buffers
# bytes of an example beside its tokens: two arrays of numpy, their places, its number in the plan
EXAMPLE = 400.0
TOKEN = 5.0  # bytes of its id and its mark
ENCODED = 170.0  # bytes of a token while a tokenizer holds it: its text, its place, its id in a list


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of a file and examples made of an even part of them."""

    rows: int  # that train, of the file; several files together
    examples: list[Example]  # of the sample
    share: float  # of all the rows that were made examples of
    row_bytes: float  # of the rows that are in memory at once

    @property
    def whole(self) -> bool:
        """Whether every row was made an example of."""
        return self.share >= 1.0

    @property
    def example_bytes(self) -> float:
        """Bytes of the examples of all rows."""
        tokens = sum(len(example.ids) for example in self.examples)
        return (EXAMPLE * len(self.examples) + TOKEN * tokens) / self.share

    @property
    def encoding_bytes(self) -> float:
        """Bytes of the tokens of as many rows as are tokenised at once."""
        each = sum(len(example.ids) for example in self.examples) / max(1, len(self.examples))
        return ENCODED * each * min(self.rows, PORTION)


def files_of(root: Path, stage: Stage) -> list[Path]:
    """The files of the run folder that a stage trains on."""
    return [root / name for name in STAGE_FILES[stage.format]]


def sample_stage(root: Path, stage: Stage, formatter: Formatter) -> Sample | None:
    """Make examples of a sample of a stage's rows; None where its files do not all stand."""
    files = files_of(root, stage)
    if not all(file.exists() for file in files):
        return None
    if stage.format == "translation":
        total, pairs = _thinned(files[0], Pair)
        segments = [formatter.translation(pair, asked=stage.translation) for pair in pairs]
        return _sample(total, pairs, formatter.encode(segments))
    if stage.format == "instruct":
        total, instructions = _thinned(files[0], Instruction)
        return _sample(total, instructions, formatter.encode([formatter.instruct(r) for r in instructions]))
    if stage.format == "text":
        total, texts = _thinned(files[0], Document)
        return _sample(total, texts, formatter.encode([formatter.text(document) for document in texts]))
    return _bilingual(files[0], files[1], formatter)


def sample_replay(root: Path, formatter: Formatter) -> Sample | None:
    """Make examples of a sample of the replay text; None where it does not stand."""
    path = root / "corpus" / "replay.parquet"
    if not path.exists():
        return None
    total, texts = _thinned(path, Document)
    return _sample(total, texts, formatter.encode([formatter.text(text) for text in texts], replay=True))


def _bilingual(pairs_file: Path, documents_file: Path, formatter: Formatter) -> Sample:
    """Pairs that alternate, and the documents that have no pair."""
    total_pairs, pairs = _thinned(pairs_file, Pair)
    paired = set(_column(pairs_file, "document_id"))
    alone = [place for place, name in enumerate(_column(documents_file, "id")) if name not in paired]
    # both kinds are thinned alike, so that they stay in proportion
    share = len(pairs) / max(1, total_pairs)
    wanted = max(1, round(share * len(alone))) if alone else 0
    places = [alone[i] for i in np.linspace(0, len(alone) - 1, min(wanted, SAMPLE_ROWS)).astype(int)]
    documents = _at(documents_file, Document, places)
    segments = [formatter.bilingual(pair, start=index % 2) for index, pair in enumerate(pairs)]
    segments += [formatter.text(document) for document in documents]
    return _sample(total_pairs + len(alone), [*pairs, *documents], formatter.encode(segments))


def _sample(total: int, rows: Sequence[Any], examples: list[Example]) -> Sample:
    share = len(rows) / total if total else 1.0
    each = sum(_row_bytes(row) for row in rows) / max(1, len(rows))
    return Sample(total, examples, share, each * min(total, READ))


def _row_bytes(row: Any) -> float:
    """Bytes of a row and of the table's cells that it is made of."""
    cells = [getattr(row, field.name) for field in fields(row)]
    return float(sum(sys.getsizeof(cell) + CELL for cell in cells) + 16 + 8 * len(cells))


def _thinned(path: Path, row_type: type[Row]) -> tuple[int, list[Row]]:
    """Return how many rows a Parquet file has, and at most `SAMPLE_ROWS` of them, evenly spaced."""
    total = count_rows(path)
    size = min(total, SAMPLE_ROWS)
    return total, _at(path, row_type, np.linspace(0, total - 1, size).astype(int).tolist() if size else [])


def _at(path: Path, row_type: type[Row], places: Sequence[int]) -> list[Row]:
    """Return the rows at some places, ascending, of a Parquet file; one group of rows is in memory at a time."""
    import pyarrow.parquet as pq

    names = columns_in(path, row_type)
    found: list[Row] = []
    wanted = np.asarray(places, dtype=np.int64)
    with pq.ParquetFile(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            inside = wanted[(wanted >= first) & (wanted < first + size)] - first
            if len(inside):
                table = file.read_row_group(group, columns=names).take(inside)
                found += [row_type(**row) for row in table.to_pylist()]
            first += size
    return found


def _column(path: Path, name: str) -> list[str]:
    import pyarrow.parquet as pq

    return [str(value) for value in pq.read_table(path, columns=[name])[name].to_pylist()]


def count_rows(path: Path) -> int:
    """Return how many rows a Parquet file has; only its end is read."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def count_inputs(config: RunConfig, stage: Stage) -> tuple[int | None, str]:
    """Return (rows that a stage's input files will give at most, where the count is from); None where unknown."""
    asked: list[tuple[str, str, int | None, int]]  # file, folder or glob, format, limit, skip
    inputs = config.corpus.inputs if config.corpus else ()
    texts = [(item.path, str(item.format), item.limit, item.skip) for item in inputs]
    if stage.format in ("translation", "bilingual") and config.synth:
        asked = [(pair.target or pair.source, "auto", pair.limit, pair.skip) for pair in config.synth.pairs]
        asked += texts if config.synth.translate else []
    elif stage.format == "instruct" and config.synth:
        asked = [(item.path, "auto", item.limit, item.skip) for item in config.synth.instructions]
    else:
        asked = texts
    counts = [_count_input(*one) for one in asked]
    known = [count for count in counts if count is not None]
    if known:
        missing = len(counts) - len(known)
        without = f", {missing} of {len(counts)} inputs not counted" if missing else ""
        return sum(known), f"lines of its input files{without}"
    if stage.max_examples is not None:
        return stage.max_examples, "max_examples; its files are not there yet"
    return None, "its files are not there and max_examples is not set"


def _count_input(name: str, file_format: str, limit: int | None, skip: int) -> int | None:
    """Return how many rows an input has at most; None for a dataset of the hub and for what cannot be read here."""
    if name.startswith(HUB):
        return limit
    try:
        rows = sum(count_lines(path, format_of(path, file_format)) for path in input_paths(name))
    except UserError:  # planning goes on; the step says what is wrong with it
        return None
    rows = max(0, rows - skip)
    return min(rows, limit) if limit is not None else rows
