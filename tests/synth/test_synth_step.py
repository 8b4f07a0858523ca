import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
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
from anukul.progress import Bar
from anukul.records import Document, Dropped, Instruction, Pair, PairSample, read_rows, write_rows
from anukul.rundir import read_json
from anukul.synth import state, step, translations
from anukul.synth.translate import Translation, Translator, make_translator, name_of

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


# random weights write no English, and of any length
LOOSE = {"max_length_ratio": 50.0, "source_language_check": False}


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
    assert result.rows == {"pairs": 2, "instructions": 0, "dropped": 3, "samples": 5}
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
        rules=["html", "white_space"],
    )
    assert (second.id, second.document_id, second.rules) == ("0:1", "", [])
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
    config = make_config(pairs=(pairs,), translate=translate_settings(cutting_model), **LOOSE)
    result = step.run(config, tmp_path)
    made = read_rows(tmp_path / "synth" / "pairs.parquet", Pair)
    dropped = read_rows(tmp_path / "synth" / "dropped.parquet", Dropped)
    assert result.rows["pairs"] + result.rows["dropped"] == len(NEPALI)
    cut = [row for row in dropped if row.rule == "not_ended"]
    assert cut and all(row.detail.startswith("no end token after 40 tokens") for row in cut)
    assert {row.rule for row in dropped} <= {"not_ended", "repetition"}  # random weights also run in loops
    assert made[0].source_text == ENGLISH[0]
    asked = translate_settings(cutting_model)
    translator = make_translator(asked, load("npi_Deva"), load("eng_Latn"), 0)
    by_id = {pair.document_id: pair for pair in made}
    assert len(by_id) > 2
    for index, text in enumerate(NEPALI[1:], 1):
        (expected,) = translator.translate([text])
        assert (f"0:{index}" in [row.id for row in cut]) == (not expected.ended)
        if f"0:{index}" in by_id:
            pair = by_id[f"0:{index}"]
            assert (pair.source_text, pair.target_text) == (expected.text, text)
            assert (pair.id, pair.source_origin, pair.translator) == (
                f"translation:0:{index}",
                "synthetic",
                name_of(asked),
            )
            assert pair.license == "CC-BY-4.0 AND CC-BY-NC-4.0"
            assert pair.translator_license == "CC-BY-NC-4.0"
    stats = read_json(tmp_path / "synth" / "stats.json")
    (told,) = stats["translators"]
    assert (
        told["id"] == name_of(asked) and told["license"] == "CC-BY-NC-4.0" and len(told["fingerprint"]) == 64
    )
    assert stats["inputs"][1]["tokens"] > 0


def test_a_translated_pair_bears_the_rules_of_both_sides(
    tmp_path: Path, ending_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Document("0:0", NEPALI[0], "npi_Deva", "news", "CC0", ["mojibake"])]
    write_rows(tmp_path / "corpus" / "documents.parquet", rows, Document)
    settings = translate_settings(ending_model)
    spaced = Spaced(make_translator(settings, load("npi_Deva"), load("eng_Latn"), 0))
    monkeypatch.setattr(translations, "make_translator", lambda *_: spaced)
    step.run(make_config(translate=settings, **LOOSE), tmp_path)
    (pair,) = read_rows(tmp_path / "synth" / "pairs.parquet", Pair)
    assert pair.rules == ["mojibake", "white_space"]


class Spaced:
    """A translator that leaves spaces behind."""

    def __init__(self, inner: Translator) -> None:
        self.inner = inner
        self.name = inner.name

    def translate(self, texts: list[str]) -> list[Translation]:
        return [replace(one, text=f"{one.text}   ") for one in self.inner.translate(texts)]


def test_pairs_that_were_given_as_translated_name_their_translator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(ENGLISH[0], NEPALI[0])]
    given = write_pairs(tmp_path / "p.jsonl", rows).model_dump() | {"origin": "synthetic"}
    for more, by, license_name, of_rows in (
        ({"translator": "nllb-3.3B"}, "nllb-3.3B", "CC-BY-NC-4.0", "CC0 AND CC-BY-NC-4.0"),
        ({"translator": "ours", "translator_license": "MIT"}, "ours", "MIT", "CC0 AND MIT"),
        ({}, "unknown", "unknown", "CC0"),
    ):
        root = tmp_path / by
        step.run(make_config(pairs=(PairInput(**{**given, **more}),)), root)
        (pair,) = read_rows(root / "synth" / "pairs.parquet", Pair)
        assert (pair.translator, pair.translator_license, pair.license) == (by, license_name, of_rows)
        (told,) = read_json(root / "synth" / "stats.json")["translators"]
        assert (told["id"], told["license"]) == (by, license_name)
        said = " ".join(capsys.readouterr().err.split())
        assert ("p.jsonl (pairs): translator is unknown; name it in run.yaml" in said) == (not more)
    with pytest.raises(ValueError, match="goes with `origin: synthetic`"):
        PairInput(source="p", translator="ours")


def test_what_nobody_has_named_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = write_pairs(tmp_path / "p.jsonl", [(ENGLISH[0], NEPALI[0])])
    rows = [{"instruction": "नेपालको राजधानी के हो?", "output": "काठमाडौं।", "language": "npi_Deva"}]
    one = write_instructions(tmp_path / "i.jsonl", rows)
    bare = make_config(
        pairs=(PairInput(source=pairs.source),), instructions=(InstructionInput(path=one.path),)
    )
    step.run(bare, tmp_path / "bare")
    said = " ".join(capsys.readouterr().err.split())
    assert "p.jsonl (pairs): name and license are unknown; name them in run.yaml" in said
    assert "i.jsonl (instructions): source and license are unknown" in said
    step.run(make_config(pairs=(pairs,), instructions=(one,)), tmp_path / "named")
    assert "unknown" not in capsys.readouterr().err


def test_rows_that_a_license_forbids_are_refused_before_they_are_translated(
    tmp_path: Path, ending_model: Path
) -> None:
    rows = [Document("0:0", NEPALI[0], "npi_Deva", "news", "CC-BY-NC-4.0", [])]
    write_rows(tmp_path / "corpus" / "documents.parquet", rows, Document)
    translate = TranslateSettings(model=str(ending_model), license="MIT", source_prefix=("npi_Deva",))
    config = make_config(translate=translate, **LOOSE).model_copy(update={"license": "commercial"})
    with pytest.raises(UserError, match=r"refuses 1 rows of corpus/documents.parquet under 'CC-BY-NC-4.0'"):
        step.run(config, tmp_path)
    assert not (tmp_path / "synth").exists()
    # and of given rows whose translator may not be used so
    pairs = write_pairs(tmp_path / "p.jsonl", [(ENGLISH[0], NEPALI[0])])
    given = PairInput(**{**pairs.model_dump(), "license": "MIT", "origin": "synthetic", "translator": "x"})
    commercial = make_config(pairs=(given,)).model_copy(update={"license": "commercial"})
    with pytest.raises(UserError, match=r"refuses 1 rows of synth/pairs.parquet under 'unknown'"):
        step.run(commercial, tmp_path)


def test_translation_stops_at_its_limit(tmp_path: Path, ending_model: Path) -> None:
    write_corpus(tmp_path, NEPALI)
    config = make_config(translate=translate_settings(ending_model, limit=3), **LOOSE)
    assert step.run(config, tmp_path).rows["pairs"] == 3


class Dying:
    """A translator that is killed at its n-th shard, and counts."""

    def __init__(self, inner: Translator, killed_at: int) -> None:
        self.inner = inner
        self.name = inner.name
        self.killed_at = killed_at
        self.asked = 0

    def translate(self, texts: list[str]) -> list[Translation]:
        self.asked += 1
        if self.asked == self.killed_at:
            raise KeyboardInterrupt
        return self.inner.translate(texts)


def test_what_an_earlier_process_did_is_no_part_of_the_rate_and_the_model_is_hashed_once(
    tmp_path: Path, ending_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = translate_settings(ending_model)
    config = make_config(translate=settings, **LOOSE)
    write_corpus(tmp_path, NEPALI)
    real = make_translator(settings, load("npi_Deva"), load("eng_Latn"), 0)
    monkeypatch.setattr(translations, "make_translator", lambda *_: Dying(real, 3))
    with pytest.raises(KeyboardInterrupt):
        step.run(config, tmp_path)
    seen: list[Bar] = []
    bar = translations.bar

    @contextmanager
    def kept(*given: Any) -> Iterator[Bar]:
        with bar(*given) as state:
            seen.append(state)
            yield state
        assert state.rate == pytest.approx(3 / state.seconds, rel=0.2)  # seven documents, four done before

    hashed: list[str] = []
    name = translations.name_of
    monkeypatch.setattr(translations, "bar", kept)
    monkeypatch.setattr(translations, "make_translator", lambda *_: real)
    monkeypatch.setattr(translations, "name_of", lambda one: hashed.append(name(one)) or hashed[-1])
    step.run(config, tmp_path)
    assert [state.done for state in seen] == [7]
    assert hashed == [name_of(settings)]


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
    config = make_config(pairs=pairs, instructions=instructions, translate=settings, **LOOSE)
    real = make_translator(settings, load("npi_Deva"), load("eng_Latn"), 0)
    texts = [*NEPALI, "हरिकी आमा गाउँमा बस्नुहुन्छ।"]
    write_corpus(tmp_path / "whole", texts)
    whole = step.run(config, tmp_path / "whole")
    assert whole.rows["instructions"] == 2
    for killed_at in (1, 2):
        root = tmp_path / f"killed{killed_at}"
        write_corpus(root, texts)
        monkeypatch.setattr(translations, "make_translator", lambda *_, at=killed_at: Dying(real, at))
        with pytest.raises(KeyboardInterrupt):
            step.run(config, root)
        assert "pairs.parquet" not in contents(root / "synth")
        counted = Dying(real, 0)
        monkeypatch.setattr(translations, "make_translator", lambda *_, counted=counted: counted)
        assert step.run(config, root) == whole
        assert counted.asked == 2 - (killed_at - 1)  # four documents in shards of two
        assert contents(root / "synth") == contents(tmp_path / "whole" / "synth")


def test_one_bad_document_is_dropped_and_many_stop_the_step(
    tmp_path: Path, ending_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "घर " * 290 + "।"
    settings = translate_settings(ending_model, max_output_tokens=1000, batch_tokens=64)
    config = make_config(translate=settings, **{**LOOSE, "max_length_ratio": 5000.0})
    write_corpus(tmp_path / "one", [NEPALI[0], long, NEPALI[5]])
    step.run(config, tmp_path / "one")
    dropped = read_rows(tmp_path / "one" / "synth" / "dropped.parquet", Dropped)
    assert ("0:1", "translation_failed") in [(row.id, row.rule) for row in dropped]
    assert ("0:0", "translation_failed") not in [(row.id, row.rule) for row in dropped]
    monkeypatch.setattr(state, "MAY_FAIL", 1)
    write_corpus(tmp_path / "many", [NEPALI[0], long, f"{long} घर।" * 2, NEPALI[5]])
    with pytest.raises(UserError, match=r"2 translations failed, more than synth\.translate\.max_failed"):
        step.run(config, tmp_path / "many")


def test_the_organic_side_of_synthetic_pairs_is_unique(tmp_path: Path) -> None:
    rows = [(ENGLISH[0], NEPALI[0]), ("Ram ate the rice up.", NEPALI[0]), (ENGLISH[0], "रामले भात खाए।")]

    def rules(**more: Any) -> list[str]:
        item = write_pairs(tmp_path / "p.jsonl", rows).model_copy(
            update={"origin": more.pop("origin", "organic")}
        )
        root = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        step.run(make_config(pairs=(item,), **more), root)
        return [
            row.id
            for row in read_rows(root / "synth" / "dropped.parquet", Dropped)
            if row.rule == "duplicate_side"
        ]

    assert rules() == []
    assert rules(origin="synthetic") == ["0:1"]
    assert rules(unique_side="target") == ["0:1"]
    assert rules(unique_side="source") == ["0:2"]
    assert rules(unique_side="both") == ["0:1", "0:2"]
    assert rules(origin="synthetic", unique_side="none") == []


def test_what_the_run_evaluates_on_is_kept_out_on_both_sides(tmp_path: Path) -> None:
    nepali = tmp_path / "held-out.ne"
    nepali.write_text(NEPALI[6] + "\n", encoding="utf-8")
    english = tmp_path / "held-out.en"
    english.write_text(ENGLISH[3] + "\n", encoding="utf-8")
    texts = [
        {"name": "ne", "path": str(nepali), "language": "npi_Deva"},
        {"name": "en", "path": str(english), "language": "eng_Latn"},
    ]
    asked = {"instruction": "Translate into English.", "input": NEPALI[0], "language": "eng_Latn"}
    rows = [{**asked, "output": ENGLISH[0]}, {**asked, "input": NEPALI[3], "output": ENGLISH[3]}]
    plain = make_config(
        pairs=(write_pairs(tmp_path / "pairs.jsonl", list(zip(ENGLISH, NEPALI, strict=True))),),
        instructions=(write_instructions(tmp_path / "asked.jsonl", rows),),
    ).model_dump()
    config = RunConfig.model_validate({**plain, "evaluate": {"bits_per_byte": texts}})
    step.run(config, tmp_path / "run")
    dropped = read_rows(tmp_path / "run/synth/dropped.parquet", Dropped)
    assert [(row.rule, row.text.split("\t")[0]) for row in dropped[:2]] == [
        ("contaminated", ENGLISH[3]),
        ("contaminated", ENGLISH[6]),
    ]
    assert dropped[2].rule == "contaminated" and ENGLISH[3] in dropped[2].text and len(dropped) == 3
    found = read_json(tmp_path / "run/synth/contamination.json")
    touched = {name: (one["items_touched"], one["rows_dropped"]) for name, one in found["sets"].items()}
    assert found["dropped"] == 3
    assert touched == {"bits_per_byte.ne": (1, 1), "bits_per_byte.en": (1, 2)}
    assert found["sets"]["bits_per_byte.ne"]["sides"] == {"pairs.target": 1}
    assert found["sets"]["bits_per_byte.en"]["sides"] == {"instructions.output": 1, "pairs.source": 1}
    assert found["sets"]["bits_per_byte.en"]["touched"] == ["1"]
    off = {"inputs": [{"path": str(nepali)}], "decontaminate": None}
    config = RunConfig.model_validate({**plain, "evaluate": {"bits_per_byte": texts}, "corpus": off})
    step.run(config, tmp_path / "off")
    assert not read_rows(tmp_path / "off/synth/dropped.parquet", Dropped)
    assert not (tmp_path / "off/synth/contamination.json").exists()


class Repeating:
    """A translator that knows one sentence, and does not come to its end with the first text."""

    name = "one"

    def translate(self, texts: list[str]) -> list[Translation]:
        return [Translation(ENGLISH[3], place > 0, 5) for place, _ in enumerate(texts)]


def test_a_translation_that_falls_for_another_reason_touches_no_item(
    tmp_path: Path, ending_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "held-out.en").write_text(ENGLISH[3] + "\n", encoding="utf-8")
    text = {"name": "en", "path": str(tmp_path / "held-out.en"), "language": "eng_Latn"}
    plain = make_config(translate=translate_settings(ending_model), **LOOSE).model_dump()
    write_corpus(tmp_path / "run", [NEPALI[0], NEPALI[3]])
    monkeypatch.setattr(translations, "make_translator", lambda *_: Repeating())
    with pytest.raises(UserError, match="1 contaminated, 1 not_ended"):
        step.run(RunConfig.model_validate({**plain, "evaluate": {"bits_per_byte": [text]}}), tmp_path / "run")
    found = read_json(tmp_path / "run/synth/contamination.json")
    assert found["dropped"] == 1 and found["sets"]["bits_per_byte.en"]["rows_dropped"] == 1


def test_samples_are_bounded_and_drawn_by_seed(tmp_path: Path) -> None:
    rows = [
        (f"{text} {i}", f"{other} {i}") for i in range(9) for text, other in zip(ENGLISH, NEPALI, strict=True)
    ]
    rows += [(f"{ENGLISH[0]} {i}", f"{NEPALI[0]} {i + 1}") for i in range(20, 30)]
    item = write_pairs(tmp_path / "p.jsonl", rows)
    made = {}
    for seed in (0, 0, 1):
        root = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        config = make_config(pairs=(item,), samples=4).model_copy(update={"seed": seed})
        step.run(config, root)
        found = read_rows(root / "synth" / "samples.parquet", PairSample)
        assert Counter(row.rule for row in found) == {"": 4, "numbers_differ": 4}
        assert all(len(row.text.split("\t")) == 2 for row in found)
        assert all(bool(row.rule) == bool(row.detail) for row in found)
        assert made.setdefault(seed, found) == found
    assert made[0] != made[1]


def test_models_that_score_pairs_record_and_drop(tmp_path: Path, ending_model: Path) -> None:
    plain = {"model": str(ending_model), "max_output_tokens": 60}
    item = write_pairs(tmp_path / "p.jsonl", list(zip(ENGLISH, NEPALI, strict=True)))
    config = make_config(
        pairs=(item,),
        forced_score={"translator": plain},
        round_trip={"translator": {**plain, "license": "MIT"}},
    )
    step.run(config, tmp_path / "a")
    pairs = read_rows(tmp_path / "a" / "synth" / "pairs.parquet", Pair)
    assert len(pairs) == len(NEPALI)
    scores = sorted(pair.score for pair in pairs if pair.score is not None)
    assert len(scores) == len(pairs) and scores[-1] < 0
    assert all(pair.round_trip is not None and 0 <= pair.round_trip <= 100 for pair in pairs)
    filters = read_json(tmp_path / "a" / "synth" / "stats.json")["filters"]
    assert filters["forced_score"]["min_score"] is None and filters["round_trip"]["license"] == "MIT"
    middle = scores[len(scores) // 2]
    config = make_config(pairs=(item,), forced_score={"translator": plain, "min_score": middle})
    step.run(config, tmp_path / "b")
    kept = read_rows(tmp_path / "b" / "synth" / "pairs.parquet", Pair)
    assert [pair.score for pair in kept] == [pair.score for pair in pairs if (pair.score or 0) >= middle]
    config = make_config(pairs=(item,), round_trip={"translator": plain, "min_chrf": 100.0})
    with pytest.raises(UserError, match="7 round_trip"):
        step.run(config, tmp_path / "c")


def test_a_killed_pair_shard_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "SHARD", 2)
    rows = [*zip(ENGLISH, NEPALI, strict=True), (ENGLISH[0], NEPALI[0])]
    config = make_config(pairs=(write_pairs(tmp_path / "p.jsonl", rows),))
    whole = step.run(config, tmp_path / "whole")
    assert whole.rows == {"pairs": 7, "instructions": 0, "dropped": 1, "samples": 8}
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
