"""Which language a row is in, by its own word for it, and whether it is asked and answered in that one."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from anukul.config import InstructionInput, ModelSettings, RunConfig, SynthSettings
from anukul.languages import load
from anukul.records import Dropped, Instruction, read_rows
from anukul.synth import step
from anukul.synth.instructions import RawInstruction, asks_for_another, judge_instruction, run_code

LANGUAGES = {code: load(code) for code in ("npi_Deva", "eng_Latn")}
NEPALI = "काठमाडौं नेपालको राजधानी हो र यो धेरै पुरानो सहर पनि हो।"
ENGLISH = "Kathmandu is the capital of Nepal and it is a very old city."
HINDI = "काठमांडू नेपाल की राजधानी है और यह बहुत पुराना शहर भी है जो घाटी में है।"


def row(language: str, usual: str, question: str, answer: str = "", **more: Any) -> RawInstruction:
    return RawInstruction(0, question, more.pop("given", ""), answer or usual, language, **more)


english = partial(row, "eng_Latn", NEPALI)
nepali = partial(row, "npi_Deva", ENGLISH)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (english("What is the Nepali currency?"), "answer_language"),
        (english("Tell me about a romantic walk in Romania."), "answer_language"),
        (english("When did the Roman Empire end?"), "answer_language"),
        (english("What happened in the Nepali parliament this year?"), "answer_language"),
        (english("How do English speakers learn?", NEPALI), "answer_language"),
        (english("Say it in Nepali."), None),
        (english("Explain it in simple Nepali, please."), None),
        (english("Rewrite this from English to Nepali and explain it."), None),
        (english("Write a Nepali poem about the rain in the hills."), None),
        (english("Answer in the Nepali language."), None),
        (nepali("अङ्ग्रेजी शासन भारतमा कहिले सकियो?"), "answer_language"),
        (nepali("वाक्यलाई भूतकालमा रूपान्तर गर्नुहोस्।"), "answer_language"),
        (nepali("रोमन साम्राज्यको अन्त्य कहिले भयो?"), "answer_language"),
        (nepali("हिन्दी सिनेमा कहिले सुरु भयो?", HINDI), "answer_language"),
        (nepali("अङ्ग्रेजीमा रूपान्तर गर्नुहोस्।"), None),
        (nepali("यसलाई अंग्रेजी भाषामा लेख्नुहोस्।"), None),
        (nepali("यो हिन्दीमा लेख्नुहोस्।", HINDI), None),
        (nepali("रोमनमा लेख्नुहोस्।"), None),
        # the question's own language
        (nepali("What is the capital of Nepal, and how old is it?", NEPALI), "question_language"),
        (english("नेपालको राजधानी के हो र त्यो सहर कति पुरानो भयो, भन्नुहोस्।", ENGLISH), "question_language"),
        (nepali("नेपाल की राजधानी क्या है और वह कितना पुराना शहर है?", NEPALI), "question_language"),
        (
            nepali("राजधानी?", NEPALI, turns=["And how many people live there now?", NEPALI]),
            "question_language",
        ),
        (nepali("Summarize the following article.", NEPALI, given=NEPALI * 2), None),
        (english("Summarize the following article.", ENGLISH, given=NEPALI * 2), None),
        (nepali("What?", NEPALI), None),  # too short to tell
        (nepali(f"यो कोडले के गर्छ?\n```\n{ENGLISH}\n```", NEPALI), None),
    ],
)
def test_rows_are_asked_and_answered_in_their_language(row: RawInstruction, rule: str | None) -> None:
    reason = judge_instruction(row, LANGUAGES, check_answers=True)
    assert (reason and reason[0]) == rule
    assert judge_instruction(row, LANGUAGES) is None


def test_a_name_of_a_language_asks_for_it_in_any_line() -> None:
    assert asks_for_another("First this.\nWrite it in Nepali\nand keep it short", LANGUAGES["eng_Latn"])
    assert not asks_for_another("Write it in English", LANGUAGES["eng_Latn"])
    assert not asks_for_another("नेपालीमा लेख", LANGUAGES["npi_Deva"])


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("ne", "npi_Deva"),
        ("NPI", "npi_Deva"),
        ("ne-NP", "npi_Deva"),
        ("npi-Deva", "npi_Deva"),
        ("नेपाली", "npi_Deva"),
        (" Nepali ", "npi_Deva"),
        ("en", "eng_Latn"),
        ("en_US", "eng_Latn"),
        ("English", "eng_Latn"),
        ("npi_Latn", "npi_Latn"),  # another script is another language
        ("hi", "hi"),
        ("", ""),
    ],
)
def test_a_row_may_name_its_language_in_many_ways(said: str, code: str) -> None:
    assert run_code(said, LANGUAGES) == code


def kept(tmp_path: Path, rows: list[dict[str, str]], **more: Any) -> tuple[list[str], list[str]]:
    (tmp_path / "i.jsonl").write_text("\n".join(map(json.dumps, rows)))
    item = InstructionInput(path=str(tmp_path / "i.jsonl"), **more)
    settings = SynthSettings(instructions=(item,))
    config = RunConfig(name="t", language="npi_Deva", model=ModelSettings(path="unused"), synth=settings)
    step.run(config, tmp_path / "run")
    folder = tmp_path / "run" / "synth"
    dropped = read_rows(folder / "dropped.parquet", Dropped)
    return (
        [row.language for row in read_rows(folder / "instructions.parquet", Instruction)],
        [row.rule for row in dropped],
    )


def test_the_column_of_the_language_is_mapped(tmp_path: Path) -> None:
    rows = [
        {"instruction": "के हो?", "output": "काठमाडौं।", "lang": "ne", "language": "prose"},
        {"instruction": "What is it?", "output": "Kathmandu.", "lang": "EN", "language": "prose"},
        {"instruction": "Was ist das?", "output": "Kathmandu.", "lang": "de", "language": "prose"},
        {"instruction": "Where?", "output": "There.", "lang": "", "language": "prose"},
    ]
    languages, dropped = kept(tmp_path, rows, language_column="lang", language="eng_Latn")
    assert languages == ["npi_Deva", "eng_Latn", "eng_Latn"] and dropped == ["wrong_language"]
    (tmp_path / "none").mkdir()
    languages, dropped = kept(tmp_path / "none", rows[:2], language_column="")
    assert languages == ["npi_Deva", "eng_Latn"] and not dropped  # by their letters
