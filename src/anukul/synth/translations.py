"""Translate the documents that have no pair, shard by shard, here or on Ray.

What a shard's worker does depends on its texts and the settings alone; what depends on the rows before, such as
duplicates, is done in order by the one process that writes. So the rows are the same wherever the workers run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from anukul import cluster
from anukul.config import RunConfig, SynthSettings, TranslateSettings
from anukul.contamination import Tally
from anukul.errors import UserError
from anukul.languages import load
from anukul.licenses import of_model
from anukul.progress import Bar, bar
from anukul.records import Document, Dropped, Pair, schema_of
from anukul.synth.costly import Costly, Weighed
from anukul.synth.filters import judge_pair
from anukul.synth.instruct import both
from anukul.synth.samples import shown
from anukul.synth.state import EMPTY, Reason, Synth, count
from anukul.synth.translate import Told, Translation, Translator, make_translator, name_of, nobody
from anukul.tables import add_up, chunks, iter_rows
from anukul.text.normalize import normalize

MADE = {**EMPTY, "tokens": 0, "input_tokens": 0}
MAY_FAIL = 10  # documents, however few there are: so many bad rows are bad luck


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one document: its translation, normalised, and why the pair is dropped, if it is."""

    source: str
    translation: Translation
    reason: Reason | None
    weighed: Weighed


class ShardWorker:
    """Translates and judges the texts of a shard; made where it works, with a model of its own."""

    def __init__(self, config: RunConfig, told: Told = nobody) -> None:
        if config.synth is None or config.synth.translate is None:
            raise ValueError("nothing to translate")
        self.config = config
        self.settings: SynthSettings = config.synth
        self.asked: TranslateSettings = config.synth.translate
        self.told = told
        self.target, self.base = load(config.language), load(config.base_language)
        self.costly = Costly(self.settings, self.base, self.target, config.seed)
        self._translator: Translator | None = None

    def __call__(self, texts: list[str]) -> list[Outcome]:
        """Return what becomes of each text."""
        if self._translator is None:
            seed = self.config.seed
            self._translator = make_translator(self.asked, self.target, self.base, seed, self.told)
        done = self._translator.translate(texts)
        sources = [normalize(one.text, self.base)[0] for one in done]
        reasons: list[Reason | None] = [
            (one.rule or "not_ended", one.detail)
            if not one.ended
            else judge_pair(source, text, self.base, self.target, self.settings)
            for one, source, text in zip(done, sources, texts, strict=True)
        ]
        left = [place for place, reason in enumerate(reasons) if reason is None]
        weighed = [Weighed()] * len(texts)
        for place, one in zip(left, self.costly.weigh([(sources[i], texts[i]) for i in left]), strict=True):
            weighed[place] = one
        return [
            Outcome(source, one, reason or weight.reason, weight)
            for source, one, reason, weight in zip(sources, done, reasons, weighed, strict=True)
        ]


class RowGroupWorker:
    """The same for Ray: takes the number of a row group of the file of waiting documents."""

    def __init__(self, given: tuple[RunConfig, str]) -> None:
        config, self.path = given
        self.inner = ShardWorker(config)

    def __call__(self, item: int) -> list[Outcome]:
        """Return what becomes of each document of a row group."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            return self.inner(file.read_row_group(item, columns=["text"]).column("text").to_pylist())


def translate_documents(synth: Synth, settings: TranslateSettings) -> list[dict[str, Any]]:
    """Translate what has no pair; return the counts of the shards.

    Raises UserError where there is no corpus, or where more translations fail than `max_failed` allows.
    """
    if not synth.documents_path.is_file():
        raise UserError(
            f"{synth.documents_path}: not there; `synth.translate` translates the corpus: add `corpus`"
        )
    # What has no pair is decided before the first translation, so that a resumed run cuts the same shards.
    paired = frozenset(synth.paired)
    waiting = sum(1 for _ in _unpaired(synth, settings, paired))
    stats: list[dict[str, Any]] = []
    with bar("translate", waiting, "documents") as progress:
        for name, chunk, outcomes in _results(synth, settings, paired, progress):
            if outcomes is None:
                synth.recall("translations", name)
            else:
                _write(synth, settings, chunk, outcomes, name)
            stats.append(synth.shards["translations"].stats(name))
            _within_budget(settings, add_up(stats, MADE)["dropped"], waiting)
            progress.advance(len(chunk))
    return stats


def _unpaired(synth: Synth, settings: TranslateSettings, paired: frozenset[str]) -> Iterator[Document]:
    documents = iter_rows(synth.documents_path, Document)
    return islice((document for document in documents if document.id not in paired), settings.limit)


Done = tuple[str, list[Document], list[Outcome] | None]


def _results(
    synth: Synth, settings: TranslateSettings, paired: frozenset[str], progress: Bar
) -> Iterator[Done]:
    """Yield every shard in order with what its worker made of it, None for one that stands already."""
    shards = synth.shards["translations"]

    def cut() -> Iterator[tuple[str, list[Document]]]:
        for place, chunk in enumerate(chunks(_unpaired(synth, settings, paired), settings.shard_rows)):
            yield f"{place:06d}", chunk

    made: Iterator[list[Outcome]]
    if synth.settings.engine == "ray":
        path = shards.folder.parent / "waiting.parquet"
        missing = [name for name, _ in cut() if not shards.has(name)]
        if missing:
            _write_waiting(path, (chunk for name, chunk in cut() if name in set(missing)))
        worker = (synth.config, str(path))
        made = cluster.mapped(
            RowGroupWorker,
            worker,
            len(missing),
            synth.settings.workers,
            synth.settings.ray_address,
            _gpus(settings),
        )
    else:
        made = _local(
            ShardWorker(synth.config, _teller(progress)), (c for n, c in cut() if not shards.has(n))
        )
    for name, chunk in cut():
        yield name, chunk, None if shards.has(name) else next(made)


def _local(worker: ShardWorker, missing: Iterator[list[Document]]) -> Iterator[list[Outcome]]:
    for chunk in missing:
        yield worker([document.text for document in chunk])


def _gpus(settings: TranslateSettings) -> int:
    """Return how many GPUs a worker of Ray is given: those that `devices` names."""
    return len(settings.devices or ())


def _teller(progress: Bar) -> Told:
    """Return what hears of tokens made, and shows how many come in a second."""
    made = 0

    def told(tokens: int, pieces: int) -> None:
        nonlocal made
        made += tokens
        progress.advance(0, f"{made:,} tokens, {made / max(progress.seconds, 1e-9):,.0f} tokens/s")

    return told


def _write_waiting(path: Path, groups: Iterator[list[Document]]) -> None:
    """Write the documents of the missing shards, a row group for each shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    schema = schema_of(Document)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for chunk in groups:
            columns = {name: [getattr(row, name) for row in chunk] for name in schema.names}
            writer.write_table(pa.table(columns, schema=schema), row_group_size=len(chunk))


def _write(
    synth: Synth, settings: TranslateSettings, chunk: list[Document], outcomes: list[Outcome], name: str
) -> None:
    pairs: list[Pair] = []
    dropped: list[Dropped] = []
    license_name = of_model(settings.model, settings.license)
    translator = name_of(settings)
    tally = Tally()
    # the documents themselves were looked at by the corpus step
    made = [
        (document.id, document.source, (one.source,)) for document, one in zip(chunk, outcomes, strict=True)
    ]
    holding = synth.contaminated(tally, made)
    for document, outcome, held in zip(chunk, outcomes, holding, strict=True):
        reason = outcome.reason or held or synth.repeated(outcome.source, document.text, "synthetic")
        if reason:
            text = shown(outcome.source, document.text)
            dropped.append(Dropped(document.id, document.source, *reason, text))
            continue
        pair = Pair(
            id=f"translation:{document.id}",
            document_id=document.id,
            source_text=outcome.source,
            target_text=document.text,
            source_language=synth.base.code,
            target_language=synth.target.code,
            source_origin="synthetic",
            translator=translator,
            source=document.source,
            license=both(document.license, license_name),
            translator_license=license_name,
            score=outcome.weighed.score,
            round_trip=outcome.weighed.round_trip,
        )
        synth.take(pair)
        pairs.append(pair)
    stats = count(len(chunk), len(pairs), len(pairs), dropped, tally)
    stats["tokens"] = sum(one.translation.tokens for one in outcomes)
    stats["input_tokens"] = sum(one.translation.input_tokens for one in outcomes)
    synth.shards["translations"].write(name, {"pairs": pairs, "dropped": dropped}, stats)


def _within_budget(settings: TranslateSettings, dropped: dict[str, int], waiting: int) -> None:
    failed = dropped.get("translation_failed", 0)
    if failed > max(MAY_FAIL, settings.max_failed * waiting):
        raise UserError(
            f"synth.translate: {failed:,} translations failed, more than synth.translate.max_failed "
            f"({settings.max_failed:g} of {waiting:,}) allows; the reasons are in synth/parts/translations"
        )
