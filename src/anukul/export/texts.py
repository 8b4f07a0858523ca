"""The texts that an export is checked on: what the run holds out for bits per byte, else documents of its corpus."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anukul.config import RunConfig, resolve
from anukul.digests import hash_path
from anukul.errors import UserError
from anukul.rundir import StepFolder
from anukul.text.files import format_of, input_paths, read_table

DOCUMENTS = "corpus/documents.parquet"


@dataclass(frozen=True, slots=True)
class TextSet:
    """Some texts by the name that they have in run.yaml."""

    name: str
    language: str
    held_out: bool  # whether training had not seen them
    texts: tuple[str, ...]


def check_texts(config: RunConfig, root: Path) -> list[TextSet]:
    """Return the texts to check on, at most `export.texts` of each set; raise UserError where there are none."""
    limit = config.export.texts
    found = []
    if config.evaluate:
        for settings in config.evaluate.bits_per_byte:
            texts = list(_lines(settings.path, settings.skip, min(limit, settings.limit or limit)))
            if texts:
                found.append(TextSet(settings.name, settings.language, True, tuple(texts)))
    if not found and (root / DOCUMENTS).exists():
        texts = _documents(root / DOCUMENTS, limit)
        if texts:
            found.append(TextSet("corpus documents", config.language, False, tuple(texts)))
    if not found:
        raise UserError(
            "export: no text to check the export on; name held-out text in evaluate.bits_per_byte, "
            "or run the corpus step"
        )
    return found


def check_inputs(config: RunConfig, root: Path) -> dict[str, str]:
    """The digests of what `check_texts` reads, by name."""
    held = config.evaluate.bits_per_byte if config.evaluate else ()
    if held:
        return {f"bits_per_byte.{text.name}": hash_path(resolve(text.path)) for text in held}
    if (root / "corpus" / "done.json").exists():
        return {DOCUMENTS: StepFolder(root, "corpus").outputs()["documents.parquet"]}
    return {}


def _documents(path: Path, limit: int) -> list[str]:
    """The first documents of a corpus that may be large: only as much of the file is read as is needed."""
    import pyarrow.parquet as pq

    found: list[str] = []
    for batch in pq.ParquetFile(path).iter_batches(batch_size=limit, columns=["text"]):
        found += [text for text in batch.column(0).to_pylist() if text.strip()]
        if len(found) >= limit:
            break
    return found[:limit]


def _lines(path: str, skip: int, limit: int) -> Iterator[str]:
    count = 0
    for file in input_paths(path):
        for row in read_table(file, format_of(file), ("text",)):
            text = row.values.get("text", "").strip()
            if row.rule or not text:
                continue
            count += 1
            if count > skip:
                yield text
            if count >= skip + limit:
                return
