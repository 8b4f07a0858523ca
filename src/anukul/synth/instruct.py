"""From rows as read to the instruction rows that training reads: normalised, translated where asked, judged."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from anukul.config import InstructionInput
from anukul.languages import Language
from anukul.licenses import of_model
from anukul.records import Dropped, Instruction
from anukul.synth.instructions import RawInstruction, guess_language, judge_instruction
from anukul.synth.protect import Protected, changed, protect, restore
from anukul.synth.translate import Translation, Translator
from anukul.text.keys import hash_key
from anukul.text.normalize import normalize

SHOWN = 500  # characters of a dropped row that are kept


@dataclass(slots=True)
class Made:
    """What became of some rows."""

    kept: list[Instruction] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


def key_of(row: Instruction | RawInstruction) -> int:
    """Return what two rows of the same words share."""
    return hash_key(row.instruction, row.input, row.output, *row.turns)


def make_instructions(
    chunk: Sequence[RawInstruction],
    item: InstructionInput,
    index: int,
    target: Language,
    base: Language,
    seen: set[int],
    translator: Translator | None,
) -> Made:
    """Make the rows of one shard of input number `index`; `seen` holds the keys of rows kept so far, and grows.

    `translator` goes from `base` to `target`; with one, rows of the base language are translated.
    """
    made = Made()
    languages = {target.code: target, base.code: base}
    fitting: list[RawInstruction] = []  # to be translated, all at once
    for row in chunk:
        if row.rule:
            _drop(made, row, item, index, row.rule, row.detail)
            continue
        row.language = row.language or guess_language(row, target, base)
        rules = _normalize(row, languages.get(row.language, target))
        if translator is None or row.language != base.code:
            _take(made, row, rules, item, index, languages, seen, None)
        elif item.keep_original:
            if _take(made, row, rules, item, index, languages, seen, None):
                fitting.append(row)
        elif not _judged(
            made, row, item, index, languages
        ):  # what would be dropped is not worth its translation
            fitting.append(row)
    if translator is not None:
        for row, reason in _translate(fitting, translator, target):
            if reason:
                _drop(made, row, item, index, *reason, mark="translation:")
            else:
                _take(made, row, _normalize(row, target), item, index, languages, seen, translator)
    return made


def _normalize(row: RawInstruction, language: Language) -> list[str]:
    """Normalise every text of a row; return the rules that changed one."""
    done = [normalize(text, language) for text in row.texts()]
    row.put([text for text, _ in done])
    return sorted({rule for _, rules in done for rule in rules})


def _judged(
    made: Made, row: RawInstruction, item: InstructionInput, index: int, languages: dict[str, Language]
) -> bool:
    """Drop a row that a rule drops; return whether one does."""
    reason = judge_instruction(row, languages, item.check_answers)
    if reason:
        _drop(made, row, item, index, *reason)
    return reason is not None


def _take(
    made: Made,
    row: RawInstruction,
    rules: list[str],
    item: InstructionInput,
    index: int,
    languages: dict[str, Language],
    seen: set[int],
    translator: Translator | None,
) -> bool:
    """Keep a row or drop it; return whether it is kept."""
    mark = "translation:" if translator else ""
    reason = judge_instruction(row, languages, item.check_answers)
    key = key_of(row)
    if reason is None and key in seen:
        reason = "duplicate_instruction", "the same words stand in an earlier row"
    if reason:
        _drop(made, row, item, index, *reason, mark=mark)
        return False
    seen.add(key)
    license_name, model_license = item.license, ""
    if translator is not None and item.translate is not None:
        model_license = of_model(item.translate.model, item.translate.license)
        license_name = both(item.license, model_license)
    made.kept.append(
        Instruction(
            id=f"{mark}{index}:{row.number}",
            instruction=row.instruction,
            input=row.input,
            output=row.output,
            language=row.language,
            source=item.source,
            license=license_name,
            turns=row.turns,
            system=row.system,
            rules=rules,
            origin="synthetic" if translator else "organic",
            translator=translator.name if translator else "",
            translator_license=model_license,
        )
    )
    return True


def both(text: str, model: str) -> str:
    """Return the license of a translated row: that of the text and that of the model, as SPDX joins them."""
    return text if text == model else f"{text} AND {model}"


def _drop(
    made: Made,
    row: RawInstruction,
    item: InstructionInput,
    index: int,
    rule: str,
    detail: str,
    mark: str = "",
) -> None:
    text = "\t".join((row.instruction, row.input, row.output)).strip("\t")
    made.dropped.append(Dropped(f"{mark}{index}:{row.number}", item.source, rule, detail, text[:SHOWN]))


def _translate(
    rows: Sequence[RawInstruction], translator: Translator, target: Language
) -> list[tuple[RawInstruction, tuple[str, str] | None]]:
    """Translate every text of some rows at once; return the new rows, each with why it is dropped, or None."""
    taken: list[list[Protected]] = [[protect(text) for text in row.texts()] for row in rows]
    parts = [part for texts in taken for text in texts for part in text.parts]
    done = iter(translator.translate(parts) if parts else [])
    found: list[tuple[RawInstruction, tuple[str, str] | None]] = []
    for row, texts in zip(rows, taken, strict=True):
        whole, reason = [], None
        for before, text in zip(row.texts(), texts, strict=True):
            translations: list[Translation] = [next(done) for _ in text.parts]
            after, lost = restore(text, [one.text for one in translations])
            if reason is None and not all(one.ended for one in translations):
                reason = "translation_cut", "no end token, or a sentence too long"
            elif reason is None and lost:
                reason = "protected_lost", lost
            reason = reason or changed(before, after)
            whole.append(after)
        new = replace(row, language=target.code)
        new.put(whole)
        found.append((new, reason))
    return found
