"""Instructions: both shapes, several turns, answers in the asked language, and translation that loses nothing."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anukul.config import InstructionInput, ModelSettings, RunConfig, SynthSettings, TranslateSettings
from anukul.errors import UserError
from anukul.languages import load
from anukul.records import Dropped, Instruction, read_rows
from anukul.synth import state, step
from anukul.synth.instruct import Work, make_instructions
from anukul.synth.instructions import RawInstruction, judge_instruction, read_instructions
from anukul.synth.markup import prose
from anukul.synth.protect import changed, protect, restore
from anukul.synth.seen import Seen
from anukul.synth.translate import Translation

TARGET, BASE = load("npi_Deva"), load("eng_Latn")
LANGUAGES = {"npi_Deva": TARGET, "eng_Latn": BASE}
NEPALI = "काठमाडौं नेपालको राजधानी हो र यो धेरै पुरानो सहर पनि हो।"
ENGLISH = "Kathmandu is the capital of Nepal and it is a very old city."
HINDI = "काठमांडू नेपाल की राजधानी है और यह बहुत पुराना शहर भी है जो घाटी में है।"


def write(path: Path, rows: list[Any]) -> InstructionInput:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return InstructionInput(path=str(path), source="chat", license="MIT")


def test_sharegpt_conversations_keep_their_turns(tmp_path: Path) -> None:
    rows = [
        {
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "gpt", "value": "Hello!"},  # an answer to nothing
                {"from": "human", "value": "नेपालको राजधानी?"},
                {"from": "gpt", "value": "काठमाडौं।"},
                {"from": "human", "value": "र"},
                {"from": "human", "value": "भारतको?"},
                {"from": "gpt", "value": "दिल्ली।"},
                {"from": "human", "value": "धन्यवाद"},  # a question without an answer
            ]
        },
        {"conversations": [{"from": "human", "value": "a"}]},
        {"conversations": [{"from": "narrator", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"conversations": "nothing"},
    ]
    first, second, third, fourth = read_instructions(write(tmp_path / "c.jsonl", rows))
    assert (first.system, first.instruction, first.output) == ("Be brief.", "नेपालको राजधानी?", "काठमाडौं।")
    assert first.turns == ["र\nभारतको?", "दिल्ली।"] and first.answers == ["काठमाडौं।", "दिल्ली।"]
    assert second.rule == "no_answer"
    assert third.rule == "bad_conversation" and "narrator" in third.detail
    assert fourth.rule == "bad_conversation"


@pytest.mark.parametrize("name", ["c.json", "c.jsonl", "c.parquet"])
def test_messages_with_roles_are_read_from_every_format(tmp_path: Path, name: str) -> None:
    messages = [{"role": "user", "content": "के?"}, {"role": "assistant", "content": "त्यो।"}]
    rows = [{"messages": messages, "language": "npi_Deva"}] * 2
    path = tmp_path / name
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if name == "c.json" else "\n".join(map(json.dumps, rows)))
    for row in read_instructions(InstructionInput(path=str(path))):
        assert (row.instruction, row.output, row.language, row.rule) == ("के?", "त्यो।", "npi_Deva", "")


def test_columns_are_mapped_and_missing_ones_named(tmp_path: Path) -> None:
    item = write(tmp_path / "a.jsonl", [{"q": "के?", "ctx": "यो", "a": "त्यो"}] * 3)
    mapped = item.model_copy(
        update={"instruction_column": "q", "input_column": "ctx", "output_column": "a", "skip": 1, "limit": 1}
    )
    (row,) = read_instructions(mapped)
    assert (row.number, row.instruction, row.input, row.output) == (1, "के?", "यो", "त्यो")
    with pytest.raises(UserError, match="no column 'instruction', 'output'"):
        list(read_instructions(item))
    with pytest.raises(UserError, match="conversation_column"):
        list(read_instructions(item.model_copy(update={"shape": "sharegpt"})))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match="holds no instructions"):
        list(read_instructions(InstructionInput(path=str(tmp_path / "a.txt"))))


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (RawInstruction(0, "नेपालको राजधानी के हो?", "", NEPALI, "npi_Deva"), None),
        (RawInstruction(0, "नेपालको राजधानी के हो?", "", ENGLISH, "npi_Deva"), "answer_language"),
        (RawInstruction(0, "नेपालको राजधानी के हो?", "", HINDI, "npi_Deva"), "answer_language"),
        (RawInstruction(0, "What is the capital of Nepal?", "", NEPALI, "eng_Latn"), "answer_language"),
        (RawInstruction(0, "नेपालको राजधानी के हो?", "", "Kathmandu", "npi_Deva"), None),  # a name
        (RawInstruction(0, "यसलाई अङ्ग्रेजीमा अनुवाद गर्नुहोस्।", NEPALI, ENGLISH, "npi_Deva"), None),
        (RawInstruction(0, "Say this in English.", NEPALI, ENGLISH, "npi_Deva"), None),
        (RawInstruction(0, "जोड्ने फङ्सन लेख्नुहोस्।", "", f"```python\n{ENGLISH}\n```", "npi_Deva"), None),
        (
            RawInstruction(0, "राजधानी?", "", "काठमाडौं।", "npi_Deva", turns=["अनि?", ENGLISH]),
            "answer_language",
        ),
        (RawInstruction(0, "राजधानी?", "", "काठमाडौं।", "npi_Deva", turns=["अनि?", ""]), "empty_turn"),
    ],
)
def test_answers_are_in_the_asked_language(row: RawInstruction, rule: str | None) -> None:
    reason = judge_instruction(row, LANGUAGES, check_answers=True)
    assert (reason and reason[0]) == rule
    if rule == "answer_language":
        assert judge_instruction(row, LANGUAGES) is None


PROTECTED = (
    "Run `pip install x` first, see https://example.org/a?b=1&c=2, mail to ram@example.com, and greet {name} with "
    "%s or ${HOME}.\n\n```python\nprint('hello {name}', 12)\n```\nThen call my_func() and <b>stop</b> at 42."
)


def test_what_is_protected_never_reaches_the_translator() -> None:
    taken = protect(PROTECTED)
    sent = " ".join(taken.parts)
    for kept in (
        "`pip install x`",
        "https://example.org",
        "ram@",
        "{name}",
        "%s",
        "${HOME}",
        "print(",
        "my_func",
        "<b>",
    ):
        assert kept not in sent and kept in PROTECTED
    assert "Run" in sent and "42" in sent
    assert restore(taken, list(taken.parts)) == (PROTECTED, "")
    assert changed(PROTECTED, PROTECTED) is None
    assert "print" not in prose(PROTECTED) and "Run" in prose(PROTECTED)


@given(
    st.lists(
        st.sampled_from(
            [
                "word ",
                "शब्द ",
                "{name}",
                "`a b`",
                "https://a.org/x",
                "\n",
                "```\ncode 1\n```",
                "<br>",
                "12 ",
                "%s",
                "।",
            ]
        ),
        max_size=14,
    )
)
def test_taking_apart_and_putting_together_is_the_same_text(pieces: list[str]) -> None:
    text = "".join(pieces)
    taken = protect(text)
    assert restore(taken, list(taken.parts)) == (text, "")
    assert len(taken.kept) == len(taken.parts) + 1


def test_masks_that_are_lost_doubled_or_made_up_are_named() -> None:
    taken = protect("See {a} and {b} now")
    (sent,) = taken.parts
    assert restore(taken, ["zx १ z र Z X 0 Z हेर्नुहोस्"]) == ("{b} र {a} हेर्नुहोस्", "")  # spaces, case, digits
    assert restore(taken, [sent.replace("ZX1Z", "")])[1] == "lost {b}"
    assert restore(taken, [sent + " ZX1Z"])[1] == "written twice {b}"
    assert restore(taken, [sent + " ZX7Z"])[1] == "made up: mask 7"


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        ("It has 3 rivers and 2,500 people.", "यसमा ३ नदी र २५०० मानिस छन्।", None),
        ("It has 3 rivers.", "यसमा ४ नदी छन्।", "numbers_changed"),
        ("Use `ls -l`.", "`ls -1` प्रयोग गर्नुहोस्।", "protected_changed"),
        ("Hello {name}", "नमस्ते {नाम}", "protected_changed"),
    ],
)
def test_a_translation_is_compared_with_its_source(before: str, after: str, rule: str | None) -> None:
    reason = changed(before, after)
    assert (reason and reason[0]) == rule


class Dictionary:
    """A translator that says one Nepali sentence for any English text, and carries masks and numbers along."""

    name = "dictionary"

    def __init__(self, drops: str = "", ends: bool = True) -> None:
        self.drops = drops
        self.ends = ends
        self.calls: list[list[str]] = []

    def translate(self, texts: list[str]) -> list[Translation]:
        self.calls.append(texts)
        found = []
        for text in texts:
            carried = [word for word in re.findall(r"ZX\d+Z|\d+", text) if word != self.drops]
            found.append(Translation(" ".join([NEPALI.rstrip("।"), *carried]) + "।", self.ends, 5))
        return found


def translated(
    rows: list[RawInstruction], translator: Dictionary, **more: Any
) -> tuple[list[Instruction], list[Dropped]]:
    asked = TranslateSettings(model="nllb-200-600M-ct2")
    item = InstructionInput(path="x", source="dolly", license="CC-BY-SA-3.0", translate=asked, **more)
    made = make_instructions(rows, Work(item, 0, TARGET, BASE, Seen(), translator))
    return made.kept, made.dropped


def english() -> RawInstruction:
    return RawInstruction(
        7,
        "How do I list 5 files with `ls`?",
        "",
        f"{ENGLISH} Use `ls`:\n```\nls -l\n```",
        "eng_Latn",
        turns=["And {x}?", ENGLISH],
    )


def test_a_translated_row_says_by_whom_and_under_which_licenses() -> None:
    translator = Dictionary()
    (row,), dropped = translated([english()], translator)
    assert not dropped and len(translator.calls) == 1
    assert row.id == "translation:0:7" and row.language == "npi_Deva" and row.origin == "synthetic"
    assert row.translator == "dictionary" and row.translator_license == "CC-BY-NC-4.0"
    assert row.license == "CC-BY-SA-3.0 AND CC-BY-NC-4.0"
    assert "`ls`" in row.instruction and "5" in row.instruction
    assert row.output.endswith(":\n```\nls -l\n```") or "```\nls -l\n```" in row.output
    assert len(row.turns) == 2 and "{x}" in row.turns[0]


def test_the_original_is_kept_beside_its_translation_where_asked() -> None:
    kept, dropped = translated([english()], Dictionary(), keep_original=True)
    assert [row.origin for row in kept] == ["organic", "synthetic"] and not dropped
    assert kept[0].license == "CC-BY-SA-3.0"


@pytest.mark.parametrize(
    ("translator", "rule"),
    [
        (Dictionary(drops="ZX0Z"), "protected_lost"),
        (Dictionary(drops="5"), "numbers_changed"),
        (Dictionary(ends=False), "not_ended"),
    ],
)
def test_what_a_translation_lost_drops_the_row_with_the_reason(translator: Dictionary, rule: str) -> None:
    kept, (dropped,) = translated([english()], translator)
    assert kept == [] and dropped.rule == rule and dropped.id == "translation:0:7"


def test_the_step_translates_instructions_and_goes_on_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"instruction": f"Tell me about city number {i}.", "output": f"{ENGLISH} It is number {i}."}
        for i in range(6)
    ]
    model = tmp_path / "opus-mt-en-ne"
    model.mkdir()
    (model / "model.bin").write_bytes(b"weights")
    asked = TranslateSettings(model=str(model))
    item = write(tmp_path / "i.jsonl", rows).model_copy(update={"translate": asked})
    config = RunConfig(
        name="t",
        language="npi_Deva",
        model=ModelSettings(path="unused"),
        synth=SynthSettings(instructions=(item,)),
    )
    monkeypatch.setattr(step, "SHARD", 2)
    monkeypatch.setattr(state, "make_translator", lambda *_: Dictionary())
    whole = step.run(config, tmp_path / "whole")
    assert whole.rows["instructions"] == 6

    class Dying(Dictionary):
        def translate(self, texts: list[str]) -> list[Translation]:
            if self.calls:
                raise KeyboardInterrupt
            return super().translate(texts)

    monkeypatch.setattr(state, "make_translator", lambda *_: Dying())
    with pytest.raises(KeyboardInterrupt):
        step.run(config, tmp_path / "killed")
    monkeypatch.setattr(state, "make_translator", lambda *_: Dictionary())
    assert step.run(config, tmp_path / "killed") == whole
    ends = [
        read_rows(tmp_path / name / "synth" / "instructions.parquet", Instruction)
        for name in ("whole", "killed")
    ]
    assert ends[0] == ends[1] and ends[0][0].license == "MIT AND CC-BY-4.0"


def test_rows_of_an_older_file_are_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    old = {"id": "0:0", "instruction": "a", "input": "", "output": "b", "language": "eng_Latn", "source": "s"}
    pq.write_table(pa.Table.from_pylist([{**old, "license": "MIT"}]), tmp_path / "old.parquet")
    (row,) = read_rows(tmp_path / "old.parquet", Instruction)
    assert (row.turns, row.origin, row.translator) == ([], "organic", "")


@pytest.mark.real
def test_real_answers_are_told_by_their_language(real_data: Path) -> None:
    lines = (real_data / "parallel/flores200/npi_Deva.devtest").read_text(encoding="utf-8").splitlines()[:200]
    english_lines = (
        (real_data / "parallel/flores200/eng_Latn.devtest").read_text(encoding="utf-8").splitlines()[:200]
    )
    hindi = (real_data / "parallel/flores200/hin_Deva.devtest").read_text(encoding="utf-8").splitlines()[:200]

    def dropped(answers: list[str], language: str) -> int:
        asked = "यसबारे लेख्नुहोस्।" if language == "npi_Deva" else "Write about this."
        made = (RawInstruction(0, asked, "", answer, language) for answer in answers)
        return sum(judge_instruction(row, LANGUAGES, True) is not None for row in made)

    assert dropped(lines, "npi_Deva") <= 1 and dropped(english_lines, "eng_Latn") == 0
    assert dropped(hindi, "npi_Deva") >= 196 and dropped(english_lines, "npi_Deva") == 200
