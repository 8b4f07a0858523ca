"""Translate the documents that have no pair, shard by shard, here or on Ray.

What a shard's worker does depends on its texts and the settings alone; what depends on the rows before, such as
duplicates, is done in order by the one process that writes. So the rows are the same wherever the workers run.
"""

from collections import Counter
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
from anukul.licenses import both, of_model
from anukul.progress import Bar, bar
from anukul.records import Document, Dropped, Pair, schema_of
from anukul.synth.costly import Costly, Weighed
from anukul.synth.filters import judge_pair
from anukul.synth.samples import shown
from anukul.synth.seen import Seen, id_key
from anukul.synth.state import EMPTY, Reason, Synth, count, teller, within_budget
from anukul.synth.translate import Told, Translation, Translator, Use, make_translator, name_of, nobody
from anukul.tables import chunks, iter_rows
from anukul.text.normalize import normalize

MADE = {**EMPTY, "tokens": 0, "input_tokens": 0}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one document: its translation, normalised, and why the pair is dropped, if it is."""

    source: str
    translation: Translation
    reason: Reason | None
    weighed: Weighed
    rules: tuple[str, ...]  # of normalisation that changed the translation


class ShardWorker:
    """Translates and judges the texts of a shard; made where it works, with a model of its own."""

    def __init__(self, config: RunConfig, parts: Path, told: Told = nobody) -> None:
        if config.synth is None or config.synth.translate is None:
            raise ValueError("nothing to translate")
        self.config = config
        self.settings: SynthSettings = config.synth
        self.asked: TranslateSettings = config.synth.translate
        self.parts = parts  # of the step
        self.told = told
        self.target, self.base = load(config.language), load(config.base_language)
        self.costly = Costly(self.settings, self.base, self.target, config.seed, parts)
        self._translator: Translator | None = None

    def __call__(self, texts: list[str]) -> list[Outcome]:
        """Return what becomes of each text."""
        if self._translator is None:
            ways = (self.target, self.base, self.config.seed)
            use = Use.of("synth.translate", self.parts)
            self._translator = make_translator(self.asked, *ways, self.told, use)
        done = self._translator.translate(texts)
        normalized = [normalize(one.text, self.base) for one in done]
        sources = [source for source, _ in normalized]
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
            Outcome(source, one, reason or weight.reason, weight, tuple(rules))
            for (source, rules), one, reason, weight in zip(normalized, done, reasons, weighed, strict=True)
        ]


class RowGroupWorker:
    """The same for Ray: takes the number of a row group of the file of waiting documents."""

    def __init__(self, given: tuple[RunConfig, str]) -> None:
        config, self.path = given
        self.inner = ShardWorker(config, Path(self.path).parent)

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
    paired = synth.paired.copy()
    waiting = sum(1 for _ in _unpaired(synth, settings, paired))
    translator = name_of(settings)
    stats: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    with bar("translate", waiting, "documents") as progress:
        for name, chunk, outcomes in _results(synth, settings, paired, progress):
            if outcomes is None:
                synth.recall("translations", name)
                progress.skip(len(chunk))
            else:
                _write(synth, settings, chunk, outcomes, name, translator)
                progress.advance(len(chunk))
            stats.append(synth.shards["translations"].stats(name))
            dropped.update(stats[-1]["dropped"])
            within_budget("synth.translate", settings, dropped, waiting)
    return stats


def _unpaired(synth: Synth, settings: TranslateSettings, paired: Seen) -> Iterator[Document]:
    documents = iter_rows(synth.documents_path, Document)
    return islice((document for document in documents if id_key(document.id) not in paired), settings.limit)


Done = tuple[str, list[Document], list[Outcome] | None]


def _results(synth: Synth, settings: TranslateSettings, paired: Seen, progress: Bar) -> Iterator[Done]:
    """Yield every shard in order with what its worker made of it, None for one that stands already."""
    shards = synth.shards["translations"]

    def cut() -> Iterator[tuple[str, list[Document]]]:
        for place, chunk in enumerate(chunks(_unpaired(synth, settings, paired), settings.rows_per_shard)):
            yield f"{place:06d}", chunk

    made: Iterator[list[Outcome]]
    if synth.settings.engine == "ray":
        path = synth.parts / "waiting.parquet"
        missing = [name for name, _ in cut() if not shards.has(name)]
        if missing:
            _write_waiting(path, (chunk for name, chunk in cut() if name in set(missing)))
        worker = (_any_devices(synth.config), str(path))
        made = cluster.mapped(
            RowGroupWorker,
            worker,
            len(missing),
            synth.settings.workers,
            synth.settings.ray_address,
            _gpus(synth.settings),
        )
    else:
        made = _local(
            ShardWorker(synth.config, synth.parts, teller(progress)),
            (c for n, c in cut() if not shards.has(n)),
        )
    for name, chunk in cut():
        yield name, chunk, None if shards.has(name) else next(made)


def _local(worker: ShardWorker, missing: Iterator[list[Document]]) -> Iterator[list[Outcome]]:
    for chunk in missing:
        yield worker([document.text for document in chunk])


def _gpus(settings: SynthSettings) -> int | None:
    """Return how many GPUs a worker of Ray is given: as many as `devices` names; None: all that there are, shared out.

    The models of a worker share them.
    """
    filters = (settings.forced_score, settings.round_trip)
    models = [settings.translate, *(one.translator for one in filters if one)]
    devices = [one.devices for one in models if one and one.engine != "endpoint"]
    return None if None in devices else max((len(one or ()) for one in devices), default=0)


def _any_devices(config: RunConfig) -> RunConfig:
    """Return the config for a worker of Ray: it sees the GPUs that are its own, and takes them all.

    Numbers of `devices` are those of a machine, and Ray numbers a worker's GPUs from 0.
    """
    assert config.synth is not None
    settings = config.synth
    changed: dict[str, Any] = {"translate": settings.translate and _free(settings.translate)}
    for name in ("forced_score", "round_trip"):
        asked = getattr(settings, name)
        changed[name] = asked and asked.model_copy(update={"translator": _free(asked.translator)})
    return config.model_copy(update={"synth": settings.model_copy(update=changed)})


def _free(asked: TranslateSettings) -> TranslateSettings:
    return asked.model_copy(update={"devices": None}) if asked.devices else asked


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
    synth: Synth,
    settings: TranslateSettings,
    chunk: list[Document],
    outcomes: list[Outcome],
    name: str,
    translator: str,
) -> None:
    pairs: list[Pair] = []
    dropped: list[Dropped] = []
    license_name = of_model(settings.model, settings.license)
    tally = Tally()
    # the documents themselves were looked at by the corpus step; what falls for another reason touches no item
    left = [place for place, outcome in enumerate(outcomes) if outcome.reason is None]
    asked = [
        (chunk[place].id, chunk[place].source, (("translations.source", outcomes[place].source),))
        for place in left
    ]
    holding = dict(zip(left, synth.contaminated(tally, asked), strict=True))
    for place, (document, outcome) in enumerate(zip(chunk, outcomes, strict=True)):
        reason = (
            outcome.reason or holding[place] or synth.repeated(outcome.source, document.text, "synthetic")
        )
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
            rules=sorted({*outcome.rules, *document.rules}),
        )
        synth.take(pair)
        pairs.append(pair)
    stats = count(len(chunk), len(pairs), len(pairs), dropped, tally)
    stats["tokens"] = sum(one.translation.tokens for one in outcomes)
    stats["input_tokens"] = sum(one.translation.input_tokens for one in outcomes)
    synth.shards["translations"].write(name, {"pairs": pairs, "dropped": dropped}, stats)
