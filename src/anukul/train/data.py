"""Read a stage's rows from the run folder and turn them into examples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anukul.config import Stage
from anukul.errors import UserError
from anukul.records import Document, Instruction, Pair, Row, read_rows
from anukul.train.formats import Example, Formatter, Mark, Segment

SAMPLE_CHARACTERS = 100_000_000


@dataclass(frozen=True, slots=True)
class Written:
    """One row as a stage writes it, before it is tokenised."""

    id: str
    license: str
    segments: list[Segment]
    mark: Mark


def own_examples(root: Path, stage: Stage, formatter: Formatter) -> list[Example]:
    """The stage's own examples, in the order of its files."""
    written = list(own_rows(root, stage, formatter))
    return formatter.encode([one.segments for one in written], marks=[one.mark for one in written])


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
        pairs = _rows(root, "pairs", Pair)
        held = {document.id: document.weight for document in documents} if stage.rehydrate > 1 else {}
        for index, pair in enumerate(pairs):
            mark = Mark(pair.source, "", _copies(pair.source, held.get(pair.document_id, 1), stage))
            yield Written(pair.id, pair.license, formatter.bilingual(pair, start=index % 2), mark)
        # what has no translation is read as it stands: nothing of the corpus is lost
        paired = {pair.document_id for pair in pairs}
        yield from _texts([one for one in documents if one.id not in paired], stage, formatter)


def _translations(
    pairs: Sequence[Pair], stage: Stage, formatter: Formatter, held: dict[str, int]
) -> Iterator[Written]:
    """Pairs in both directions; those out of the language are spread evenly among the others."""
    asked = stage.translation
    for index, pair in enumerate(pairs):
        share = asked.to_target_share
        to_target = int((index + 1) * share + 1e-9) > int(index * share + 1e-9)
        mark = Mark(
            pair.source,
            "to_target" if to_target else "to_base",
            _copies(pair.source, held.get(pair.document_id, 1), stage),
        )
        yield Written(pair.id, pair.license, formatter.translation(pair, to_target, asked.tags), mark)


def _texts(documents: Sequence[Document], stage: Stage, formatter: Formatter) -> Iterator[Written]:
    for document in documents:
        mark = Mark(document.source, "", _copies(document.source, document.weight, stage))
        yield Written(document.id, document.license, formatter.text(document), mark)


def _instructions(rows: Sequence[Instruction], stage: Stage, formatter: Formatter) -> Iterator[Written]:
    for row in rows:
        mark = Mark(row.source, "", _copies(row.source, 1, stage))
        yield Written(row.id, row.license, formatter.instruct(row), mark)


def _copies(source: str, held: int, stage: Stage) -> int:
    """How often a row is read in an epoch: by its source, and by how often the corpus held it."""
    return stage.repeat.get(source, 1) * max(1, min(held, stage.rehydrate))


def _held(root: Path, stage: Stage) -> dict[str, int]:
    """How often the corpus held each document; empty where nobody asks."""
    if stage.rehydrate == 1 or not (root / "corpus" / "documents.parquet").exists():
        return {}
    return {document.id: document.weight for document in _rows(root, "documents", Document)}


def language_texts(root: Path) -> list[str]:
    """The corpus's text of the language, evenly thinned to at most `SAMPLE_CHARACTERS`, for learning new pieces."""
    texts = [document.text for document in _rows(root, "documents", Document)]
    every = -(-sum(map(len, texts)) // SAMPLE_CHARACTERS) or 1
    return texts[::every]


def replay_examples(root: Path, formatter: Formatter) -> list[Example]:
    """Examples of the base language's replay text."""
    documents = _rows(root, "replay", Document)
    marks = [Mark(document.source) for document in documents]
    return formatter.encode([formatter.text(one) for one in documents], replay=True, marks=marks)


def _rows(root: Path, name: str, row_type: type[Row]) -> list[Row]:
    step = "synth" if name in ("pairs", "instructions") else "corpus"
    path = root / step / f"{name}.parquet"
    if not path.exists():
        raise UserError(f"{path}: not there; run `anukul {step} run.yaml` first")
    return read_rows(path, row_type)
