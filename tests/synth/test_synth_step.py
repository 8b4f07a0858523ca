import json
from pathlib import Path
from typing import Any

import pytest

from anukul.config import (
    InstructionInput,
    ModelSettings,
    PairInput,
    RunConfig,
    SynthSettings,
    TranslateSettings,
)
from anukul.errors import UserError
from anukul.languages import load
from anukul.records import Document, Dropped, Instruction, Pair, read_rows, write_rows
from anukul.rundir import read_json
from anukul.synth import step
from anukul.synth.translate import CTranslate2Translator, Translation

NEPALI = [
    "रामले भात खायो।",
    "सीता विद्यालय गइन्।",
    "उनले किताब पढिन्।",
    "किसानले मकै रोप्यो।",
    "केटाकेटीहरू खोलामा खेल्छन्।",
    "म घर जान्छु।",
    "मेरो दाइ काठमाडौंमा काम गर्नुहुन्छ।",
]
ENGLISH = [
    "Ram ate rice.",
    "Sita went to school.",
    "She read a book.",
    "The farmer planted maize.",
    "The children play in the river.",
    "I go home.",
    "My elder brother works in Kathmandu.",
]


def make_config(**settings: Any) -> RunConfig:
    synth = SynthSettings(**settings)
    return RunConfig(name="t", language="npi_Deva", model=ModelSettings(path="unused"), synth=synth)


def write_pairs(path: Path, rows: list[tuple[str, str]]) -> PairInput:
    path.write_text("\n".join(json.dumps({"source": source, "target": target}) for source, target in rows))
    return PairInput(source=str(path), name=path.stem, license="CC0")


def write_corpus(root: Path, texts: list[str]) -> None:
    documents = [
        Document(f"0:{i}", text, "npi_Deva", "news", "CC-BY-4.0", []) for i, text in enumerate(texts)
    ]
    write_rows(root / "corpus" / "documents.parquet", documents, Document)


def write_instructions(path: Path, rows: list[dict[str, str]]) -> InstructionInput:
    path.write_text("\n".join(map(json.dumps, rows)))
    return InstructionInput(path=str(path), source="alpaca", license="MIT")


def translate_settings(model: Path, **settings: Any) -> TranslateSettings:
    settings = {"max_output_tokens": 40, "source_prefix": ("npi_Deva",), "shard_rows": 2} | settings
    return TranslateSettings(model=str(model), license="CC-BY-NC-4.0", **settings)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pairs_are_filtered_and_linked(tmp_path: Path) -> None:
    write_corpus(tmp_path, NEPALI[:2])
    rows = [
        (f"<b>{ENGLISH[0]}</b>", "रामले  भात खायो ।"),
        (ENGLISH[2], NEPALI[2]),
        (ENGLISH[0].upper(), NEPALI[0]),
        ("", NEPALI[3]),
        ("Ram ate food and went home.", "राम ने खाना खाया और घर गया।"),
    ]
    result = step.run(make_config(pairs=(write_pairs(tmp_path / "p.jsonl", rows),)), tmp_path)
    assert result.rows == {"pairs": 2, "instructions": 0, "dropped": 3}
    assert sorted(contents(tmp_path / "synth")) == sorted(result.outputs)
    first, second = read_rows(tmp_path / "synth" / "pairs.parquet", Pair)
    assert first == Pair(
        id="0:0",
        document_id="0:0",
        source_text=ENGLISH[0],
        target_text="रामले भात खायो ।",
        source_language="eng_Latn",
        target_language="npi_Deva",
        source_origin="organic",
        translator="",
        source="p",
        license="CC0",
    )
    assert (second.id, second.document_id) == ("0:1", "")
    dropped = read_rows(tmp_path / "synth" / "dropped.parquet", Dropped)
    assert [(row.id, row.rule) for row in dropped] == [
        ("0:2", "duplicate_pair"),
        ("0:3", "empty_side"),
        ("0:4", "wrong_language"),
    ]
    assert all(row.detail and row.text for row in dropped)
    stats = read_json(tmp_path / "synth" / "stats.json")
    assert stats["inputs"][0]["linked"] == 1
    assert stats["total"]["pairs"]["dropped"] == {"duplicate_pair": 1, "empty_side": 1, "wrong_language": 1}


def test_instructions_are_filtered(tmp_path: Path) -> None:
    rows = [
        {"instruction": "नेपालको राजधानी के हो ?", "input": "", "output": "काठमाडौं।", "language": "npi_Deva"},
        {"instruction": "Name the capital.", "output": "Kathmandu."},
        {"instruction": "नेपालको राजधानी के हो?", "input": "", "output": "काठमाडौं", "language": "npi_Deva"},
        {"instruction": "Say it.", "output": "", "language": "eng_Latn"},
        {"instruction": "x"},
    ]
    item = write_instructions(tmp_path / "i.jsonl", rows)
    step.run(make_config(instructions=(item,)), tmp_path)
    kept = read_rows(tmp_path / "synth" / "instructions.parquet", Instruction)
    assert [(row.id, row.language, row.source, row.license) for row in kept] == [
        ("0:0", "npi_Deva", "alpaca", "MIT"),
        ("0:1", "eng_Latn", "alpaca", "MIT"),
    ]
    dropped = read_rows(tmp_path / "synth" / "dropped.parquet", Dropped)
    assert [row.rule for row in dropped] == ["duplicate_instruction", "empty_output", "missing_column"]


def test_documents_without_a_pair_are_translated(tmp_path: Path, cutting_model: Path) -> None:
    write_corpus(tmp_path, NEPALI)
    pairs = write_pairs(tmp_path / "p.jsonl", [(ENGLISH[0], NEPALI[0])])
    config = make_config(pairs=(pairs,), translate=translate_settings(cutting_model), max_length_ratio=50.0)
    result = step.run(config, tmp_path)
    made = read_rows(tmp_path / "synth" / "pairs.parquet", Pair)
    dropped = read_rows(tmp_path / "synth" / "dropped.parquet", Dropped)
    assert result.rows["pairs"] + result.rows["dropped"] == len(NEPALI)
    assert {row.rule for row in dropped} == {"translation_cut"}
    assert all(row.detail.startswith("no end token after 40 tokens") for row in dropped)
    assert made[0].source_text == ENGLISH[0]
    translator = CTranslate2Translator(config.synth.translate, load("npi_Deva"))  # type: ignore[union-attr, arg-type]
    by_id = {pair.document_id: pair for pair in made}
    assert len(by_id) > 3
    for index, text in enumerate(NEPALI[1:], 1):
        (expected,) = translator.translate([text])
        assert (f"0:{index}" in by_id) == expected.ended
        if expected.ended:
            pair = by_id[f"0:{index}"]
            assert (pair.source_text, pair.target_text) == (expected.text, text)
            assert (pair.id, pair.source_origin, pair.translator) == (
                f"translation:0:{index}",
                "synthetic",
                "cutting",
            )
            assert pair.license == "CC-BY-4.0 AND CC-BY-NC-4.0"


def test_translation_stops_at_its_limit(tmp_path: Path, ending_model: Path) -> None:
    write_corpus(tmp_path, NEPALI)
    config = make_config(translate=translate_settings(ending_model, limit=3), max_length_ratio=50.0)
    assert step.run(config, tmp_path).rows["pairs"] == 3


class Dying:
    """A translator that is killed at its n-th shard."""

    def __init__(self, inner: CTranslate2Translator, killed_at: int) -> None:
        self.inner = inner
        self.name = inner.name
        self.left = killed_at

    def translate(self, texts: list[str]) -> list[Translation]:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.inner.translate(texts)


def test_killed_and_run_again_gives_the_same_bytes(
    tmp_path: Path, cutting_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "SHARD", 2)
    settings = translate_settings(cutting_model)
    pairs = (
        write_pairs(tmp_path / "p.jsonl", list(zip(ENGLISH[:3], NEPALI[:3], strict=True))),
        write_pairs(tmp_path / "q.jsonl", [(ENGLISH[0], NEPALI[0]), (ENGLISH[6], NEPALI[6])]),
    )
    instruction = {"instruction": "के हो?", "output": "काठमाडौं।", "language": "npi_Deva"}
    other = {"instruction": "के होइन?", "output": "काठमाडौं।", "language": "npi_Deva"}
    instructions = (write_instructions(tmp_path / "i.jsonl", [instruction, other, instruction]),)
    config = make_config(pairs=pairs, instructions=instructions, translate=settings, max_length_ratio=50.0)
    assert config.synth
    real = CTranslate2Translator(settings, load("npi_Deva"))
    texts = [*NEPALI, "हरिकी आमा गाउँमा बस्नुहुन्छ।"]
    write_corpus(tmp_path / "whole", texts)
    whole = step.make(config, config.synth, tmp_path / "whole", lambda _: real)
    assert whole.rows["instructions"] == 2
    for killed_at in (1, 2):
        root = tmp_path / f"killed{killed_at}"
        write_corpus(root, texts)
        dying = Dying(real, killed_at)
        with pytest.raises(KeyboardInterrupt):
            step.make(config, config.synth, root, lambda _, dying=dying: dying)  # type: ignore[misc]
        assert "pairs.parquet" not in contents(root / "synth")
        counted = Dying(real, 100)
        again = step.make(config, config.synth, root, lambda _, counted=counted: counted)  # type: ignore[misc]
        assert again == whole
        assert 100 - counted.left == 2 - (killed_at - 1)  # four documents in shards of two
        assert contents(root / "synth") == contents(tmp_path / "whole" / "synth")


def test_a_killed_pair_shard_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "SHARD", 2)
    rows = [*zip(ENGLISH, NEPALI, strict=True), (ENGLISH[0], NEPALI[0])]
    config = make_config(pairs=(write_pairs(tmp_path / "p.jsonl", rows),))
    whole = step.run(config, tmp_path / "whole")
    assert whole.rows == {"pairs": 7, "instructions": 0, "dropped": 1}
    written = step.Shards.write
    for killed_at in (1, 3, 4):
        left = killed_at

        def dying(self: step.Shards, *rest: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            written(self, *rest)

        root = tmp_path / f"killed{killed_at}"
        with monkeypatch.context() as patch:
            patch.setattr(step.Shards, "write", dying)
            with pytest.raises(KeyboardInterrupt):
                step.run(config, root)
        assert step.run(config, root) == whole
        assert contents(root) == contents(tmp_path / "whole")


def test_nothing_asked_and_nothing_left(tmp_path: Path, ending_model: Path) -> None:
    with pytest.raises(UserError, match="gives nothing to do"):
        step.run(make_config(), tmp_path)
    pairs = write_pairs(tmp_path / "p.jsonl", [(ENGLISH[0], ENGLISH[0]), (ENGLISH[1], "")])
    with pytest.raises(
        UserError, match="none of the pairs is left: 2 read, dropped: 1 empty_side, 1 untranslated"
    ):
        step.run(make_config(pairs=(pairs,)), tmp_path / "a")
    (tmp_path / "i.json").write_text("[]")
    with pytest.raises(UserError, match="none of the instructions is left: 0 read, the inputs are empty"):
        step.run(make_config(instructions=(InstructionInput(path=str(tmp_path / "i.json")),)), tmp_path / "b")
    with pytest.raises(UserError, match="translates the corpus"):
        step.run(make_config(translate=translate_settings(ending_model)), tmp_path / "c")


@pytest.mark.real
def test_real_parallel_text(real_data: Path, tmp_path: Path) -> None:
    flores, tico = real_data / "parallel/flores200", real_data / "parallel/tico19"
    pairs = (
        PairInput(source=str(flores / "eng_Latn.devtest"), target=str(flores / "npi_Deva.devtest")),
        PairInput(source=str(tico / "tico19-test.eng"), target=str(tico / "tico19-test.nep")),
        PairInput(source=str(flores / "eng_Latn.devtest"), target=str(flores / "hin_Deva.devtest")),
    )
    step.run(make_config(pairs=pairs), tmp_path)
    nepali, medical, hindi = read_json(tmp_path / "synth" / "stats.json")["inputs"]
    assert nepali["read"] == 1012 and nepali["kept"] >= 1000
    assert medical["read"] == 2100 and medical["kept"] >= 2040
    assert hindi["kept"] <= 1
