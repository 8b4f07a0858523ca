import json
from pathlib import Path
from typing import Any

import pytest

from anukul.config import CorpusSettings, ModelSettings, RunConfig, TextInput
from anukul.corpus import step
from anukul.corpus.rules import judge
from anukul.errors import UserError
from anukul.languages import load
from anukul.records import Document, Dropped, read_rows
from anukul.rundir import read_json

NEPALI = [
    "रामले भात खायो।",
    "सीता विद्यालय गइन् र किताब पढिन्।",
    "उनले काम गर्‍यो।",
    "किसानले मकै रोप्यो।",
    "केटाकेटीहरू खोलामा खेल्छन्।",
]
HINDI = ["राम ने खाना खाया और घर गया।", "बच्चे नदी के किनारे खेल रहे हैं।", "सीता स्कूल जाती है।"]
ENGLISH = ["Ram ate rice in the village.", "Sita went to school."]
SETTINGS = CorpusSettings(inputs=(TextInput(path="unused"),), max_characters=100)


def make_config(inputs: list[TextInput], **settings: Any) -> RunConfig:
    corpus = CorpusSettings(inputs=tuple(inputs), **settings)
    return RunConfig(name="t", language="npi_Deva", model=ModelSettings(path="unused"), corpus=corpus)


def write_lines(path: Path, lines: list[str]) -> TextInput:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return TextInput(path=str(path), source=path.stem, license="CC0")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "empty"),
        ("छोटो।", "too_short"),
        ("लामो छ। " * 20, "too_long"),
        ("This is not Nepali.", "wrong_script"),
        (HINDI[0], "wrong_language"),
        (NEPALI[0], None),
    ],
)
def test_rules(text: str, rule: str | None) -> None:
    drop = judge(text, load("npi_Deva"), SETTINGS)
    assert (drop and drop.rule) == rule
    if drop:
        assert drop.detail
    if rule == "wrong_language":
        assert drop and drop.looks_like == "hin_Deva"


def test_the_language_check_can_be_left_out() -> None:
    settings = SETTINGS.model_copy(update={"language_check": False})
    assert judge(HINDI[0], load("npi_Deva"), settings) is None


def test_documents_replay_dropped_and_stats(tmp_path: Path) -> None:
    one = write_lines(
        tmp_path / "one.txt", [*NEPALI[:3], "रामले भात खायो ।", HINDI[0], "<b>किसानले</b> मकै रोप्यो।"]
    )
    two = tmp_path / "two.jsonl"
    rows = [
        {"id": "x", "text": NEPALI[4]},
        {"id": "x", "text": "ऊ गाउँमा बस्छ।"},
        {"id": "0:1", "text": "म घर जान्छु।"},
        {"id": 12, "text": "तिमी कहाँ जान्छौ?"},
    ]
    two.write_text("\n".join([*(json.dumps(row) for row in rows), "{", json.dumps({"text": NEPALI[1]})]))
    replay = write_lines(tmp_path / "replay.txt", [*ENGLISH, ENGLISH[0].upper(), NEPALI[0]])
    config = make_config([one, TextInput(path=str(two))], replay=(replay,))
    result = step.run(config, tmp_path)
    folder = tmp_path / "corpus"
    assert sorted(contents(folder)) == sorted(result.outputs)
    assert result.rows == {"documents": 8, "replay": 2, "dropped": 6}
    documents = read_rows(folder / "documents.parquet", Document)
    assert [row.id for row in documents] == ["0:0", "0:1", "0:2", "0:5", "x", "1:1", "1:2", "12"]
    assert documents[2].text == NEPALI[2] and "\u200d" in documents[2].text
    assert documents[3] == Document("0:5", NEPALI[3], "npi_Deva", "one", "CC0", ["html"])
    replayed = read_rows(folder / "replay.parquet", Document)
    assert [(row.id, row.language) for row in replayed] == [
        ("replay:0:0", "eng_Latn"),
        ("replay:0:1", "eng_Latn"),
    ]
    dropped = read_rows(folder / "dropped.parquet", Dropped)
    assert [(row.id, row.rule) for row in dropped] == [
        ("0:3", "exact_duplicate"),
        ("0:4", "wrong_language"),
        ("1:4", "invalid_json"),
        ("1:5", "exact_duplicate"),
        ("replay:0:2", "exact_duplicate"),
        ("replay:0:3", "wrong_script"),
    ]
    assert all(row.detail for row in dropped)
    assert dropped[1].text == HINDI[0]
    stats = read_json(folder / "stats.json")
    first = stats["inputs"][0]
    assert (first["read"], first["kept"], first["license"]) == (6, 4, "CC0")
    assert first["dropped"] == {"exact_duplicate": 1, "wrong_language": 1}
    assert first["looks_like"] == {"hin_Deva": 1}
    assert first["normalized"] == {"html": 1}
    assert first["words"] == 3 + 6 + 3 + 3
    assert first["characters"] == sum(len(row.text) for row in documents[:4])
    assert stats["total"]["corpus"]["read"] == stats["total"]["corpus"]["kept"] + 4 == 12


def test_without_replay_the_file_is_there_and_empty(tmp_path: Path) -> None:
    step.run(make_config([write_lines(tmp_path / "a.txt", NEPALI)]), tmp_path)
    assert read_rows(tmp_path / "corpus" / "replay.parquet", Document) == []


def test_a_dropped_text_is_kept_to_500_characters(tmp_path: Path) -> None:
    item = write_lines(tmp_path / "a.txt", [NEPALI[0], "क" * 3000])
    step.run(make_config([item], max_characters=1000), tmp_path)
    (dropped,) = read_rows(tmp_path / "corpus" / "dropped.parquet", Dropped)
    assert (dropped.rule, len(dropped.text)) == ("too_long", 500)


@pytest.mark.parametrize("killed_at", range(1, 9))
def test_killed_and_run_again_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    monkeypatch.setattr(step, "SHARD", 2)
    rows = [{"id": f"d{index % 4}", "text": text} for index, text in enumerate([*NEPALI, *HINDI, NEPALI[0]])]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    inputs = [
        TextInput(path=str(tmp_path / "a.jsonl")),
        write_lines(tmp_path / "b.txt", [*NEPALI, "म घर जान्छु।"]),
    ]
    replay = (write_lines(tmp_path / "c.txt", [*ENGLISH, *ENGLISH]),)
    config = make_config(inputs, replay=replay)
    whole = step.run(config, tmp_path / "whole")
    written = step.Shards.write
    calls = 0

    def dying(self: step.Shards, *rest: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == killed_at:
            raise KeyboardInterrupt
        written(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(step.Shards, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            step.run(config, tmp_path / "killed")
    assert "corpus/stats.json" not in contents(tmp_path / "killed")
    calls = 0

    def counting(self: step.Shards, *rest: Any) -> None:
        nonlocal calls
        calls += 1
        written(self, *rest)

    monkeypatch.setattr(step.Shards, "write", counting)
    assert step.run(config, tmp_path / "killed") == whole
    assert calls == 10 - (killed_at - 1)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_hindi_corpus_is_refused_by_name(tmp_path: Path) -> None:
    config = make_config([write_lines(tmp_path / "a.txt", [*HINDI, ENGLISH[0]])])
    with pytest.raises(UserError) as caught:
        step.run(config, tmp_path)
    message = str(caught.value)
    assert "no document left: 4 read, dropped: 3 wrong_language, 1 wrong_script" in message
    assert "the text looks like hin_Deva and not npi_Deva (3 of 4)" in message
    assert len(read_rows(tmp_path / "corpus" / "dropped.parquet", Dropped)) == 4


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0 read from .*a.txt; the files are empty"):
        step.run(make_config([write_lines(tmp_path / "a.txt", [])]), tmp_path)


def test_an_empty_replay_is_refused(tmp_path: Path) -> None:
    replay = (write_lines(tmp_path / "b.txt", NEPALI),)
    with pytest.raises(UserError, match="replay: no document left: 5 read, dropped: 5 wrong_script"):
        step.run(make_config([write_lines(tmp_path / "a.txt", NEPALI)], replay=replay), tmp_path)


def test_a_config_without_corpus_is_refused(tmp_path: Path) -> None:
    config = RunConfig(name="t", language="npi_Deva", model=ModelSettings(path="unused"))
    with pytest.raises(UserError, match="no `corpus` section"):
        step.run(config, tmp_path)


@pytest.mark.real
def test_real_news(real_data: Path, tmp_path: Path) -> None:
    inputs = [
        TextInput(path=str(real_data / "mono/ekbana/*.csv"), source="ekbana", license="Apache-2.0"),
        TextInput(path=str(real_data / "parallel/flores200/npi_Deva.devtest"), format="txt"),
        TextInput(path=str(real_data / "parallel/flores200/hin_Deva.devtest"), format="txt"),
    ]
    step.run(make_config(inputs), tmp_path)
    news, nepali, hindi = read_json(tmp_path / "corpus" / "stats.json")["inputs"]
    assert news["read"] == 59 and news["kept"] + news["dropped"].get("exact_duplicate", 0) == 59
    assert nepali["kept"] >= 1010
    assert hindi["kept"] <= 1
    assert hindi["looks_like"]["hin_Deva"] >= 1011
