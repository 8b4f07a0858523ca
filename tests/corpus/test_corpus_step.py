import json
from pathlib import Path
from typing import Any

import pytest

from anukul.config import CorpusSettings, EvaluateSettings, HeldOutText, ModelSettings, RunConfig, TextInput
from anukul.corpus import step, workers
from anukul.corpus.rules import judge
from anukul.errors import UserError
from anukul.languages import load
from anukul.records import Document, Dropped, Duplicate, read_rows
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
    assert result.rows == {"documents": 8, "replay": 2, "dropped": 6, "clusters": 6}
    documents = read_rows(folder / "documents.parquet", Document)
    assert [row.id for row in documents] == ["0:0", "0:1", "0:2", "0:5", "x", "1:1", "1:2", "12"]
    assert documents[2].text == NEPALI[2] and "\u200d" in documents[2].text
    assert documents[3] == Document("0:5", NEPALI[3], "npi_Deva", "one", "CC0", ["html"], "one.txt:6", 1)
    assert [row.weight for row in documents] == [2, 2, 1, 1, 1, 1, 1, 1]
    assert [row.input for row in documents[4:]] == [f"two.jsonl:{row}" for row in range(1, 5)]
    clusters = read_rows(folder / "clusters.parquet", Duplicate)
    assert [(row.kind, row.cluster, row.id, row.kept, row.exact, row.input) for row in clusters] == [
        ("corpus", "0:0", "0:0", True, True, "one.txt:1"),
        ("corpus", "0:1", "0:1", True, True, "one.txt:2"),
        ("corpus", "0:0", "0:3", False, True, "one.txt:4"),
        ("corpus", "0:1", "1:5", False, True, "two.jsonl:6"),
        ("replay", "replay:0:0", "replay:0:0", True, True, "replay.txt:1"),
        ("replay", "replay:0:0", "replay:0:2", False, True, "replay.txt:3"),
    ]
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
    assert read_json(folder / "confusion.json") == {
        "rows": [one.path, str(two)],
        "columns": ["npi_Deva", "hin_Deva", "mar_Deva", "mai_Deva", "bho_Deva"],
        "counts": [[5, 1, 0, 0, 0], [5, 0, 0, 0, 0]],
    }
    stats = read_json(folder / "stats.json")
    first = stats["inputs"][0]
    assert (first["read"], first["kept"], first["license"]) == (6, 4, "CC0")
    assert first["dropped"] == {"exact_duplicate": 1, "wrong_language": 1}
    assert first["looks_like"] == {"hin_Deva": 1}
    assert first["normalized"] == {"html": 1}
    assert first["words"] == 3 + 6 + 3 + 3
    assert first["characters"] == sum(len(row.text) for row in documents[:4])
    assert stats["total"]["corpus"]["read"] == stats["total"]["corpus"]["kept"] + 4 == 12


def test_what_nobody_has_named_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = write_lines(tmp_path / "a.txt", NEPALI)
    unnamed = TextInput(path=str(write_lines(tmp_path / "b.txt", NEPALI).path), source="web")
    step.run(make_config([known, unnamed]), tmp_path)
    said = capsys.readouterr().err
    assert said.count("unknown") == 1
    assert f"corpus: {unnamed.path} (corpus): license is unknown; name it in run.yaml" in said
    stats = read_json(tmp_path / "corpus" / "stats.json")["inputs"]
    assert [item["unknown"] for item in stats] == [[], ["license"]]
    assert [item["revision"] for item in stats] == [None, None]


LONG = [
    "काठमाडौँ उपत्यकामा आज बिहानैदेखि ठूलो पानी परेकाले धेरै सडकमा हिलो जमेको छ भने यातायात रोकिएको छ।",
    "पोखरामा पर्यटकको संख्या यस वर्ष निकै बढेको होटल व्यवसायीले बताएका छन् र उनीहरू खुसी देखिएका छन्।",
    "सरकारले नयाँ शिक्षा नीति ल्याउने तयारी गरेको र त्यसमा सबै दलको सहमति जुटेको मन्त्रीले जानकारी दिए।",
]


def test_near_duplicates_and_what_is_evaluated_on_are_dropped(tmp_path: Path) -> None:
    text = " ".join(LONG)
    near = text.replace("खुसी", "दुखी")
    held = tmp_path / "held.txt"
    held.write_text("यो त अर्कै हो।\nकिसानहरूले खेतमा धान रोप्न सुरु गरेका छन् तर मल नपाएर उनीहरू चिन्तित छन्।\n")
    touched = "हिजो किसानहरूले खेतमा धान रोप्न सुरु गरेका छन् तर मल नपाएर उनीहरू चिन्तित भए।"
    inputs = [write_lines(tmp_path / "a.txt", [text, near, NEPALI[1], touched])]
    config = make_config(inputs).model_copy(
        update={
            "evaluate": EvaluateSettings(
                bits_per_byte=(HeldOutText(name="held", path=str(held), language="npi_Deva"),)
            )
        }
    )
    result = step.run(config, tmp_path)
    assert "contamination.json" in result.outputs
    dropped = read_rows(tmp_path / "corpus" / "dropped.parquet", Dropped)
    assert [(row.id, row.rule) for row in dropped] == [("0:1", "near_duplicate"), ("0:3", "contaminated")]
    assert "like an earlier document, 0:0" in dropped[0].detail
    assert "bits_per_byte.held, item 2" in dropped[1].detail
    found = read_json(tmp_path / "corpus" / "contamination.json")
    assert found["dropped"] == 1
    held_out = found["sets"]["bits_per_byte.held"]
    assert (held_out["items"], held_out["items_touched"], held_out["rows_dropped"]) == (2, 1, 1)
    (first, _) = read_rows(tmp_path / "corpus" / "documents.parquet", Document)
    assert first.weight == 2
    clusters = read_rows(tmp_path / "corpus" / "clusters.parquet", Duplicate)
    assert [(row.id, row.kept, row.exact) for row in clusters] == [("0:0", True, True), ("0:1", False, False)]
    off = make_config(inputs, dedup={"near": False}, decontaminate=None)
    assert step.run(off, tmp_path / "off").rows["documents"] == 4
    assert not (tmp_path / "off" / "corpus" / "contamination.json").exists()


def test_what_holds_a_test_takes_no_clean_text_with_it(tmp_path: Path) -> None:
    """An article with a line of a test, the same article without, and a copy of each."""
    item = "हिजो किसानहरूले खेतमा धान रोप्न सुरु गरेका छन् तर मल नपाएर उनीहरू चिन्तित भए।"
    held = tmp_path / "held.txt"
    held.write_text(f"{item}\n")
    clean = " ".join([*LONG, *(text.replace("छ", "थियो") for text in LONG)])
    texts = [f"{clean} {item}", clean, f"{clean} {item}", clean.replace("खुसी", "दुखी")]
    inputs = [write_lines(tmp_path / "a.txt", texts)]
    evaluate = EvaluateSettings(
        bits_per_byte=(HeldOutText(name="held", path=str(held), language="npi_Deva"),)
    )
    config = make_config(inputs, quality=None)
    step.run(config, tmp_path / "clean")  # nothing is evaluated: the first is the one that stays
    (first,) = read_rows(tmp_path / "clean" / "corpus" / "documents.parquet", Document)
    assert (first.id, first.weight) == ("0:0", 4)
    step.run(config.model_copy(update={"evaluate": evaluate}), tmp_path)
    (row,) = read_rows(tmp_path / "corpus" / "documents.parquet", Document)
    assert (row.id, row.text, row.weight) == ("0:1", clean, 2)
    dropped = read_rows(tmp_path / "corpus" / "dropped.parquet", Dropped)
    assert [(row.id, row.rule) for row in dropped] == [
        ("0:0", "contaminated"),
        ("0:2", "contaminated"),
        ("0:3", "near_duplicate"),
    ]
    assert dropped[2].detail.endswith("like an earlier document, 0:1")
    clusters = read_rows(tmp_path / "corpus" / "clusters.parquet", Duplicate)
    assert [(row.cluster, row.id, row.kept) for row in clusters] == [
        ("0:1", "0:1", True),
        ("0:1", "0:3", False),
    ]
    found = read_json(tmp_path / "corpus" / "contamination.json")["sets"]["bits_per_byte.held"]
    assert (found["rows_dropped"], found["items_touched"]) == (2, 1)


NOTICE = "यो समाचार हाम्रो संवाददाताले पठाएको हो र यसमा सबै अधिकार सुरक्षित छन् भन्ने जानकारी छ।"


def run_documents(folder: Path, documents: list[str], **settings: Any) -> list[Document]:
    folder.mkdir(exist_ok=True)
    path = folder / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in documents))
    step.run(make_config([TextInput(path=str(path))], dedup={"level": "paragraph"}, **settings), folder)
    return read_rows(folder / "corpus" / "documents.parquet", Document)


def test_repeated_paragraphs_are_cut_and_told(tmp_path: Path) -> None:
    near = NOTICE.replace("जानकारी छ", "जानकारी थियो")
    documents = [
        f"{LONG[0]}\n{NOTICE}",
        f"{LONG[1]}\nनेपाल\n{NOTICE}",
        f"{LONG[2]}\nनेपाल",
        NOTICE,
        f"{LONG[1]} {LONG[0]}\n{near}",
    ]
    rows = run_documents(tmp_path, documents)
    assert [row.text for row in rows] == [
        documents[0],
        f"{LONG[1]}\nनेपाल",
        documents[2],
        f"{LONG[1]} {LONG[0]}",
    ]
    assert [row.rules for row in rows] == [[], ["repeated_paragraphs"], [], ["repeated_paragraphs"]]
    gone = read_rows(tmp_path / "corpus" / "dropped.parquet", Dropped)
    assert [(row.id, row.rule, row.text) for row in gone] == [
        ("0:1#1", "repeated_paragraphs", NOTICE),
        ("0:3", "repeated_paragraphs", NOTICE),
        ("0:4#1", "repeated_paragraphs", near),
    ]
    assert gone[0].detail == "the same words stand in an earlier document, 0:0, paragraph 2"
    assert gone[1].detail == "0 characters are left without what earlier ones say"
    assert gone[2].detail.endswith(" like an earlier document, 0:0, paragraph 2")
    stats = read_json(tmp_path / "corpus" / "stats.json")
    total = stats["total"]["corpus"]
    assert (total["read"], total["kept"], total["dropped"]) == (5, 4, {"repeated_paragraphs": 1})
    assert total["cut"] == {"repeated_paragraphs": 2}
    assert stats["rows"]["paragraph_clusters"] == 4
    clusters = read_rows(tmp_path / "corpus" / "paragraph_clusters.parquet", Duplicate)
    assert {row.cluster for row in clusters} == {"0:0, paragraph 2"}
    assert [(row.id, row.kept, row.exact, row.input) for row in clusters] == [
        ("0:0, paragraph 2", True, True, "a.jsonl:1"),
        ("0:1, paragraph 3", False, True, "a.jsonl:2"),
        ("0:3, paragraph 1", False, True, "a.jsonl:4"),
        ("0:4, paragraph 2", False, False, "a.jsonl:5"),
    ]
    assert read_rows(tmp_path / "corpus" / "clusters.parquet", Duplicate) == []


def test_a_paragraph_of_a_text_that_goes_stays_elsewhere(tmp_path: Path) -> None:
    """The first text with the notice holds a test; so the second is the first that has it."""
    held = tmp_path / "held.txt"
    held.write_text(f"{LONG[0]}\n")
    item = HeldOutText(name="held", path=str(held), language="npi_Deva")
    path = tmp_path / "a.jsonl"
    documents = [f"{LONG[0]}\n{NOTICE}", f"{LONG[1]}\n{NOTICE}", f"{LONG[2]}\n{NOTICE}"]
    path.write_text("\n".join(json.dumps({"text": text}) for text in documents))
    config = make_config([TextInput(path=str(path))], dedup={"level": "paragraph"})
    step.run(config.model_copy(update={"evaluate": EvaluateSettings(bits_per_byte=(item,))}), tmp_path)
    rows = read_rows(tmp_path / "corpus" / "documents.parquet", Document)
    assert [row.text for row in rows] == [documents[1], LONG[2]]
    clusters = read_rows(tmp_path / "corpus" / "paragraph_clusters.parquet", Duplicate)
    assert [(row.id, row.kept) for row in clusters] == [
        ("0:1, paragraph 2", True),
        ("0:2, paragraph 2", False),
    ]


def test_a_paragraph_is_never_cut_everywhere(tmp_path: Path) -> None:
    """What is left of the first text is too short; it stays, as the last has lost the same words for its sake."""
    documents = [LONG[1], f"{NOTICE}\n{LONG[1]}", f"{LONG[2]} {LONG[0]}\n{NOTICE}"]
    rows = run_documents(tmp_path, documents, min_characters=95)
    assert len(NOTICE) < 95 < len(LONG[1])
    assert [row.text for row in rows] == [LONG[1], NOTICE, f"{LONG[2]} {LONG[0]}"]


def test_cut_paragraphs_and_masked_numbers_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    english = (
        "This paragraph is written in English, and it has nothing to do with what stands around it here."
    )
    text = f"{LONG[0]}\n{english}\n{LONG[1]} सम्पर्क: info@example.com"
    path.write_text(json.dumps({"text": text}))
    step.run(make_config([TextInput(path=str(path))]), tmp_path)
    (row,) = read_rows(tmp_path / "corpus" / "documents.parquet", Document)
    assert row.rules == ["mask_email", "foreign_paragraph"]
    assert english not in row.text and "[email]" in row.text
    (cut,) = read_rows(tmp_path / "corpus" / "dropped.parquet", Dropped)
    assert (cut.id, cut.rule, cut.text) == ("0:0#1", "foreign_paragraph", english)
    stats = read_json(tmp_path / "corpus" / "stats.json")["total"]["corpus"]
    assert (stats["read"], stats["kept"], stats["dropped"]) == (1, 1, {})
    assert (stats["cut"], stats["masked"]) == ({"foreign_paragraph": 1}, {"email": 1})
    assert stats["languages"] == {"another script": 1, "npi_Deva": 2}


def test_without_replay_the_file_is_there_and_empty(tmp_path: Path) -> None:
    step.run(make_config([write_lines(tmp_path / "a.txt", NEPALI)]), tmp_path)
    assert read_rows(tmp_path / "corpus" / "replay.parquet", Document) == []


def test_a_dropped_text_is_kept_to_500_characters(tmp_path: Path) -> None:
    item = write_lines(tmp_path / "a.txt", [NEPALI[0], "क" * 3000])
    step.run(make_config([item], max_characters=1000), tmp_path)
    (dropped,) = read_rows(tmp_path / "corpus" / "dropped.parquet", Dropped)
    assert (dropped.rule, len(dropped.text)) == ("too_long", 500)


def evaluated(folder: Path, config: RunConfig) -> RunConfig:
    """The config, evaluating on the fourth line of NEPALI."""
    (folder / "held.txt").write_text(f"{NEPALI[3]}\n")
    item = HeldOutText(name="held", path=str(folder / "held.txt"), language="npi_Deva")
    return config.model_copy(update={"evaluate": EvaluateSettings(bits_per_byte=(item,))})


def test_the_same_bytes_with_copies_tests_and_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "SHARD_ROWS", 3)
    texts = [f"{LONG[n % 3]}\n{NOTICE}\n{NEPALI[n % 5]}" for n in range(14)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in [*texts, *LONG, *NEPALI]))
    for count in (1, 2):
        config = make_config([TextInput(path=str(path))], dedup={"level": "paragraph"}, workers=count)
        step.run(evaluated(tmp_path, config), tmp_path / str(count))
    assert contents(tmp_path / "1" / "corpus") == contents(tmp_path / "2" / "corpus")
    stats = read_json(tmp_path / "1" / "corpus" / "stats.json")["total"]["corpus"]
    assert stats["dropped"]["contaminated"] == 1 and stats["cut"]["repeated_paragraphs"] == 2
    assert stats["read"] == stats["kept"] + sum(stats["dropped"].values()) == 22


@pytest.mark.parametrize("killed_at", range(1, 19, 2))
def test_killed_and_run_again_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    monkeypatch.setattr(step, "SHARD_ROWS", 2)
    rows = [{"id": f"d{index % 4}", "text": text} for index, text in enumerate([*NEPALI, *HINDI, NEPALI[0]])]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    inputs = [
        TextInput(path=str(tmp_path / "a.jsonl")),
        write_lines(tmp_path / "b.txt", [*NEPALI, "म घर जान्छु।"]),
    ]
    replay = (write_lines(tmp_path / "c.txt", [*ENGLISH, *ENGLISH]),)
    config = evaluated(tmp_path, make_config(inputs, replay=replay, workers=1, dedup={"level": "paragraph"}))
    whole = step.run(config, tmp_path / "whole")
    gone = read_rows(tmp_path / "whole" / "corpus" / "dropped.parquet", Dropped)
    assert [row.id for row in gone if row.rule == "contaminated"] == ["d3", "1:3"]
    settle = workers.settle
    calls = 0

    def dying(job: workers.Job, scratch: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == killed_at:
            raise KeyboardInterrupt
        settle(job, scratch)

    with monkeypatch.context() as patch:
        patch.setattr(workers, "settle", dying)
        with pytest.raises(KeyboardInterrupt):
            step.run(config, tmp_path / "killed")
    assert "corpus/stats.json" not in contents(tmp_path / "killed")
    calls = 0

    def counting(job: workers.Job, scratch: Path) -> None:
        nonlocal calls
        calls += 1
        settle(job, scratch)

    monkeypatch.setattr(workers, "settle", counting)
    assert step.run(config, tmp_path / "killed") == whole
    assert calls == 20 - (killed_at - 1)  # ten shards, judged and then sorted out
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
