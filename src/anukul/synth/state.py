"""What one run of the synth step knows while it works: languages, the corpus by key, what it has kept so far."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anukul.config import DecontaminateSettings, InstructionInput, RunConfig, SynthSettings, TranslateSettings
from anukul.contamination import Contamination, Tally, gather, indexed
from anukul.languages import load
from anukul.records import Document, Dropped, Instruction, Pair
from anukul.synth.costly import Costly
from anukul.synth.filters import judge_pair
from anukul.synth.instruct import key_of
from anukul.synth.translate import Told, Translator, make_translator, nobody
from anukul.tables import Shards, counts, iter_rows
from anukul.text.keys import hash_key

TABLES = {"pairs": Pair, "instructions": Instruction, "dropped": Dropped}
KINDS = ("pairs", "instructions", "translations")
EMPTY: dict[str, Any] = {"read": 0, "kept": 0, "linked": 0, "dropped": {}}
SHOWN = 500  # characters of a dropped row that are kept
Reason = tuple[str, str]


class Synth:
    """What one run of the step knows: languages, corpus documents by key, and the keys seen so far."""

    def __init__(self, config: RunConfig, settings: SynthSettings, root: Path) -> None:
        self.config = config
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
        self.side_keys: dict[str, set[int]] = {side: set() for side in ("source", "target")}
        self.paired: set[str] = set()  # ids of documents that have a pair
        self.instruction_keys: set[int] = set()
        self.shards = {name: Shards(root / "synth" / "parts" / name, TABLES) for name in KINDS}
        self.instruction_translators: dict[int, Translator] = {}
        self.costly = Costly(settings, self.base, self.target, config.seed)
        self.contamination = _contamination(config, root)

    def translator(self, asked: TranslateSettings, told: Told = nobody) -> Translator:
        """Load what translates documents: the language to learn into the base language."""
        return make_translator(asked, self.target, self.base, self.config.seed, told)

    def instruction_translator(self, index: int, item: InstructionInput) -> Translator | None:
        """The translator of an input of instructions, None where none is asked for; loaded when it is first needed."""
        if item.translate is None:
            return None
        if index not in self.instruction_translators:
            made = make_translator(item.translate, self.base, self.target, self.config.seed)
            self.instruction_translators[index] = made
        return self.instruction_translators[index]

    def recall(self, kind: str, name: str) -> None:
        """Take in a shard that an earlier process finished."""
        for pair in self.shards[kind].rows(name, "pairs", Pair):
            self.take(pair)
        for row in self.shards[kind].rows(name, "instructions", Instruction):
            self.instruction_keys.add(key_of(row))

    def take(self, pair: Pair) -> None:
        """Remember a pair that was kept."""
        self.pair_keys.add(hash_key(pair.source_text, pair.target_text))
        self.side_keys["source"].add(hash_key(pair.source_text))
        self.side_keys["target"].add(hash_key(pair.target_text))
        if pair.document_id:
            self.paired.add(pair.document_id)

    def judge(self, source: str, target: str) -> Reason | None:
        """Return why a normalised pair is dropped for what it is, None to keep it."""
        return judge_pair(source, target, self.base, self.target, self.settings)

    def contaminated(
        self, tally: Tally, rows: Sequence[tuple[str, str, tuple[str, ...]]]
    ) -> list[Reason | None]:
        """Return why rows (id, source, texts) are dropped for what their texts hold of the evaluation; count them."""
        if self.contamination is None:
            return [None] * len(rows)
        found = iter(self.contamination.check_all([text for *_, texts in rows for text in texts]))
        reasons: list[Reason | None] = []
        for identity, source, texts in rows:
            hits = [hit for _ in texts for hit in next(found)]
            tally.add(identity, source, "\n".join(texts), hits)
            best = max(hits, key=lambda hit: hit.share, default=None)
            reasons.append(("contaminated", best.detail) if best else None)
        return reasons

    def repeated(self, source: str, target: str, origin: str) -> Reason | None:
        """Return why a pair is dropped for what was kept before it; `origin` is that of its source side."""
        if hash_key(source, target) in self.pair_keys:
            return "duplicate_pair", "the same words on both sides stand in an earlier pair"
        asked: str = self.settings.unique_side
        if asked == "organic":
            asked = "target" if origin == "synthetic" else "none"
        for side, text in (("target", target), ("source", source)):
            if asked in (side, "both") and hash_key(text) in self.side_keys[side]:
                return "duplicate_side", f"the {side} side stands in an earlier pair"
        return None


def _contamination(config: RunConfig, root: Path) -> Contamination | None:
    """The index of what the run evaluates on; None where the corpus is not to be kept from it."""
    settings = config.corpus.decontaminate if config.corpus else DecontaminateSettings()
    if settings is None:
        return None
    path = root / "synth" / "parts" / "evaluated.parquet"
    gather(config, path)
    return indexed(path, settings)


def count(read: int, kept: int, linked: int, dropped: list[Dropped], tally: Tally) -> dict[str, Any]:
    """Return the counts of a shard."""
    counted = {"read": read, "kept": kept, "linked": linked, "dropped": counts(row.rule for row in dropped)}
    return {**counted, "contamination": tally.as_json()}
