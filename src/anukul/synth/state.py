"""What one run of the synth step knows while it works: languages, the corpus by key, what it has kept so far."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anukul.config import DecontaminateSettings, InstructionInput, RunConfig, SynthSettings, TranslateSettings
from anukul.contamination import Contamination, Tally, gather, indexed
from anukul.errors import UserError
from anukul.languages import Language, load
from anukul.progress import Bar
from anukul.records import Dropped, Instruction, Pair
from anukul.synth.clean import masked
from anukul.synth.costly import Costly
from anukul.synth.filters import judge_pair
from anukul.synth.instruct import key_of
from anukul.synth.seen import DocumentIds, Seen, id_key
from anukul.synth.translate import Told, Translator, Use, make_translator
from anukul.tables import Shards, counts
from anukul.text.keys import hash_key
from anukul.text.normalize import normalize

TABLES = {"pairs": Pair, "instructions": Instruction, "dropped": Dropped}
KINDS = ("pairs", "instructions", "translations")
EMPTY: dict[str, Any] = {"read": 0, "kept": 0, "linked": 0, "dropped": {}}
# by `unique_side`, the sides of pairs that are remembered
SIDES: dict[str, tuple[str, ...]] = {
    "organic": ("target",),
    "target": ("target",),
    "source": ("source",),
    "both": ("source", "target"),
    "none": (),
}
MAY_FAIL = 10  # translations, however few there are: so many bad rows are bad luck
Reason = tuple[str, str]
Sides = Sequence[tuple[str, str]]  # texts of a row, each with its name, such as pairs.source


class Synth:
    """What one run of the step knows: languages, corpus documents by key, and the keys seen so far."""

    def __init__(self, config: RunConfig, settings: SynthSettings, root: Path) -> None:
        self.config = config
        self.settings = settings
        self.target = load(config.language)
        self.base = load(config.base_language)
        self.languages = {config.language: self.target, config.base_language: self.base}
        self.documents_path = root / "corpus" / "documents.parquet"
        self.document_ids = DocumentIds(self.documents_path)
        self.pair_keys = Seen()
        self.side_keys = {side: Seen() for side in SIDES[settings.unique_side]}
        self.paired = Seen()  # documents that have a pair, by their ids
        self.instruction_keys = Seen()
        self.parts = root / "synth" / "parts"
        self.shards = {name: Shards(self.parts / name, TABLES) for name in KINDS}
        self.instruction_translators: dict[int, Translator] = {}
        self.costly = Costly(settings, self.base, self.target, config.seed, self.parts)
        self.contamination = _contamination(config, self.parts)

    @property
    def masks(self) -> bool:
        """Whether addresses and telephone numbers are hidden, as in the corpus."""
        return self.config.corpus is None or self.config.corpus.mask_pii

    def cleaned(self, text: str, language: Language) -> tuple[str, list[str]]:
        """Return a side of a pair as the corpus has its texts, normalised and masked, and the rules that changed it."""
        text, rules = normalize(text, language)
        if not self.masks:
            return text, rules
        text, hidden = masked(text, list({one.code: one for one in (language, self.target)}.values()))
        return text, [*rules, *hidden]

    def instruction_translator(self, index: int, item: InstructionInput, told: Told) -> Translator | None:
        """The translator of an input of instructions, None where none is asked for; loaded when it is first needed."""
        if item.translate is None:
            return None
        if index not in self.instruction_translators:
            use = Use.of(instruction_key(index), self.parts)
            seed = self.config.seed
            made = make_translator(item.translate, self.base, self.target, seed, told, use)
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
        for side, text in (("source", pair.source_text), ("target", pair.target_text)):
            if side in self.side_keys:
                self.side_keys[side].add(hash_key(text))
        if pair.document_id:
            self.paired.add(id_key(pair.document_id))

    def judge(self, source: str, target: str) -> Reason | None:
        """Return why a normalised pair is dropped for what it is, None to keep it."""
        return judge_pair(source, target, self.base, self.target, self.settings)

    def contaminated(self, tally: Tally, rows: Sequence[tuple[str, str, Sides]]) -> list[Reason | None]:
        """Return why rows are dropped for what their texts hold of the evaluation; count them.

        A row is (id, source, its sides).
        """
        if self.contamination is None:
            return [None] * len(rows)
        texts = [text for _, _, sides in rows for _, text in sides]
        found = iter(self.contamination.check_all(texts))
        reasons: list[Reason | None] = []
        for identity, source, sides in rows:
            held = [(side, text, next(found)) for side, text in sides]
            tally.add_sides(identity, source, held)
            hits = [hit for *_, part in held for hit in part]
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


def decontaminates(config: RunConfig) -> DecontaminateSettings | None:
    """How rows are kept from what the run evaluates on; None where they are not to be."""
    return config.corpus.decontaminate if config.corpus else DecontaminateSettings()


def _contamination(config: RunConfig, parts: Path) -> Contamination | None:
    """The index of what the run evaluates on; None where rows are not to be kept from it."""
    settings = decontaminates(config)
    if settings is None:
        return None
    path = parts / "evaluated.parquet"
    gather(config, path)
    return indexed(path, settings)


def teller(progress: Bar) -> Told:
    """Return what hears of tokens made, and shows how many come in a second."""
    made = 0

    def told(tokens: int, pieces: int) -> None:
        nonlocal made
        made += tokens
        progress.advance(0, f"{made:,} tokens, {made / max(progress.seconds, 1e-9):,.0f} tokens/s")

    return told


def instruction_key(index: int) -> str:
    """Return where run.yaml asks for the translation of an input of instructions."""
    return f"synth.instructions.{index}.translate"


def within_budget(where: str, asked: TranslateSettings, dropped: dict[str, int], waiting: int) -> None:
    """Raise UserError where more of the `waiting` rows failed than `asked`, which stands at `where`, allows."""
    failed = dropped.get("translation_failed", 0)
    if failed > max(MAY_FAIL, asked.max_failed * waiting):
        raise UserError(
            f"{where}: {failed:,} translations failed, more than {where}.max_failed ({asked.max_failed:g} of "
            f"{waiting:,}) allows; the reasons are in synth/parts"
        )


def count(read: int, kept: int, linked: int, dropped: list[Dropped], tally: Tally) -> dict[str, Any]:
    """Return the counts of a shard."""
    counted = {"read": read, "kept": kept, "linked": linked, "dropped": counts(row.rule for row in dropped)}
    return {**counted, "contamination": tally.as_json()}
