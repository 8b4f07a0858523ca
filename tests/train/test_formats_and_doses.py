"""Spans, directions, tags and turns of the formats; doses by tokens; what an adapter says of its data; `--show`."""

import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_stage import ENGLISH, NEPALI, document, make_run, pair
from pydantic import ValidationError
from rich.console import Console

from anukul.config import ModelSettings, RunConfig, Stage, TrainSettings, TranslationFormat
from anukul.errors import UserError
from anukul.model.base import load_tokenizer
from anukul.records import Document, Instruction, Pair, read_rows, write_rows
from anukul.rundir import read_json
from anukul.train import data, show
from anukul.train.data import own_examples, own_rows, replay_examples
from anukul.train.doses import mix, seen
from anukul.train.formats import Example, Formatter, Mark
from anukul.train.plan import plan_stage
from anukul.train.provenance import check_licenses, files_of
from anukul.train.step import count_rows, run_stage


@pytest.fixture(scope="module")
def formatter(tiny_base: Path) -> Formatter:
    tokenizer = load_tokenizer(ModelSettings(path=str(tiny_base), quantization="none"))
    return Formatter(tokenizer, int(tokenizer.bos_token_id), "npi_Deva", "eng_Latn")


def spans(segments: list[Any]) -> list[tuple[str, bool, str]]:
    return [(segment.text, segment.learnt, segment.origin) for segment in segments]


def test_a_pair_is_written_either_way_and_says_who_wrote_each_side(formatter: Formatter) -> None:
    one = pair(0)
    assert spans(formatter.translation(one)) == [
        (f"English: {ENGLISH[0]}\nNepali:", False, "synthetic"),
        (f" {NEPALI[0]}", True, "organic"),
    ]
    assert spans(formatter.translation(one, to_target=False)) == [
        (f"Nepali: {NEPALI[0]}\nEnglish:", False, "organic"),
        (f" {ENGLISH[0]}", True, "synthetic"),
    ]


def test_tags_stand_on_the_given_side(formatter: Formatter) -> None:
    tagged = TranslationFormat(tags=("direction", "origin"))
    given, learnt = formatter.translation(pair(0), asked=tagged)
    assert given.text.startswith("<2npi_Deva> <synthetic> English:") and learnt.text == f" {NEPALI[0]}"
    organic = pair(0)
    organic.source_origin = "organic"
    given, _ = formatter.translation(organic, to_target=False, asked=tagged)
    assert given.text.startswith("<2eng_Latn> Nepali:")


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.7, 1.0])
def test_directions_hold_their_share(
    tmp_path: Path, tiny_base: Path, formatter: Formatter, share: float
) -> None:
    make_run(tmp_path, tiny_base)
    stage = Stage.model_validate(
        {"name": "t", "format": "translation", "translation": {"to_target_share": share}}
    )
    rows = list(own_rows(tmp_path, stage, formatter))
    towards = [one.mark.direction for one in rows].count("to_target")
    assert len(rows) == 24 and abs(towards - 24 * share) < 1
    learnt = [one.segments[1].text.strip()[0] for one in rows]
    assert sum(letter > "ऀ" for letter in learnt) == towards  # what is learnt is in the language


def test_a_bilingual_segment_keeps_its_tokens_and_knows_its_sides(formatter: Formatter) -> None:
    (segment,) = formatter.bilingual(pair(0, 2), start=1)
    assert segment.text == f"{NEPALI[0]} {ENGLISH[1]}" and segment.origin == "mixed"
    assert segment.parts == ((NEPALI[0], "organic"), (f" {ENGLISH[1]}", "synthetic"))
    uneven = pair(0, 2)
    uneven.target_text = NEPALI[0]
    (segment,) = formatter.bilingual(uneven, start=0)
    assert (
        "".join(text for text, _ in segment.parts)
        == segment.text
        == f"{ENGLISH[0]} {ENGLISH[1]}\n{NEPALI[0]}"
    )


def test_every_answer_of_a_conversation_is_learnt_with_its_end(formatter: Formatter) -> None:
    row = Instruction(
        "i", "के हो?", "", "भात", "npi_Deva", "t", "CC0", turns=["अनि?", "चिया"], system="छोटो भन।"
    )
    segments = formatter.instruct(row)
    assert spans(segments) == [
        ("छोटो भन।\nप्रश्न: के हो?\nउत्तर:", False, "organic"),
        (" भात", True, "organic"),
        ("\nप्रश्न: अनि?\nउत्तर:", False, "organic"),
        (" चिया", True, "organic"),
    ]
    (example,) = formatter.encode([segments])
    ids, end = example.ids.tolist(), formatter.end_id
    ends = [place for place, token in enumerate(ids) if token == end]
    assert len(ends) == 2 and ends[-1] == len(ids) - 1 and all(example.learnt[ends])
    told = formatter.tokenizer.decode(
        [ids[place] for place in np.flatnonzero(example.learnt) if ids[place] != end]
    )
    assert told == " भात चिया" and not example.splittable


def plain(amount: int, length: int, origin: str = "organic", source: str = "s") -> list[Example]:
    return [
        Example(np.ones(length, np.int32), np.ones(length, np.bool_), origin=origin, source=source)
    ] * amount


def stage_of(**more: Any) -> Stage:
    return Stage.model_validate({"name": "s", "format": "text", **more})


def test_nothing_is_mixed_where_nobody_asks() -> None:
    own = plain(5, 10)
    assert mix(own, stage_of(), 64, 0) is own


@pytest.mark.parametrize(("by", "small"), [("tokens", 60), ("rows", 60)])
def test_shares_hold_by_tokens_or_by_rows(by: str, small: int) -> None:
    own = plain(small, 30, source="clean") + plain(1000, 10, source="web") + plain(9, 10, source="bad")
    stage = stage_of(shares={"clean": 0.3, "web": 0.7, "bad": 0}, shares_by=by)
    mixed = mix(own, stage, 64, 0)
    tokens: Counter[str] = Counter()
    for example in mixed:
        tokens[example.source] += len(example.ids) if by == "tokens" else 1
    assert tokens["bad"] == 0 and abs(tokens["clean"] / tokens.total() - 0.3) < 0.01
    assert tokens["clean"] == (1800 if by == "tokens" else 60)  # the one that runs out is read whole
    assert [example.source for example in mixed] == sorted(
        example.source for example in mixed
    )  # order is kept
    assert [id(one) for one in mix(own, stage, 64, 0)] == [id(one) for one in mixed]


def test_shares_of_what_is_not_there_are_refused() -> None:
    own = plain(5, 10, source="web")
    with pytest.raises(UserError, match="shares names 'wbe'; the sources of its rows are 'web'"):
        mix(own, stage_of(shares={"wbe": 1.0}), 64, 0)
    with pytest.raises(UserError, match="shares does not name 'web'"):
        mix(own + plain(1, 10, source="x"), stage_of(shares={"x": 1.0}), 64, 0)
    with pytest.raises(UserError, match="repeat names 'y'"):
        mix(own, stage_of(repeat={"y": 2}), 64, 0)
    with pytest.raises(
        UserError, match="asks for a share of synthetic, of which there is no row; there are organic"
    ):
        mix(own, stage_of(doses={"synthetic": 0.5, "organic": 0.5}), 64, 0)


def test_doses_of_synthetic_organic_and_replay_are_what_the_stage_sees() -> None:
    own = plain(900, 12, "synthetic") + plain(400, 15, "organic")
    replay = [Example(np.ones(9, np.int32), np.ones(9, np.bool_), replay=True)] * 50
    stage = stage_of(doses={"synthetic": 0.3, "organic": 0.5, "replay": 0.2})
    settings = TrainSettings(stages=(stage,), context=64, batch_tokens=128)
    assert settings.of(stage).replay_share == 0.2
    plan = plan_stage(own, replay, settings, stage, seed=1)
    shares = {row["origin"]: row["share"] for row in seen(plan.used(plan.steps))}
    assert {name: round(float(str(share)), 2) for name, share in shares.items()} == {
        "organic": 0.5, "synthetic": 0.3, "replay": 0.2,
    }  # fmt: skip
    rows = count_rows(plan, plan.steps)
    assert abs(rows["synthetic_tokens"] / rows["tokens"] - 0.3) < 0.01


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"doses": {"synthetic": 0.5, "organic": 0.2}}, "make 1 together, they make 0.7"),
        ({"doses": {"organic": 1.0}, "replay_share": 0.1}, "leave replay_share"),
        ({"doses": {"organic": 1.0}, "shares": {"a": 1.0}}, "give one of them"),
        ({"shares": {"a": 0.5}}, "they make 0.5"),
        ({"repeat": {"a": 0}}, "once or more"),
        ({"translation": {"to_target_share": 0.5}}, "goes with `format: translation`"),
    ],
)
def test_mixes_that_cannot_be_are_refused_with_the_config(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        stage_of(**wrong)


def test_duplicates_are_read_again_up_to_a_cap_and_a_clean_set_by_a_factor(
    tmp_path: Path, tiny_base: Path, formatter: Formatter
) -> None:
    make_run(tmp_path, tiny_base)
    held = [document(i, NEPALI[i], "npi_Deva") for i in range(4)]
    for row, weight, source in zip(held, (1, 2, 9, 1), ("a", "b", "c", "clean"), strict=True):
        row.weight, row.source = weight, source
    write_rows(tmp_path / "corpus/documents.parquet", held, Document)

    def counts(**more: Any) -> list[int]:
        found = Counter(one.source for one in own_examples(tmp_path, stage_of(**more), formatter))
        return [found[row.source] for row in held]

    assert counts() == [1, 1, 1, 1]
    assert counts(rehydrate=3) == [1, 2, 3, 1]
    assert counts(rehydrate=3, repeat={"clean": 5}) == [1, 2, 3, 5]
    pairs = read_rows(tmp_path / "synth/pairs.parquet", Pair)[:4]
    write_rows(tmp_path / "synth/pairs.parquet", pairs, Pair)
    stage = Stage(name="t", format="translation", rehydrate=3)
    assert [one.mark.copies for one in own_rows(tmp_path, stage, formatter)] == [1, 2, 3, 1]


def test_marks_repeat_examples_and_change_no_token(formatter: Formatter) -> None:
    rows = [formatter.text(document(i, NEPALI[i], "npi_Deva")) for i in range(2)]
    bare = formatter.encode(rows)
    marked = formatter.encode(rows, marks=[Mark("a", copies=2), Mark("b")])
    assert [one.source for one in marked] == ["a", "a", "b"]
    assert all(np.array_equal(one.ids, bare[i].ids) for one, i in zip(marked, (0, 0, 1), strict=True))


def test_an_adapter_carries_where_its_data_came_from(tmp_path: Path, tiny_base: Path) -> None:
    config = make_run(tmp_path, tiny_base, replay_share=0.2, lora={"rank": 4, "alpha": 8})
    pairs = read_rows(tmp_path / "synth/pairs.parquet", Pair)
    for one in pairs:
        one.license, one.translator = "CC0 AND CC-BY-NC-4.0", "nllb-600M"
    write_rows(tmp_path / "synth/pairs.parquet", pairs, Pair)
    for index in range(2):
        run_stage(config, tmp_path, index)
    data = read_json(tmp_path / "train/bilingual/adapter/data.json")
    assert data["commercial_use"] == "noncommercial" and data["translators"] == ["nllb-600M"]
    assert data["licenses"]["CC0 AND CC-BY-NC-4.0"] == "noncommercial"
    first, second = data["stages"]
    assert (first["stage"], second["stage"]) == ("translation", "bilingual")
    (held,) = first["files"]["synth/pairs.parquet"]["rows"]
    assert held["rows"] == 24 and held["origin"] == "synthetic" and held["translator"] == "nllb-600M"
    assert abs(sum(row["share"] for row in first["saw"]) - 1) < 1e-4
    assert {row["origin"] for row in first["saw"]} == {"synthetic", "replay"}
    assert data == read_json(tmp_path / "train/bilingual/adapter/data.json")
    commercial = config.model_copy(update={"license": "commercial"})
    with pytest.raises(
        UserError, match=r"refuses 24 rows of synth/pairs.parquet under 'CC0 AND CC-BY-NC-4.0'"
    ):
        run_stage(commercial, tmp_path, 0)


@pytest.mark.parametrize("name", ["translation", "bilingual", "text", "instruct", "replay"])
def test_rows_are_read_and_tokenised_a_portion_at_a_time(
    tmp_path: Path, tiny_base: Path, formatter: Formatter, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make_run(tmp_path, tiny_base)
    pairs = read_rows(tmp_path / "synth/pairs.parquet", Pair)
    for one in pairs[::5]:
        one.document_id = ""
    write_rows(tmp_path / "synth/pairs.parquet", pairs, Pair)
    documents = read_rows(tmp_path / "corpus/documents.parquet", Document)
    for place, row in enumerate(documents):
        row.weight = 1 + place % 4
    write_rows(tmp_path / "corpus/documents.parquet", documents, Document)
    rehydrate = 1 if name in ("instruct", "replay") else 3

    def make() -> list[Example]:
        if name == "replay":
            return replay_examples(tmp_path, formatter)
        return own_examples(tmp_path, stage_of(format=name, rehydrate=rehydrate), formatter)

    whole = make()
    seen: list[int] = []
    encode = formatter.encode
    monkeypatch.setattr(data, "PORTION", 4)
    monkeypatch.setattr(
        formatter, "encode", lambda rows, *more: seen.append(len(rows)) or encode(rows, *more)
    )
    parts = make()
    assert len(seen) > 2 and max(seen) == 4
    assert len(parts) == len(whole) > (20 if rehydrate == 1 and name != "replay" else 8)
    for one, other in zip(parts, whole, strict=True):
        assert np.array_equal(one.ids, other.ids) and np.array_equal(one.learnt, other.learnt)
        assert (one.source, one.origin, one.direction, one.replay) == (
            other.source,
            other.origin,
            other.direction,
            other.replay,
        )


def test_a_stage_of_both_reads_every_document_once(
    tmp_path: Path, tiny_base: Path, formatter: Formatter
) -> None:
    make_run(tmp_path, tiny_base)
    rows = list(own_rows(tmp_path, stage_of(format="bilingual"), formatter))
    assert [row.id for row in rows] == [f"p{i}" for i in range(24)] + [f"d{i}" for i in range(24, 30)]


def test_text_that_new_pieces_are_cut_from_is_learnt_from_too(tmp_path: Path, tiny_base: Path) -> None:
    config = make_run(tmp_path, tiny_base, vocabulary={"extend": 30})
    documents = read_rows(tmp_path / "corpus/documents.parquet", Document)
    documents[0].license = "CC-BY-NC-4.0"
    write_rows(tmp_path / "corpus/documents.parquet", documents, Document)
    commercial = config.model_copy(update={"license": "commercial"})
    assert config.train is not None
    first, *_, last = config.train.stages
    assert "corpus/documents.parquet" in files_of(config, first)
    assert "corpus/documents.parquet" not in files_of(config, last)
    with pytest.raises(UserError, match=r"refuses 1 rows of corpus/documents.parquet under 'CC-BY-NC-4.0'"):
        check_licenses(commercial, tmp_path, first)
    check_licenses(commercial, tmp_path, last)


def shown(config: RunConfig, root: Path, monkeypatch: pytest.MonkeyPatch, color: bool, count: int = 2) -> str:
    kept = Console
    held: list[io.StringIO] = []

    def make(**given: Any) -> Console:
        held.append(io.StringIO())
        system = "truecolor" if color else None
        return kept(**given, file=held[-1], force_terminal=color, color_system=system, width=200)  # type: ignore[arg-type]

    monkeypatch.setattr("rich.console.Console", make)
    show.show_examples(config, root, count)
    return held[-1].getvalue()


def test_examples_are_printed_as_the_model_sees_them(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_run(tmp_path, tiny_base)
    text = shown(config, tmp_path, monkeypatch, color=False)
    assert "translation (translation): 2 of 24 rows" in text and "instruct (instruct): 2 of 24 rows" in text
    assert (
        text.count("\n— ") == 6 and "given synthetic / learnt organic" in text and "into the language" in text
    )
    line = next(line for line in text.splitlines() if "English" in line.replace("│", "") and "«" in line)
    given, learnt = line.split("«")
    bare = learnt.replace("│", "").translate(str.maketrans("", "", "₀₁₂₃₄₅₆₇₈₉◌"))
    assert (
        bare.startswith("␣") and bare.endswith("»") and any(one in bare.replace("␣", " ") for one in NEPALI)
    )
    assert "Nepali:" in given.replace("│", "")
    colored = shown(config, tmp_path, monkeypatch, color=True)
    assert "\x1b[1;32m" in colored and "«" not in colored
    with pytest.raises(UserError, match="no such stage; there are translation, bilingual, instruct"):
        show.show_examples(config, tmp_path, 1, "nepali")


def test_a_long_text_is_shown_by_its_first_window(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_run(tmp_path, tiny_base)
    assert config.train is not None
    long = [document(77, "क्षेत्रमा झ्याल छ। " * 400, "npi_Deva")]
    write_rows(tmp_path / "corpus/documents.parquet", long, Document)
    write_rows(tmp_path / "synth/pairs.parquet", read_rows(tmp_path / "synth/pairs.parquet", Pair)[:1], Pair)
    text = shown(config, tmp_path, monkeypatch, color=False)
    context = config.train.context
    told = re.search(
        r"([\d,]+) tokens, [\d,]+ learnt · read in (\d+) windows of (\d+), the first is shown", text
    )
    assert told is not None and int(told[3]) == context
    tokens, windows = int(told[1].replace(",", "")), int(told[2])
    assert (windows - 1) * (context - 1) < tokens - 1 <= windows * (context - 1) and windows > 2
    line = text[told.end() :].splitlines()[1]
    assert line.count("│") < context and line.endswith("»")


def test_no_color_is_heeded_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert show.colored(Console(force_terminal=True, color_system="truecolor"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not show.colored(Console(force_terminal=True, color_system="truecolor"))


def test_a_letter_of_several_tokens_is_shown_once(formatter: Formatter) -> None:
    text = "क्षेत्रमा झ्याल 𑒧"  # the last letter is in no text that the tokenizer was made from
    (example,) = formatter.encode([formatter.text(document(0, text, "npi_Deva"))])
    pieces = show.pieces_of(example, formatter)
    assert sum(piece.tokens for piece in pieces) == len(example.ids)
    assert "".join(piece.text for piece in pieces[1:-1]) == text
    assert not any("\ufffd" in piece.text or piece.mixed for piece in pieces)
    assert any(piece.tokens > 1 and "𑒧" in piece.text for piece in pieces)
    assert show.readable(show.Piece("ि", 2, True)) == "◌ि₂"
    assert (
        show.readable(show.Piece(" a\n", 1, True)) == "␣a⏎"
        and show.readable(show.Piece("\u200d", 3, True)) == "⟨ZWJ⟩₃"
    )


@pytest.mark.real
@pytest.mark.parametrize("folder", ["tokenizer/llama3/hf", "model/stories260K"])
def test_real_tokenizers_show_whole_letters(real_data: Path, folder: str) -> None:
    tokenizer = load_tokenizer(ModelSettings(path=str(real_data / folder), quantization="none"))
    formatter = Formatter(tokenizer, int(tokenizer.bos_token_id), "npi_Deva", "eng_Latn")
    lines = (real_data / "parallel/flores200/npi_Deva.devtest").read_text(encoding="utf-8").splitlines()[:50]
    examples = formatter.encode([formatter.text(document(0, line, "npi_Deva")) for line in lines])
    for line, example in zip(lines, examples, strict=True):
        pieces = show.pieces_of(example, formatter)
        assert "".join(piece.text for piece in pieces[1:-1]).strip() == line.strip()
        assert sum(piece.tokens for piece in pieces) == len(example.ids)
