"""Read instructions, Alpaca- or ShareGPT-shaped, and say why one is dropped."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import regex

from anukul.config import InstructionInput
from anukul.errors import UserError
from anukul.languages import Language, available, load
from anukul.synth.markup import prose
from anukul.synth.sources import Files
from anukul.text.files import RawRow, format_of, input_paths, read_table
from anukul.text.identify import identify, in_script
from anukul.text.keys import match_key
from anukul.text.words import LETTER

CONVERSATIONS = ("conversations", "messages", "conversation")
# ShareGPT says from/value, OpenAI's chat format role/content
WHO, SAID = ("from", "role"), ("value", "content")
ROLES = {
    "human": "user", "user": "user", "prompter": "user",
    "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bard": "assistant", "bing": "assistant",
    "model": "assistant", "system": "system",
}  # fmt: skip
LETTERS = 24  # an answer of fewer letters is a name, a number or a choice: its language cannot be told
ANSWER_SHARE = 0.5  # of an answer's letters in the asked language's script
# what a question holds that asks for another language or script than its own
ASKS = regex.compile(
    r"(?i)translat|transliterat|अनुवाद|उल्था|लिप्यन्तरण"
    r"|\broman(?:i[sz]e[sd]?|i[sz]ing|i[sz]ation)\b|\broman\s+(?:script|letters|alphabet|characters)\b"
    r"|रोमन(?:\s*(?:लिपि|अक्षर)(?:मा|में|मे)|मा|में|मे)(?![\p{L}\p{M}])"
    r"|अ(?:ङ्ग्रेजी|ंग्रेजी|ङ्रेजी)(?:\s*भाषा)?\s*(?:मा|में|मे)(?![\p{L}\p{M}])"
)
# A name of a language asks for it as in "in Nepali", "a Nepali poem", नेपालीमा; not as in "in the Nepali parliament".
ASKED_IN = (
    r"(?i)\b(?:in|into|to|using|from)\s+(?:\w+\s+)?{name}\b(?=\s*(?:$|[^\p{{L}}\s]|\n|(?:and|or|about|for|with|using|to|"
    r"from|how|what|that|the|a|an|as|only|please|language|script|words?|letters|characters)\b))"
    r"|\b{name}\s+(?:poem|song|story|essay|sentence|paragraph|word|phrase|proverb|version|equivalent|term)\b"
    r"|{name}(?:\s*भाषा)?\s*(?:मा|में|मे)(?![\p{{L}}\p{{M}}])"
)


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
    turns: list[str] = field(default_factory=list)  # after the first answer: asked and answered in turn
    system: str = ""

    def texts(self) -> list[str]:
        """Every text of the row: instruction, input, output, system, then the turns."""
        return [self.instruction, self.input, self.output, self.system, *self.turns]

    def put(self, texts: Sequence[str]) -> None:
        """Take in texts in the order of `texts`."""
        self.instruction, self.input, self.output, self.system, *self.turns = texts

    @property
    def answers(self) -> list[str]:
        """What is answered, turn by turn."""
        return [self.output, *self.turns[1::2]]


def instruction_files(item: InstructionInput) -> Files:
    """Return the files of an input; raise UserError where there is none."""
    return Files(input_paths(item.path))


def read_instructions(item: InstructionInput, files: Files | None = None) -> Iterator[RawInstruction]:
    """Yield the rows of an input after `skip`, at most `limit`; raise UserError for a missing file or column."""
    stop = None if item.limit is None else item.skip + item.limit
    rows = (files or instruction_files(item)).numbered(partial(_file_rows, item))
    yield from islice(rows, item.skip, stop)


def _file_rows(item: InstructionInput, path: Path) -> Iterator[RawInstruction]:
    file_format = format_of(path)
    shape, column = _shape_of(item, path, file_format)
    if shape == "sharegpt":
        columns: tuple[str, ...] = (column,)
        optional: tuple[str, ...] = (item.language_column, item.system_column)
    else:
        columns = (item.instruction_column, item.output_column)
        optional = (item.input_column, item.language_column, item.system_column)
    for row in read_table(path, file_format, columns, optional):
        if row.rule:
            yield RawInstruction(0, "", "", row.raw, "", row.rule, row.detail)
        elif shape == "sharegpt":
            yield _conversation(row, column, item)
        else:
            yield _alpaca(row, item)


def _shape_of(item: InstructionInput, path: Path, file_format: str) -> tuple[str, str]:
    """Return (alpaca | sharegpt, the column of the conversation), looking at the first row that can be read."""
    names = (item.conversation_column,) if item.conversation_column else CONVERSATIONS
    if file_format == "txt":
        raise UserError(f"{path}: a text file holds no instructions; give .jsonl, .json, .csv or .parquet")
    if item.shape == "alpaca":
        return "alpaca", ""
    first = next((row for row in read_table(path, file_format, (), names) if not row.rule), None)
    column = next((name for name in names if first and name in first.values), "")
    if not column and item.shape == "sharegpt":
        raise UserError(
            f"{path}: no column {' or '.join(names)}; name the conversation's in `conversation_column`"
        )
    return ("sharegpt", column) if column else ("alpaca", "")


def _alpaca(row: RawRow, item: InstructionInput) -> RawInstruction:
    values = row.values
    return RawInstruction(
        0,
        values[item.instruction_column],
        values.get(item.input_column, ""),
        values.get(item.output_column, ""),
        _language_of(row, item),
        system=values.get(item.system_column, ""),
    )


def _language_of(row: RawRow, item: InstructionInput) -> str:
    said = row.values.get(item.language_column, "") if item.language_column else ""
    return said or item.language or ""


def _conversation(row: RawRow, column: str, item: InstructionInput) -> RawInstruction:
    """Read a conversation: who spoke twice spoke once, an answer to nothing and a question without one are left out."""
    text = row.values[column]
    language = _language_of(row, item)
    try:
        said = [_message(message) for message in json.loads(text)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        detail = f"{column}: not a list of messages with from and value, or role and content: {error}"
        return RawInstruction(0, "", "", text, "", "bad_conversation", detail)
    unknown = sorted({who for who, _ in said if who not in ROLES})
    if unknown:
        detail = f"{column}: nobody knows who '{unknown[0]}' is; known: {', '.join(ROLES)}"
        return RawInstruction(0, "", "", text, "", "bad_conversation", detail)
    # blanks before a turn may be the indentation of its code
    spoken = [(ROLES[who], words.strip("\r\n").rstrip()) for who, words in said if words.strip()]
    told = [row.values.get(item.system_column, ""), *(words for who, words in spoken if who == "system")]
    turns: list[tuple[str, str]] = []
    for who, words in spoken:
        if who == "system":
            continue
        if turns and turns[-1][0] == who:
            turns[-1] = who, f"{turns[-1][1]}\n{words}"
        else:
            turns.append((who, words))
    if turns and turns[0][0] == "assistant":
        del turns[0]
    if len(turns) % 2:
        del turns[-1]
    if not turns:
        detail = f"{column}: no question with its answer"
        return RawInstruction(0, "", "", text, "", "no_answer", detail)
    asked, answered, *more = (words for _, words in turns)
    system = "\n".join(words for words in told if words)
    return RawInstruction(0, asked, "", answered, language, turns=more, system=system)


def _message(message: dict[str, Any]) -> tuple[str, str]:
    who = next(message[key] for key in (*WHO, "") if key in message or not key)
    said = next(message[key] for key in (*SAID, "") if key in message or not key)
    return str(who).casefold(), said if isinstance(said, str) else "" if said is None else json.dumps(said)


def judge_instruction(
    row: RawInstruction, languages: dict[str, Language], check_answers: bool = False
) -> tuple[str, str] | None:
    """Return (rule, detail) of the first rule that drops a normalised row, None to keep it.

    A row about translation mixes languages, so it needs letters of its language's script somewhere, no more. With
    `check_answers` the answers must be in the language that is asked for.
    """
    for name, text in (("instruction", row.instruction), ("output", row.output)):
        if not text:
            return f"empty_{name}", f"the {name} is empty"
    if not all(row.turns):
        return "empty_turn", "a turn of the conversation is empty"
    if not match_key(row.instruction):
        return "empty_instruction", "the instruction holds no word"
    if row.language not in languages:
        known = " and ".join(languages)
        return "wrong_language", f"'{row.language or '?'}' is not one of the run's languages, {known}"
    language = languages[row.language]
    if not any(in_script(text, language) for text in row.texts()):
        return "wrong_script", f"no letter is {language.script}, which {language.code} is written in"
    return _judge_answers(row, language) if check_answers else None


def _judge_answers(row: RawInstruction, language: Language) -> tuple[str, str] | None:
    """Drop a row whose question or answer is in another language than the row's, unless it asks for another one."""
    asked = [" ".join((row.system, row.instruction, row.input)), *row.turns[::2]]
    for place, (question, answer) in enumerate(zip(asked, row.answers, strict=True)):
        if asks_for_another(question, language):
            continue
        # an input in another language than its instruction is what the instruction is about, or the other way round
        questions = [question] if place else [row.instruction, f"{row.instruction} {row.input}"]
        wrong = [_other_language(prose(text), language) for text in questions]
        if all(wrong):
            return "question_language", f"the question {wrong[0]}"
        answered = _other_language(prose(answer), language)
        if answered:
            return "answer_language", f"the answer {answered}"
    return None


def _other_language(words: str, language: Language) -> str:
    """Say in which other language words are; "" where they are in this one, or too few to tell."""
    if len(LETTER.findall(words)) < LETTERS:
        return ""
    share = in_script(words, language)
    if share < ANSWER_SHARE:
        return f"has {share:.2f} of its letters in {language.script}; {language.code} was asked for"
    verdict = identify(words, language)
    return "" if verdict.language == language.code else verdict.detail


def asks_for_another(question: str, language: Language) -> bool:
    """Whether a question speaks of translating or asks for a language other than its own."""
    return ASKS.search(question) is not None or _asks_by_name(language.code).search(question) is not None


@cache
def _asks_by_name(code: str) -> "regex.Pattern[str]":
    """Return what finds a question that asks for a language other than `code` by its name."""
    others = [load(other) for other in available() if other != code]
    names = sorted({regex.escape(name) for other in others for name in (other.name, other.native_name)})
    return regex.compile(ASKED_IN.format(name=f"(?:{'|'.join(names)})"))


def run_code(said: str, languages: Mapping[str, Language]) -> str:
    """Return the code of the run's language that a row means by its own name for it: en, eng, en-US, English.

    A language that the run does not have is returned as it is.
    """
    plain = said.strip().casefold().replace("-", "_")
    head, *rest = plain.split("_")
    for code, language in languages.items():
        if plain in (code.casefold(), language.name.casefold(), language.native_name.casefold()):
            return code
        script = code.partition("_")[2].casefold()
        region = [part for part in rest if part != script]  # another script is another language
        if head in (language.iso639_1, language.iso639_3) and all(len(part) < 4 for part in region):
            return code
    return said.strip()


def guess_language(row: RawInstruction, target: Language, base: Language) -> str:
    """Return the code that a row without language gets: the target where most letters are in its script.

    The question decides, so that an answer in another language shows; where it holds no letter of either, the row.
    """
    text = f"{row.instruction} {row.input}"
    if not in_script(text, target) and not in_script(text, base):
        text = row.output
    return target.code if in_script(text, target) >= in_script(text, base) else base.code
