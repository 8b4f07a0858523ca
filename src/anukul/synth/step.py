"""The synth step: given pairs, instructions, and translations of documents that have no pair yet."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from anukul.config import InstructionInput, PairInput, RunConfig, SynthSettings, TranslateSettings
from anukul.errors import UserError
from anukul.languages import load
from anukul.progress import Bar, bar, say
from anukul.records import Document, Dropped, Instruction, Pair
from anukul.rundir import Result, write_json
from anukul.synth.filters import judge_pair
from anukul.synth.instructions import (
    RawInstruction,
    expected_instructions,
    guess_language,
    judge_instruction,
    read_instructions,
)
from anukul.synth.pairs import RawPair, expected_pairs, read_pairs
from anukul.synth.translate import CTranslate2Translator, Translator
from anukul.tables import Shards, add_up, chunks, counts, iter_rows, reasons
from anukul.text.keys import hash_key
from anukul.text.normalize import normalize

SHARD = 20_000  # rows read per shard: what a kill can cost
SHOWN = 500  # characters of a dropped row that are kept
TABLES = {"pairs": Pair, "instructions": Instruction, "dropped": Dropped}
KINDS = ("pairs", "instructions", "translations")
EMPTY: dict[str, Any] = {"read": 0, "kept": 0, "linked": 0, "dropped": {}}

MakeTranslator = Callable[[TranslateSettings], Translator]


class Synth:
    """What one run of the step knows: languages, corpus documents by key, and the keys seen so far."""

    def __init__(self, config: RunConfig, settings: SynthSettings, root: Path) -> None:
        self.settings = settings
        self.target = load(config.language)
        self.base = load(config.base_language)
        self.languages = {config.language: self.target, config.base_language: self.base}
        self.documents_path = root / "corpus" / "documents.parquet"
        self.document_ids: dict[int, str] = {}
        if self.documents_path.is_file():
            for document in iter_rows(self.documents_path, Document):
                self.document_ids[hash_key(document.text)] = document.id
        self.pair_keys: set[int] = set()
        self.paired: set[str] = set()  # ids of documents that have a pair
        self.instruction_keys: set[int] = set()
        self.shards = {name: Shards(root / "synth" / "parts" / name, TABLES) for name in KINDS}

    def recall(self, kind: str, name: str) -> None:
        """Take in a shard that an earlier process finished."""
        for pair in self.shards[kind].rows(name, "pairs", Pair):
            self.take(pair)
        for row in self.shards[kind].rows(name, "instructions", Instruction):
            self.instruction_keys.add(hash_key(row.instruction, row.input, row.output))

    def take(self, pair: Pair) -> None:
        """Remember a pair that was kept."""
        self.pair_keys.add(hash_key(pair.source_text, pair.target_text))
        if pair.document_id:
            self.paired.add(pair.document_id)

    def judge(self, source: str, target: str) -> tuple[str, str] | None:
        """Return why a normalised pair is dropped, None to keep it."""
        reason = judge_pair(source, target, self.base, self.target, self.settings)
        if reason is None and hash_key(source, target) in self.pair_keys:
            return "duplicate_pair", "the same words on both sides stand in an earlier pair"
        return reason


def run(config: RunConfig, root: Path) -> Result:
    """Write pairs, instructions, dropped and stats under `root`/synth.

    Raises UserError when the section asks for nothing, or when nothing is left of what it asks for.
    """
    settings = config.synth
    if settings is None or not (settings.pairs or settings.instructions or settings.translate):
        raise UserError(
            f"{config.name}: `synth` gives nothing to do; add `pairs`, `instructions` or `translate`"
        )
    return make(config, settings, root, lambda asked: CTranslate2Translator(asked, load(config.language)))


def make(config: RunConfig, settings: SynthSettings, root: Path, translator: MakeTranslator) -> Result:
    """Do the step's work with a given way to make the translator."""
    synth = Synth(config, settings, root)
    folder = root / "synth"
    summaries: list[dict[str, Any]] = []
    total = sum(map(expected_pairs, settings.pairs)) + sum(map(expected_instructions, settings.instructions))
    if total:
        with bar("synth", total, "rows") as progress:
            for index, pairs in enumerate(settings.pairs):
                summaries.append(_add_pairs(synth, index, pairs, progress))
            for index, instructions in enumerate(settings.instructions):
                summaries.append(_add_instructions(synth, index, instructions, progress))
    if settings.translate:
        summaries.append(_translate(synth, settings.translate, translator))
    together = Shards(folder / "parts", TABLES)
    together.names = [f"{kind}/{name}" for kind in KINDS for name in synth.shards[kind].names]
    rows = {table: together.merge(table, folder / f"{table}.parquet") for table in TABLES}
    totals = {kind: add_up([item for item in summaries if item["kind"] == kind], EMPTY) for kind in KINDS}
    write_json(folder / "stats.json", {"inputs": summaries, "total": totals})
    _refuse_empty(settings, rows, totals)
    together.remove()
    return Result([*(f"{table}.parquet" for table in TABLES), "stats.json"], rows)


def _summary(
    kind: str, path: str, name: str, license_name: str, stats: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the summary of one input, and say what was dropped."""
    summary = {"kind": kind, "path": path, "name": name, "license": license_name} | add_up(stats, EMPTY)
    if summary["kept"] < summary["read"]:
        kept = f"kept {summary['kept']:,} of {summary['read']:,}"
        say(f"synth: {kind}: {path}: {kept}; {reasons(summary['dropped'])}")
    return summary


def _counts(read: int, kept: int, linked: int, dropped: list[Dropped]) -> dict[str, Any]:
    return {"read": read, "kept": kept, "linked": linked, "dropped": counts(row.rule for row in dropped)}


def _add_pairs(synth: Synth, index: int, item: PairInput, progress: Bar) -> dict[str, Any]:
    shards = synth.shards["pairs"]
    stats: list[dict[str, Any]] = []
    for place, chunk in enumerate(chunks(read_pairs(item), SHARD)):
        name = f"{index:04d}-{place:06d}"
        if shards.has(name):
            synth.recall("pairs", name)
        else:
            _write_pairs(synth, index, item, chunk, name)
        stats.append(shards.stats(name))
        progress.advance(len(chunk), item.name)
    return _summary("pairs", item.source, item.name, item.license, stats)


def _write_pairs(synth: Synth, index: int, item: PairInput, chunk: list[RawPair], name: str) -> None:
    pairs: list[Pair] = []
    dropped: list[Dropped] = []
    for raw in chunk:
        identity = f"{index}:{raw.number}"
        source, target = raw.source, raw.target
        reason: tuple[str, str] | None = (raw.rule, raw.detail)
        if not raw.rule:
            source, target = normalize(source, synth.base)[0], normalize(target, synth.target)[0]
            reason = synth.judge(source, target)
        if reason:
            dropped.append(Dropped(identity, item.name, *reason, f"{source}\t{target}"[:SHOWN]))
            continue
        pair = Pair(
            id=identity,
            document_id=synth.document_ids.get(hash_key(target), ""),
            source_text=source,
            target_text=target,
            source_language=synth.base.code,
            target_language=synth.target.code,
            source_origin=item.origin,
            translator="",
            source=item.name,
            license=item.license,
        )
        synth.take(pair)
        pairs.append(pair)
    linked = sum(bool(pair.document_id) for pair in pairs)
    stats = _counts(len(chunk), len(pairs), linked, dropped)
    synth.shards["pairs"].write(name, {"pairs": pairs, "dropped": dropped}, stats)


def _add_instructions(synth: Synth, index: int, item: InstructionInput, progress: Bar) -> dict[str, Any]:
    shards = synth.shards["instructions"]
    stats: list[dict[str, Any]] = []
    for place, chunk in enumerate(chunks(read_instructions(item), SHARD)):
        name = f"{index:04d}-{place:06d}"
        if shards.has(name):
            synth.recall("instructions", name)
        else:
            _write_instructions(synth, index, item, chunk, name)
        stats.append(shards.stats(name))
        progress.advance(len(chunk), item.source)
    return _summary("instructions", item.path, item.source, item.license, stats)


def _write_instructions(
    synth: Synth, index: int, item: InstructionInput, chunk: list[RawInstruction], name: str
) -> None:
    kept: list[Instruction] = []
    dropped: list[Dropped] = []
    for row in chunk:
        identity = f"{index}:{row.number}"
        reason: tuple[str, str] | None = (row.rule, row.detail)
        if not row.rule:
            row.language = row.language or guess_language(row, synth.target, synth.base)
            language = synth.languages.get(row.language, synth.target)
            row.instruction, row.input, row.output = (
                normalize(text, language)[0] for text in (row.instruction, row.input, row.output)
            )
            reason = judge_instruction(row, synth.languages)
        key = hash_key(row.instruction, row.input, row.output)
        if reason is None and key in synth.instruction_keys:
            reason = "duplicate_instruction", "the same words stand in an earlier row"
        if reason:
            text = "\t".join((row.instruction, row.input, row.output)).strip("\t")
            dropped.append(Dropped(identity, item.source, *reason, text[:SHOWN]))
            continue
        synth.instruction_keys.add(key)
        kept.append(
            Instruction(
                identity, row.instruction, row.input, row.output, row.language, item.source, item.license
            )
        )
    stats = _counts(len(chunk), len(kept), 0, dropped)
    synth.shards["instructions"].write(name, {"instructions": kept, "dropped": dropped}, stats)


def _translate(synth: Synth, settings: TranslateSettings, make_translator: MakeTranslator) -> dict[str, Any]:
    """Translate the documents without a pair, shard by shard; the model is loaded when a shard is missing."""
    if not synth.documents_path.is_file():
        raise UserError(
            f"{synth.documents_path}: not there; `synth.translate` translates the corpus: add `corpus`"
        )
    shards = synth.shards["translations"]
    translator: Translator | None = None
    stats: list[dict[str, Any]] = []
    # What has no pair is decided before the first translation, so that a resumed run cuts the same shards.
    paired = frozenset(synth.paired)
    waiting = sum(1 for _ in _unpaired(synth, settings, paired))
    with bar("translate", waiting, "documents") as progress:
        for place, chunk in enumerate(chunks(_unpaired(synth, settings, paired), settings.shard_rows)):
            name = f"{place:06d}"
            if shards.has(name):
                synth.recall("translations", name)
            else:
                translator = translator or make_translator(settings)
                _write_translations(synth, settings, translator, chunk, name)
            stats.append(shards.stats(name))
            progress.advance(len(chunk))
    return _summary("translations", settings.model, settings.engine, settings.license, stats)


def _unpaired(synth: Synth, settings: TranslateSettings, paired: frozenset[str]) -> Iterator[Document]:
    documents = iter_rows(synth.documents_path, Document)
    return islice((document for document in documents if document.id not in paired), settings.limit)


def _write_translations(
    synth: Synth, settings: TranslateSettings, translator: Translator, chunk: list[Document], name: str
) -> None:
    pairs: list[Pair] = []
    dropped: list[Dropped] = []
    translations = translator.translate([document.text for document in chunk])
    for document, translation in zip(chunk, translations, strict=True):
        source = normalize(translation.text, synth.base)[0]
        reason: tuple[str, str] | None
        if not translation.ended:
            reason = (
                "translation_cut",
                f"no end token after {translation.tokens} tokens, or a sentence too long",
            )
        else:
            reason = synth.judge(source, document.text)
        if reason:
            shown = f"{source}\t{document.text}"[:SHOWN]
            dropped.append(Dropped(document.id, document.source, *reason, shown))
            continue
        pair = Pair(
            id=f"translation:{document.id}",
            document_id=document.id,
            source_text=source,
            target_text=document.text,
            source_language=synth.base.code,
            target_language=synth.target.code,
            source_origin="synthetic",
            translator=translator.name,
            source=document.source,
            license=_both(document.license, settings.license),
        )
        synth.take(pair)
        pairs.append(pair)
    stats = _counts(len(chunk), len(pairs), len(pairs), dropped)
    synth.shards["translations"].write(name, {"pairs": pairs, "dropped": dropped}, stats)


def _both(document: str, model: str) -> str:
    """Return the license of a translated pair: that of the text and that of the model, as SPDX joins them."""
    return document if document == model else f"{document} AND {model}"


def _refuse_empty(settings: SynthSettings, rows: dict[str, int], totals: dict[str, dict[str, Any]]) -> None:
    """Raise UserError when pairs or instructions were asked for and none is left."""
    asked = {"pairs": bool(settings.pairs or settings.translate), "instructions": bool(settings.instructions)}
    for table, wanted in asked.items():
        if not wanted or rows[table]:
            continue
        kinds = ("pairs", "translations") if table == "pairs" else ("instructions",)
        total = add_up([totals[kind] for kind in kinds], EMPTY)
        why = reasons(total["dropped"]) if total["read"] else "the inputs are empty"
        raise UserError(
            f"synth: none of the {table} is left: {total['read']:,} read, {why}; "
            "every dropped row is in synth/dropped.parquet with its reason"
        )
