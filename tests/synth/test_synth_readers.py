import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anukul.config import InstructionInput, PairInput
from anukul.errors import UserError
from anukul.languages import load
from anukul.synth.instructions import (
    RawInstruction,
    guess_language,
    judge_instruction,
    read_instructions,
)
from anukul.synth.pairs import pair_files, read_pairs
from anukul.text.files import BadFiles

ENGLISH = ["Ram ate rice.", "", "Sita came."]
NEPALI = ["रामले भात खायो।", "केही छैन।", "सीता आइन्।"]
LANGUAGES = {code: load(code) for code in ("npi_Deva", "eng_Latn")}


@pytest.mark.parametrize("kind", ["lines", "jsonl", "csv", "parquet"])
def test_every_kind_gives_the_same_pairs(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"p.{kind}"
    if kind == "lines":
        path.write_text("\n".join(ENGLISH) + "\n")
        (tmp_path / "ne").write_text("\n".join(NEPALI) + "\n")
        item = PairInput(source=str(path), target=str(tmp_path / "ne"))
    elif kind == "jsonl":
        path.write_text(
            "\n".join(json.dumps({"en": e, "ne": n}) for e, n in zip(ENGLISH, NEPALI, strict=True))
        )
    elif kind == "csv":
        path.write_text("\n".join(["ne,en", *(f"{n},{e}" for e, n in zip(ENGLISH, NEPALI, strict=True))]))
    else:
        pq.write_table(pa.table({"en": ENGLISH, "ne": NEPALI}), path)
    if kind != "lines":
        item = PairInput(source=str(path), source_column="en", target_column="ne")
    assert [(row.number, row.source, row.target) for row in read_pairs(item)] == [
        (number, *sides) for number, sides in enumerate(zip(ENGLISH, NEPALI, strict=True))
    ]
    part = item.model_copy(update={"skip": 1, "limit": 1})
    assert [(row.number, row.target) for row in read_pairs(part)] == [(1, NEPALI[1])]
    files = pair_files(part)
    files.look_over(BadFiles(), read_pairs(part, files))
    assert files.expected == 1 and files.bad_files == {}


def test_an_odd_file_among_many_is_left_out(tmp_path: Path) -> None:
    for name in ("b", "c"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"source": name, "target": name}) + "\n")
    (tmp_path / "a.json").write_text('{"error": "not found"}')
    (tmp_path / "d.csv").write_text("src,tgt\n1,2\n")
    item = PairInput(source=str(tmp_path))
    files = pair_files(item)
    files.look_over(BadFiles.within(0.5, 4, "synth"), read_pairs(item, files))
    assert list(files.bad_files) == ["a.json", "d.csv"] and files.expected == 2
    assert [row.source for row in read_pairs(item, files)] == ["b", "c"]
    wrong = item.model_copy(update={"source_column": "en"})
    files = pair_files(wrong)
    with pytest.raises(
        UserError, match=r"d.csv: no column 'en', 'target'; the columns are src, tgt; set the column"
    ):
        files.look_over(BadFiles.within(1.0, 4, "synth"), read_pairs(wrong, files))


def test_files_of_different_length_are_refused_with_both_counts(tmp_path: Path) -> None:
    (tmp_path / "en").write_text("a\nb\nc\n")
    (tmp_path / "ne").write_text("a\nb")
    with pytest.raises(UserError, match=r"en has 3 lines and .*ne has 2: .*line-aligned"):
        list(read_pairs(PairInput(source=str(tmp_path / "en"), target=str(tmp_path / "ne"))))


def test_packed_sides_are_aligned_by_their_lines(tmp_path: Path) -> None:
    for name, lines in (("en", ENGLISH * 50), ("ne", NEPALI * 50)):
        with gzip.open(tmp_path / f"{name}.txt.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines))
    item = PairInput(source=str(tmp_path / "en.txt.gz"), target=str(tmp_path / "ne.txt.gz"))
    assert [(row.source, row.target) for row in read_pairs(item)] == list(
        zip(ENGLISH * 50, NEPALI * 50, strict=True)
    )


def test_a_bad_line_on_one_side_drops_the_pair_and_keeps_the_rest_aligned(tmp_path: Path) -> None:
    (tmp_path / "en").write_bytes(b"a\n\xff\nc\n")
    (tmp_path / "ne").write_bytes(b"x\ny\nz\n")
    rows = list(read_pairs(PairInput(source=str(tmp_path / "en"), target=str(tmp_path / "ne"))))
    assert [(row.source, row.target, row.rule) for row in rows] == [
        ("a", "x", ""),
        ("\ufffd", "y", "invalid_utf8"),
        ("c", "z", ""),
    ]
    assert rows[1].detail == "en: line 2, byte offset 2: not UTF-8"


def test_inputs_that_cannot_be_pairs(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x\n")
    with pytest.raises(UserError, match="one side only; give `target`"):
        list(read_pairs(PairInput(source=str(tmp_path / "a.txt"))))
    with pytest.raises(UserError, match="matches 2 files"):
        list(read_pairs(PairInput(source=str(tmp_path / "*.txt"), target=str(tmp_path / "a.txt"))))
    (tmp_path / "c.jsonl").write_text('{"en": "x", "ne": "y"}')
    with pytest.raises(UserError, match="no column 'source', 'target'; the columns are en, ne"):
        list(read_pairs(PairInput(source=str(tmp_path / "c.jsonl"))))


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_instructions(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"instruction": "a", "input": "b", "output": "c", "language": "eng_Latn"},
        {"instruction": "d", "output": "e"},
    ]
    path = tmp_path / f"i.{suffix}"
    path.write_text(json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows)))
    item = InstructionInput(path=str(path))
    assert list(read_instructions(item)) == [
        RawInstruction(0, "a", "b", "c", "eng_Latn"),
        RawInstruction(1, "d", "", "e", ""),
    ]
    limited = item.model_copy(update={"limit": 1})
    assert len(list(read_instructions(limited))) == 1
    bad = {"instruction": "a"}
    path.write_text(json.dumps([bad] if suffix == "json" else bad))
    with pytest.raises(UserError, match="no column 'output'"):
        list(read_instructions(item))


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (RawInstruction(0, "नेपालको राजधानी के हो?", "", "काठमाडौं।", "npi_Deva"), None),
        (RawInstruction(0, "Translate to English.", "ऊ गयो।", "He went.", "npi_Deva"), None),
        (RawInstruction(0, "", "x", "y", "eng_Latn"), "empty_instruction"),
        (RawInstruction(0, "?!", "x", "y", "eng_Latn"), "empty_instruction"),
        (RawInstruction(0, "x", "", "", "eng_Latn"), "empty_output"),
        (RawInstruction(0, "x", "", "y", "hin_Deva"), "wrong_language"),
        (RawInstruction(0, "What?", "", "That.", "npi_Deva"), "wrong_script"),
    ],
)
def test_instruction_rules(row: RawInstruction, rule: str | None) -> None:
    reason = judge_instruction(row, LANGUAGES)
    assert (reason and reason[0]) == rule


def test_a_row_without_language_gets_that_of_its_letters() -> None:
    target, base = LANGUAGES["npi_Deva"], LANGUAGES["eng_Latn"]
    assert guess_language(RawInstruction(0, "के हो?", "", "OK हो", ""), target, base) == "npi_Deva"
    assert guess_language(RawInstruction(0, "What is नेपाल?", "", "A country", ""), target, base) == "eng_Latn"
