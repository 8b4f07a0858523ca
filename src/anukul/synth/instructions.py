"""Read Alpaca-shaped instructions and say why one is dropped."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from anukul.config import InstructionInput
from anukul.languages import Language
from anukul.text.files import count_rows, format_of, input_paths, read_table
from anukul.text.identify import in_script
from anukul.text.keys import match_key


@dataclass(slots=True)
class RawInstruction:
    """One row as read, or the rule that drops it unread (then `output` holds what could be read)."""

    number: int
    instruction: str
    input: str
    output: str
    language: str  # "" where the row does not say
    rule: str = ""
    detail: str = ""


def read_instructions(item: InstructionInput) -> Iterator[RawInstruction]:
    """Yield the rows of an input, at most `limit`; raise UserError for a missing file or column."""
    yield from islice(_rows(item), item.limit)


def _rows(item: InstructionInput) -> Iterator[RawInstruction]:
    number = 0
    for path in input_paths(item.path):
        rows = read_table(path, format_of(path), ("instruction", "output"), ("input", "language"))
        for row in rows:
            if row.rule:
                yield RawInstruction(number, "", "", row.raw, "", row.rule, row.detail)
            else:
                values = row.values
                language = values.get("language", "")
                asked, given = values["instruction"], values.get("input", "")
                yield RawInstruction(number, asked, given, values.get("output", ""), language)
            number += 1


def expected_instructions(item: InstructionInput) -> int:
    """Return about how many rows an input will give, for the progress bar."""
    total = sum(count_rows(path, format_of(path)) for path in input_paths(item.path))
    return total if item.limit is None else min(total, item.limit)


def judge_instruction(row: RawInstruction, languages: dict[str, Language]) -> tuple[str, str] | None:
    """Return (rule, detail) of the first rule that drops a normalised row, None to keep it.

    A row about translation mixes languages, so it needs letters of its language's script somewhere, no more.
    """
    for name, text in (("instruction", row.instruction), ("output", row.output)):
        if not text:
            return f"empty_{name}", f"the {name} is empty"
    if not match_key(row.instruction):
        return "empty_instruction", "the instruction holds no word"
    if row.language not in languages:
        known = " and ".join(languages)
        return "wrong_language", f"'{row.language or '?'}' is not one of the run's languages, {known}"
    language = languages[row.language]
    if not any(in_script(text, language) for text in (row.instruction, row.input, row.output)):
        return "wrong_script", f"no letter is {language.script}, which {language.code} is written in"
    return None


def guess_language(row: RawInstruction, target: Language, base: Language) -> str:
    """Return the code that a row without language gets: the target where most letters are in its script."""
    text = f"{row.instruction} {row.input} {row.output}"
    return target.code if in_script(text, target) >= in_script(text, base) else base.code
