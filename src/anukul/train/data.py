"""Read a stage's rows from the run folder and turn them into examples."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from anukul.config import Stage
from anukul.errors import UserError
from anukul.records import Document, Instruction, Pair, Row
from anukul.tables import chunks, iter_rows
from anukul.train.formats import PORTION, Example, Formatter, Mark, Segment

SAMPLE_CHARACTERS = 100_000_000


@dataclass(frozen=True, slots=True)
class Written:
    """One row as a stage writes it, before it is tokenised."""

    id: str
    license: str
    segments: list[Segment]
    mark: Mark


def own_examples(root: Path, stage: Stage, formatter: Formatter) -> list[Example]:
    """The stage's own examples, in the order of its files; of its rows a portion at a time is in memory."""
    return _encoded(own_rows(root, stage, formatter), formatter)


def own_rows(root: Path, stage: Stage, formatter: Formatter) -> Iterator[Written]:
    """The stage's rows as it writes them, in the order of its files; raise UserError where a file is missing."""
    if stage.format == "instruct":
        yield from _instructions(_rows(root, "instructions", Instruction), stage, formatter)
    elif stage.format == "translation":
        yield from _translations(_rows(root, "pairs", Pair), stage, formatter, _held(root, stage))
    elif stage.format == "text":
        yield from _texts(_rows(root, "documents", Document), stage, formatter)
    else:
        documents = _rows(root, "documents", Document)
        held = _held(root, stage)
        for index, pair in enumerate(_rows(root, "pairs", Pair)):
            mark = Mark(
                sys.intern(pair.source), "", _copies(pair.source, held.get(pair.document_id, 1), stage)
            )
            yield Written(pair.id, pair.license, formatter.bilingual(pair, start=index % 2), mark)
        # what has no translation is read as it stands: nothing of the corpus is lost
        alone = (one for one, paired in zip(documents, _paired(root), strict=True) if not paired)
        yield from _texts(alone, stage, formatter)


def _encoded(rows: Iterable[Written], formatter: Formatter, replay: bool = False) -> list[Example]:
    examples: list[Example] = []
    for portion in chunks(rows, PORTION):
        marks = [one.mark for one in portion]
        examples += formatter.encode([one.segments for one in portion], replay, marks)
    return examples


def _translations(
    pairs: Iterable[Pair], stage: Stage, formatter: Formatter, held: dict[str, int]
) -> Iterator[Written]:
    """Pairs in both directions; those out of the language are spread evenly among the others."""
    asked = stage.translation
    for index, pair in enumerate(pairs):
        share = asked.to_target_share
        to_target = int((index + 1) * share + 1e-9) > int(index * share + 1e-9)
        mark = Mark(
            sys.intern(pair.source),
            "to_target" if to_target else "to_base",
            _copies(pair.source, held.get(pair.document_id, 1), stage),
        )
        yield Written(pair.id, pair.license, formatter.translation(pair, to_target, asked), mark)


def _texts(documents: Iterable[Document], stage: Stage, formatter: Formatter) -> Iterator[Written]:
    for document in documents:
        copies = _copies(document.source, document.weight, stage)
        yield _text(document, formatter, copies)


def _text(document: Document, formatter: Formatter, copies: int = 1) -> Written:
    mark = Mark(sys.intern(document.source), "", copies)
    return Written(document.id, document.license, formatter.text(document), mark)


def _instructions(rows: Iterable[Instruction], stage: Stage, formatter: Formatter) -> Iterator[Written]:
    for row in rows:
        mark = Mark(sys.intern(row.source), "", _copies(row.source, 1, stage))
        yield Written(row.id, row.license, formatter.instruct(row), mark)


def _copies(source: str, held: int, stage: Stage) -> int:
    """How often a row is read in an epoch: by its source, and by how often the corpus held it."""
    return stage.repeat.get(source, 1) * max(1, min(held, stage.rehydrate))


def _held(root: Path, stage: Stage) -> dict[str, int]:
    """How often the corpus held each document that it held more than once; empty where nobody asks."""
    if stage.rehydrate == 1 or not (root / "corpus" / "documents.parquet").exists():
        return {}
    documents = _rows(root, "documents", Document)
    return {document.id: document.weight for document in documents if document.weight > 1}


def _paired(root: Path) -> list[bool]:
    """Whether there is a pair for each document, in their order."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    ids = pq.read_table(root / "corpus" / "documents.parquet", columns=["id"])["id"]
    named = pq.read_table(root / "synth" / "pairs.parquet", columns=["document_id"])["document_id"]
    found: list[bool] = pc.is_in(ids, value_set=named.combine_chunks()).to_pylist()
    return found


def language_texts(root: Path) -> list[str]:
    """The corpus's text of the language, evenly thinned to at most `SAMPLE_CHARACTERS`, for learning new pieces."""
    characters = sum(len(document.text) for document in _rows(root, "documents", Document))
    every = -(-characters // SAMPLE_CHARACTERS) or 1
    documents = enumerate(_rows(root, "documents", Document))
    return [document.text for place, document in documents if place % every == 0]


def replay_examples(root: Path, formatter: Formatter) -> list[Example]:
    """Examples of the base language's replay text."""
    documents = _rows(root, "replay", Document)
    return _encoded((_text(one, formatter) for one in documents), formatter, replay=True)


def _rows(root: Path, name: str, row_type: type[Row]) -> Iterator[Row]:
    """The rows of a file, a batch of them in memory at a time; raise UserError where it is missing."""
    step = "synth" if name in ("pairs", "instructions") else "corpus"
    path = root / step / f"{name}.parquet"
    if not path.exists():
        raise UserError(f"{path}: not there; run `anukul {step} run.yaml` first")
    return iter_rows(path, row_type)
