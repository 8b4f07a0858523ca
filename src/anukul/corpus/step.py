"""The corpus step: inputs in order -> documents, replay, and what was dropped; shards outlive a kill."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import regex

from anukul.config import CorpusSettings, RunConfig, TextInput
from anukul.corpus.readers import RawDocument, expected_documents, read_documents
from anukul.corpus.rules import Drop, judge
from anukul.errors import UserError
from anukul.languages import Language, load
from anukul.progress import Bar, bar, say
from anukul.records import Document, Dropped
from anukul.rundir import Result, write_json
from anukul.tables import Shards, add_up, chunks, counts, reasons
from anukul.text.keys import hash_key
from anukul.text.normalize import normalize
from anukul.text.words import words

SHARD = 20_000  # documents read per shard: what a kill can cost
PLACE = regex.compile(r"(?:replay:)?\d+:\d+")  # the ids given here, which no row may bring along
SHOWN = 500  # characters of a dropped text that are kept
TABLES = {"documents": Document, "dropped": Dropped}
EMPTY: dict[str, Any] = {"read": 0, "kept": 0, "characters": 0, "words": 0}
EMPTY |= {"dropped": {}, "normalized": {}, "looks_like": {}}


class Kind:
    """The documents of one language, over all its inputs: the keys and ids seen so far."""

    def __init__(self, name: str, language: Language, settings: CorpusSettings) -> None:
        self.name = name
        self.language = language
        self.settings = settings
        self.keys: set[int] = set()
        self.ids: set[str] = set()

    def place(self, index: int, number: int) -> str:
        """Return the id of a row without one of its own: "<input>:<row>", with the kind's name for replay."""
        return f"{index}:{number}" if self.name == "corpus" else f"{self.name}:{index}:{number}"

    def identity(self, index: int, raw: RawDocument) -> str:
        """Return a row's own id where it has one and it is new, else its place."""
        own = raw.given_id.strip()
        if own and own not in self.ids and not PLACE.fullmatch(own):
            self.ids.add(own)
            return own
        return self.place(index, raw.number)

    def recall(self, documents: Sequence[Document], dropped: Sequence[Dropped]) -> None:
        """Take in a shard that an earlier process finished."""
        self.keys.update(hash_key(row.text) for row in documents)
        self.ids.update(row.id for row in documents)
        self.ids.update(row.id for row in dropped)


def run(config: RunConfig, root: Path) -> Result:
    """Write documents, replay, dropped and stats under `root`/corpus; raise UserError when nothing is left."""
    settings = config.corpus
    if settings is None:
        raise UserError(f"{config.name}: there is no `corpus` section in the config; add one with `inputs`")
    folder = root / "corpus"
    kinds = [Kind("corpus", load(config.language), settings)]
    if settings.replay:
        kinds.append(Kind("replay", load(config.base_language), settings))
    inputs = {"corpus": settings.inputs, "replay": settings.replay}
    shards = {name: Shards(folder / "parts" / name, TABLES) for name in inputs}
    summaries: list[dict[str, Any]] = []
    total = sum(expected_documents(item) for items in inputs.values() for item in items)
    with bar("corpus", total, "documents") as progress:
        for kind in kinds:
            for index, item in enumerate(inputs[kind.name]):
                summaries.append(_read_input(kind, index, item, shards[kind.name], progress))
    together = Shards(folder / "parts", TABLES)
    together.names = [f"{kind}/{name}" for kind, item in shards.items() for name in item.names]
    rows = {
        "documents": shards["corpus"].merge("documents", folder / "documents.parquet"),
        "replay": shards["replay"].merge("documents", folder / "replay.parquet"),
        "dropped": together.merge("dropped", folder / "dropped.parquet"),
    }
    write_json(folder / "stats.json", {"inputs": summaries, "total": _totals(summaries)})
    for kind in kinds:
        _refuse_empty(kind, [item for item in summaries if item["kind"] == kind.name])
    together.remove()
    return Result(["documents.parquet", "replay.parquet", "dropped.parquet", "stats.json"], rows)


def _read_input(kind: Kind, index: int, item: TextInput, shards: Shards, progress: Bar) -> dict[str, Any]:
    """Work through one input shard by shard; return its summary."""
    stats: list[dict[str, Any]] = []
    for place, chunk in enumerate(chunks(read_documents(item), SHARD)):
        name = f"{index:04d}-{place:06d}"
        if shards.has(name):
            kind.recall(shards.rows(name, "documents", Document), shards.rows(name, "dropped", Dropped))
        else:
            _write_shard(kind, index, item, chunk, name, shards)
        stats.append(shards.stats(name))
        progress.advance(len(chunk), Path(item.path).name)
    summary: dict[str, Any] = {"kind": kind.name, "path": item.path, "language": kind.language.code}
    summary |= {"source": item.source, "license": item.license} | add_up(stats, EMPTY)
    if summary["kept"] < summary["read"]:
        kept = f"kept {summary['kept']:,} of {summary['read']:,}"
        say(f"corpus: {item.path}: {kept}; {reasons(summary['dropped'])}")
    return summary


def _write_shard(
    kind: Kind, index: int, item: TextInput, chunk: list[RawDocument], name: str, shards: Shards
) -> None:
    documents: list[Document] = []
    dropped: list[Dropped] = []
    looks_like: list[str] = []
    for raw in chunk:
        identity = kind.identity(index, raw)
        text, rules = ("", []) if raw.rule else normalize(raw.text, kind.language)
        drop = Drop(raw.rule, raw.detail) if raw.rule else judge(text, kind.language, kind.settings)
        if drop is None:
            key = hash_key(text)
            if key in kind.keys:
                drop = Drop("exact_duplicate", "the same words stand in an earlier document")
            kind.keys.add(key)
        if drop is None:
            documents.append(Document(identity, text, kind.language.code, item.source, item.license, rules))
        else:
            dropped.append(Dropped(identity, item.source, drop.rule, drop.detail, (text or raw.text)[:SHOWN]))
            if drop.looks_like:
                looks_like.append(drop.looks_like)
    stats = {
        "read": len(chunk),
        "kept": len(documents),
        "characters": sum(len(row.text) for row in documents),
        "words": sum(len(words(row.text)) for row in documents),
        "dropped": counts(row.rule for row in dropped),
        "normalized": counts(rule for row in documents for rule in row.rules),
        "looks_like": counts(looks_like),
    }
    shards.write(name, {"documents": documents, "dropped": dropped}, stats)


def _totals(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = ("corpus", "replay")
    return {kind: add_up([item for item in summaries if item["kind"] == kind], EMPTY) for kind in kinds}


def _refuse_empty(kind: Kind, summaries: list[dict[str, Any]]) -> None:
    """Raise UserError when nothing of a kind is left, saying what it looked like instead."""
    total = add_up(summaries, EMPTY)
    if total["kept"]:
        return
    code = kind.language.code
    if not total["read"]:
        paths = ", ".join(item["path"] for item in summaries)
        why = "the files are empty, or `skip` leaves nothing"
        raise UserError(f"{kind.name}: no document left: 0 read from {paths}; {why}")
    message = f"{kind.name}: no document left: {total['read']:,} read, {reasons(total['dropped'])}"
    if total["looks_like"]:
        other = max(total["looks_like"], key=lambda name: total["looks_like"][name])
        count = total["looks_like"][other]
        message += f"; the text looks like {other} and not {code} ({count:,} of {total['read']:,})"
    raise UserError(f"{message}; every dropped row is in corpus/dropped.parquet with its reason")
