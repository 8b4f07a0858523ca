"""From rows as read to the instruction rows that training reads: normalised, translated where asked, judged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from anukul.config import InstructionInput
from anukul.languages import Language
from anukul.licenses import both, of_model
from anukul.records import Dropped, Instruction
from anukul.synth.clean import clean
from anukul.synth.instructions import RawInstruction, guess_language, judge_instruction, run_code
from anukul.synth.protect import Protected, changed, missing, protect, restore
from anukul.synth.seen import Seen
from anukul.synth.translate import Translation, Translator
from anukul.text.keys import hash_key

SHOWN = 500  # characters of a dropped row that are kept
MADE = "translation:"  # before the id of a row that a machine translated
Reason = tuple[str, str]
Asked = tuple[str, str, Sequence[tuple[str, str]]]  # id, source, and every text with what it is called


def nothing_held(rows: Sequence[Asked]) -> list[Reason | None]:
    """Look at no row."""
    return [None] * len(rows)


@dataclass(slots=True)
class Work:
    """What is known of one input of instructions, over all its shards."""

    item: InstructionInput
    index: int
    target: Language
    base: Language
    seen: Seen  # keys of the rows kept so far, of all inputs; it grows
    translator: Translator | None = None  # from `base` to `target`: rows of the base language are translated
    masks: bool = False  # hide addresses and telephone numbers
    contaminated: Callable[[Sequence[Asked]], list[Reason | None]] = nothing_held
    sent: int = 0  # rows translated so far; it grows

    @property
    def languages(self) -> dict[str, Language]:
        """Both languages of the run, by code."""
        return {self.target.code: self.target, self.base.code: self.base}


@dataclass(slots=True)
class Made:
    """What became of some rows."""

    kept: list[Instruction] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


@dataclass(slots=True)
class _Candidate:
    """A row that is still in, with the rules that changed it."""

    row: RawInstruction
    rules: list[str]
    mark: str = ""  # MADE where it is a translation


def key_of(row: Instruction | RawInstruction) -> int:
    """Return what two rows of the same words share."""
    return hash_key(row.instruction, row.input, row.output, *row.turns)


def make_instructions(chunk: Sequence[RawInstruction], work: Work) -> Made:
    """Make the rows of one shard.

    Every row is judged and looked at for evaluation items in the language it came in, before its translation is paid
    for, and again as the translation.
    """
    made = Made()
    given: list[_Candidate] = []
    for row in chunk:
        reason: Reason | None = (row.rule, row.detail) if row.rule else None
        rules: list[str] = []
        if reason is None:
            row.language = run_code(row.language, work.languages) or guess_language(
                row, work.target, work.base
            )
            rules, reason = _cleaned(row, work)
        if reason is None:
            reason = judge_instruction(row, work.languages, work.item.check_answers)
        _sort(made, given, _Candidate(row, rules), work, reason)
    fitting: list[RawInstruction] = []  # to be translated, all at once
    for one in _clear(made, given, work):
        if work.translator is None or one.row.language != work.base.code:
            _keep(made, one, work)
        elif not work.item.keep_original or _keep(made, one, work):
            fitting.append(one.row)
    fitting = _within_limit(made, fitting, work)
    if work.translator is not None and fitting:
        new: list[_Candidate] = []
        for row, reason in _translate(fitting, work.translator, work.target):
            rules = []
            if reason is None:
                rules, reason = _cleaned(row, work)
            if reason is None:
                reason = judge_instruction(row, work.languages, work.item.check_answers)
            _sort(made, new, _Candidate(row, rules, MADE), work, reason)
        for one in _clear(made, new, work):
            _keep(made, one, work)
    made.dropped.sort(key=lambda row: int(row.id.rpartition(":")[2]))
    return made


def _cleaned(row: RawInstruction, work: Work) -> tuple[list[str], Reason | None]:
    """Normalise the prose of every text; return the rules that changed one, and why the row is dropped, or None."""
    language = work.languages.get(row.language, work.target)
    before = row.texts()
    spoken = list({one.code: one for one in (language, work.target)}.values()) if work.masks else []
    done = [clean(text, language, spoken) for text in before]
    row.put([text for text, _ in done])
    lost = (missing(old, new) for old, new in zip(before, row.texts(), strict=True) if old != new)
    return sorted({rule for _, rules in done for rule in rules}), next(filter(None, lost), None)


def _sort(made: Made, left: list[_Candidate], one: _Candidate, work: Work, reason: Reason | None) -> None:
    """Drop a row that there is a reason for, leave the other in."""
    if reason:
        _drop(made, one, work, reason)
    else:
        left.append(one)


def _clear(made: Made, rows: list[_Candidate], work: Work) -> list[_Candidate]:
    """Drop the rows that hold what the run evaluates on; return the others."""
    asked = [(_id(one, work), work.item.source, _sides(one.row)) for one in rows]
    left: list[_Candidate] = []
    for one, reason in zip(rows, work.contaminated(asked), strict=True):
        _sort(made, left, one, work, reason)
    return left


def _sides(row: RawInstruction) -> list[tuple[str, str]]:
    """Return every text of a row, by what contamination.json calls it."""
    names = ["instruction", "input", "output", "system", *("turns" for _ in row.turns)]
    return [(f"instructions.{name}", text) for name, text in zip(names, row.texts(), strict=True)]


def _within_limit(made: Made, rows: list[RawInstruction], work: Work) -> list[RawInstruction]:
    """Return the rows that may be translated; those beyond the limit are dropped, unless they stand as they were."""
    asked = work.item.translate
    left = len(rows) if asked is None or asked.limit is None else max(0, asked.limit - work.sent)
    if asked is not None and not work.item.keep_original:
        for row in rows[left:]:
            reason = "translate_limit", f"{asked.limit:,} rows of the input are translated"
            _drop(made, _Candidate(row, []), work, reason)
    work.sent += min(left, len(rows))
    return rows[:left]


def _keep(made: Made, one: _Candidate, work: Work) -> bool:
    """Keep a row unless its words were kept before; return whether it is kept.

    Only rows that are kept count as seen, as those are what a resumed run knows of.
    """
    row, item, key = one.row, work.item, key_of(one.row)
    if key in work.seen:
        _drop(made, one, work, ("duplicate_instruction", "the same words stand in an earlier row"))
        return False
    work.seen.add(key)
    license_name, model_license = item.license, ""
    translator = work.translator if one.mark else None
    if translator is not None and item.translate is not None:
        model_license = of_model(item.translate.model, item.translate.license)
        license_name = both(item.license, model_license)
    made.kept.append(
        Instruction(
            id=_id(one, work),
            instruction=row.instruction,
            input=row.input,
            output=row.output,
            language=row.language,
            source=item.source,
            license=license_name,
            turns=row.turns,
            system=row.system,
            rules=one.rules,
            origin="synthetic" if translator else "organic",
            translator=translator.name if translator else "",
            translator_license=model_license,
        )
    )
    return True


def _id(one: _Candidate, work: Work) -> str:
    return f"{one.mark}{work.index}:{one.row.number}"


def _drop(made: Made, one: _Candidate, work: Work, reason: Reason) -> None:
    row = one.row
    text = "\t".join((row.instruction, row.input, row.output)).strip("\t")
    made.dropped.append(Dropped(_id(one, work), work.item.source, *reason, text[:SHOWN]))


def _translate(
    rows: Sequence[RawInstruction], translator: Translator, target: Language
) -> list[tuple[RawInstruction, Reason | None]]:
    """Translate every text of some rows at once; return the new rows, each with why it is dropped, or None."""
    taken: list[list[Protected]] = [[protect(text) for text in row.texts()] for row in rows]
    parts = [part for texts in taken for text in texts for part in text.parts]
    done = iter(translator.translate(parts) if parts else [])
    found: list[tuple[RawInstruction, Reason | None]] = []
    for row, texts in zip(rows, taken, strict=True):
        whole, reason = [], None
        for before, text in zip(row.texts(), texts, strict=True):
            translations: list[Translation] = [next(done) for _ in text.parts]
            after, lost = restore(text, [one.text for one in translations])
            fault = next((one for one in translations if not one.ended), None)
            if reason is None and fault:
                reason = fault.rule or "not_ended", fault.detail or "no end token"
            elif reason is None and lost:
                reason = "protected_lost", lost
            reason = reason or changed(before, after)
            whole.append(after)
        new = replace(row, language=target.code)
        new.put(whole)
        found.append((new, reason))
    return found
