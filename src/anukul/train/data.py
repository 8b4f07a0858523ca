"""Read a stage's rows from the run folder and turn them into examples."""

from pathlib import Path

from anukul.config import Stage
from anukul.errors import UserError
from anukul.records import Document, Instruction, Pair, Row, read_rows
from anukul.train.formats import Example, Formatter

SAMPLE_CHARACTERS = 100_000_000


def own_examples(root: Path, stage: Stage, formatter: Formatter) -> list[Example]:
    """The stage's own examples, in the order of its files."""
    if stage.format == "translation":
        return formatter.encode([formatter.translation(pair) for pair in _rows(root, "pairs", Pair)])
    if stage.format == "instruct":
        rows = _rows(root, "instructions", Instruction)
        return formatter.encode([formatter.instruct(row) for row in rows])
    documents = _rows(root, "documents", Document)
    if stage.format == "text":
        return formatter.encode([formatter.text(document) for document in documents])
    pairs = _rows(root, "pairs", Pair)
    paired = {pair.document_id for pair in pairs}
    mixed = [formatter.bilingual(pair, start=index % 2) for index, pair in enumerate(pairs)]
    # what has no translation is read as it stands: nothing of the corpus is lost
    alone = [formatter.text(document) for document in documents if document.id not in paired]
    return formatter.encode([*mixed, *alone])


def language_texts(root: Path) -> list[str]:
    """The corpus's text of the language, evenly thinned to at most `SAMPLE_CHARACTERS`, for learning new pieces."""
    texts = [document.text for document in _rows(root, "documents", Document)]
    every = -(-sum(map(len, texts)) // SAMPLE_CHARACTERS) or 1
    return texts[::every]


def replay_examples(root: Path, formatter: Formatter) -> list[Example]:
    """Examples of the base language's replay text."""
    rows = [formatter.text(document) for document in _rows(root, "replay", Document)]
    return formatter.encode(rows, replay=True)


def _rows(root: Path, name: str, row_type: type[Row]) -> list[Row]:
    step = "synth" if name in ("pairs", "instructions") else "corpus"
    path = root / step / f"{name}.parquet"
    if not path.exists():
        raise UserError(f"{path}: not there; run `anukul {step} run.yaml` first")
    return read_rows(path, row_type)
