"""The data part of the report and the data card: read what the steps write, say what nobody measured, parse back."""

import re
from pathlib import Path
from typing import Any

import made_run
import pytest
import yaml
from made_run import SCRIPT, Made

from anukul.config import RunConfig
from anukul.corpus import rules as corpus_rules
from anukul.records import Dropped, Duplicate, Instruction, PairSample, read_rows, write_rows
from anukul.report import datacard, rulewords, step
from anukul.report.load import load_run
from anukul.report.sections import leaks
from anukul.rundir import read_json, write_json
from anukul.text import normalize


def contaminate(root: Path) -> None:
    """Both steps looked: an item stood in two documents, another in a pair and in an answer."""
    held = {"source": "news", "text": SCRIPT, "item_text": "प्रश्न", "share": 1.0, "how": "exact"}
    near = {**held, "row": "0:51", "text": "लगभग", "item": "3", "share": 0.61, "how": "overlap"}
    clean = {"items": 1012, "items_touched": 0, "rows_dropped": 0, "exact": 0}
    clean |= {"sides": {}, "touched": [], "samples": []}
    in_corpus = {"items": 900, "items_touched": 2, "rows_dropped": 3, "exact": 1}
    in_corpus |= {"sides": {"corpus": 2, "replay": 1}, "touched": ["3", "12"]}
    in_corpus |= {
        "samples": [{**held, "row": "0:50", "item": "12", "side": "corpus"}, {**near, "side": "replay"}]
    }
    in_synth = {"items": 900, "items_touched": 3, "rows_dropped": 4, "exact": 2}
    in_synth |= {"sides": {"pairs.source": 1, "pairs.target": 2, "instructions.output": 1}}
    in_synth |= {"touched": ["12", "13", "14"]}
    in_synth |= {"samples": [{**held, "row": "0:7", "text": "अर्को", "item": "13", "side": "pairs.target"}]}
    method = {"ngram": 3, "share": 0.6, "min_words": 8}
    for step_name, found, dropped in (("corpus", in_corpus, 3), ("synth", in_synth, 4)):
        sets = {"tasks.belebele": found, "bits_per_byte.flores": clean}
        write_json(
            root / step_name / "contamination.json", {"method": method, "dropped": dropped, "sets": sets}
        )


def measured(root: Path) -> RunConfig:
    """A made run whose steps also looked for languages, copies, leaks, and kept samples and doses."""
    config = made_run.make_run(root)
    stats = read_json(root / "corpus" / "stats.json")
    stats["inputs"][0]["languages"] = {"npi_Deva": 57, "hin_Deva": 2, "mai_Deva": 1}
    stats["inputs"][0]["masked"] = {"email": 2, "phone": 1}
    stats["total"] = {"corpus": {"normalized": {"nfc": 3, "zwj_kept": 2}}}
    write_json(root / "corpus" / "stats.json", stats)
    columns = ["npi_Deva", "hin_Deva", "mai_Deva", "bho_Deva"]
    write_json(root / "corpus" / "confusion.json", {"rows": [], "columns": columns, "counts": []})
    copies = [Duplicate("0:1", f"0:{i}", "corpus", i == 1, i < 4, f"news.jsonl:{i}") for i in (1, 2, 3, 41)]
    copies += [Duplicate("0:7", f"0:{i}", "corpus", i == 7, True, f"news.jsonl:{i}") for i in (7, 42)]
    write_rows(root / "corpus" / "clusters.parquet", copies, Duplicate)
    contaminate(root)
    pairs = [
        PairSample("pairs", "", "0:1", "", f"{SCRIPT}\tवाक्य"),
        PairSample("pairs", "length_ratio", "0:30", "4.2 > 3", "a\tb"),
    ]
    write_rows(root / "synth" / "samples.parquet", pairs, PairSample)
    held = read_rows(root / "synth" / "instructions.parquet", Instruction)
    held[0].rules = ["nfc", "mask_email"]
    write_rows(root / "synth" / "instructions.parquet", held, Instruction)
    synth = read_json(root / "synth" / "stats.json")
    synth["translators"] = [
        {"id": "nllb@12ab34cd", "model": "nllb", "license": "CC-BY-NC-4.0", "beam_size": 4}
    ]
    write_json(root / "synth" / "stats.json", synth)
    saw = [
        {"source": "parallel", "origin": "synthetic", "direction": "to_target"}
        | {"examples": 9, "tokens": 800, "loss_tokens": 500, "share": 0.8},
        {"source": "stories", "origin": "replay", "direction": ""}
        | {"examples": 3, "tokens": 200, "loss_tokens": 200, "share": 0.2},
    ]
    write_json(
        root / "train" / "translation" / "adapter" / "data.json",
        {"stages": [{"stage": "translation", "format": "translation", "files": {}, "saw": saw}]},
    )
    return config


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("data") / "run"
    config = measured(root)
    result = step.run(config, root)
    read = [(root / "report" / name).read_text(encoding="utf-8") for name in ("index.html", "README.md")]
    return Made(config, root, result, *read)


def plain(html: str) -> str:
    """The words of the data part, tags left out."""
    part = html.split('<section id="data">')[1].split("</section>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", part))


def test_a_person_finds_seven_answers_first(full: Made) -> None:
    words = plain(full.html)
    table = words.split("Can this corpus be trusted?")[1].split("Fine: measured")[0]
    for question in (
        "How much is there?",
        "Is it Nepali?",
        "Does it repeat itself?",
        "Does it hold the tests?",
        "Who wrote it?",
        "Does it hold personal data?",
        "What may be done with it?",
    ):
        assert question in table
    assert "95.0 % of 60 paragraphs" in table
    assert "Taken for another, and dropped: Hindi (2), Maithili (1) and Bhojpuri (0)." in table
    assert "4 copies dropped, 3 of them word for word, of 2 texts" in table
    # item 12 stood in a document and in a pair: it is one item
    assert "3 documents and 4 pairs and instructions dropped for holding 4 items of the 1,912" in table
    assert "30 of 30 pairs (100 %) have a side made by machine translation" in table
    assert (
        "2 e-mail addresses and 1 phone number masked" in table and "given pairs" not in table.split("?")[5]
    )
    assert "Not to be used commercially: 30 rows under CC-BY-NC-4.0, which the adapter inherits." in table
    assert "rows no license is known" in table and "not measured" not in table


def test_the_tables_show_what_was_measured(full: Made) -> None:
    words = plain(full.html)
    for said in (
        "What the paragraphs look like",
        "Duplicates: one of each cluster is kept",
        "3 to 5 documents",
        "exact duplicate 19, script 1",
        "a copy, word for word, of an earlier document",
        "zwj kept 2 0 0",
        "nfc 3 0 1 letters written in several ways, written in one",
        "nllb@12ab34cd",
        "beam size 4",
        "What each stage saw",
        "into the language",
        "80.0 %",
        "length ratio",
    ):
        assert said in words, said
    assert (
        "<script>alert"
        not in full.html.replace("<script>", "", 0).split("</style>")[1].split('<div id="tip"')[0]
    )
    assert "Not measured in this run" not in words


def test_contamination_says_step_side_rows_and_items(full: Made) -> None:
    table, _, rest = (
        plain(full.html).split("Contamination: test items")[1].partition("The items found, by their ids")
    )
    where = (
        "documents 2; replay documents 1; pairs, English side 1; pairs, Nepali side 2; instructions, answer 1"
    )
    assert f"tasks.belebele 4 of 900 7 3 word for word {where}" in table
    assert "runs of 3 words that both have cover 60 %" in table and "flores" not in table
    ids, _, rest = rest.partition("Rows that held them")
    assert "tasks.belebele 3, 12 to 14" in ids
    rows, _, clean = rest.partition("1 set of which no item was found")
    assert [rows.index(said) for said in ("61% of it", "item 12", "item 13")] == sorted(
        rows.index(said) for said in ("61% of it", "item 12", "item 13")
    )
    assert "replay documents · news · row 0:51" in rows and "pairs, Nepali side · news · row 0:7" in rows
    assert "bits_per_byte.flores 1,012" in clean


def test_a_step_that_did_not_look_is_said(tmp_path: Path) -> None:
    config = measured(tmp_path)
    (tmp_path / "synth" / "contamination.json").unlink()
    step.run(config, tmp_path)
    words = plain((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))
    held = words.split("Does it hold the tests?")[1].split("Who wrote it?")[0]
    assert held.strip().startswith("not measured 3 documents dropped for holding 2 items")
    assert "Nobody looked into pairs, translations and instructions." in held
    assert "Not measured in this run: contamination of pairs, translations and instructions." in words


def test_a_run_folder_without_sides_and_ids_is_read(tmp_path: Path) -> None:
    config = measured(tmp_path)
    for name in ("corpus", "synth"):
        path = tmp_path / name / "contamination.json"
        data = read_json(path)
        for found in data["sets"].values():
            del found["sides"], found["touched"]
            for sample in found["samples"]:
                sample.pop("side", None)
        write_json(path, data)
    step.run(config, tmp_path)
    words = plain((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))
    assert "documents 3; pairs, translations or instructions 4" in words
    assert "for holding 3 items" in words and "by their ids" not in words


def test_ids_that_follow_each_other_are_read_as_one() -> None:
    assert leaks.ranges(["1", "2", "3", "7", "9", "10", "sent-4"]) == ["1 to 3", "7", "9 to 10", "sent-4"]


def test_a_near_copy_stands_beside_what_it_is_a_copy_of(tmp_path: Path) -> None:
    config = measured(tmp_path)
    path = tmp_path / "corpus" / "dropped.parquet"
    near = Dropped("0:61", "news", "near_duplicate", "0.79 like an earlier document, 0:5", "यो वाक्य ५ हो नि।")
    write_rows(path, [*read_rows(path, Dropped), near], Dropped)
    step.run(config, tmp_path)
    words = plain((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))
    assert "0.79 like an earlier document, 0:5: यो वाक्य 5 हो।" in words


def test_every_rule_is_told_in_words() -> None:
    root = Path(rulewords.__file__).parents[1]
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("corpus", "synth", "text/files")
        for path in sorted((root / folder).rglob("*.py"))
        if "world" not in path.parts
    )
    found = re.findall(
        r'(?:Drop\(|Fault\(|Translation\([^"]*"", |return |reason = |rule=)\s*"([a-z]+_[a-z_0-9]+)"', code
    )
    assert len(set(found)) > 25
    known = {*corpus_rules.RULES, *found}
    assert {rule for rule in known if not rulewords.meaning(rule)} == set()
    repaired = {*normalize.RULES, *(name for rules in normalize.SCRIPT_RULES.values() for name in rules)}
    assert repaired <= rulewords.REPAIRS.keys()
    assert rulewords.meaning("top_3_gram") and not rulewords.meaning("duplicate_gram")


def test_what_nobody_measured_is_said_and_breaks_nothing(made: Made) -> None:
    words = plain(made.html)
    missing = "contamination of the documents, contamination of pairs, translations and instructions"
    assert f"Not measured in this run: languages, duplicates, {missing}, doses of the stages." in words
    assert words.count("not measured") >= 4


def test_the_data_card_parses_back(full: Made) -> None:
    text = (full.root / "report" / "DATA.md").read_text(encoding="utf-8")
    assert "DATA.md" in full.result.outputs
    _, front, body = text.split("---\n", 2)
    data: dict[str, Any] = yaml.safe_load(front)
    assert data["language"] == ["ne", "en"] and data["license"] == "other"
    assert data["size_categories"] == ["n<1K"] and "machine-generated" in data["language_creators"]
    assert {one["config_name"] for one in data["configs"]} == {"documents", "replay", "pairs", "instructions"}
    for one in data["configs"]:
        assert (full.root / one["data_files"]).exists()
    from huggingface_hub import DatasetCard

    card = DatasetCard(text)
    assert card.data.to_dict()["pretty_name"] == "made-run: Nepali" and card.data.task_categories == [
        "text-generation",
        "translation",
    ]
    for said in (
        "| documents | news | CC-BY-4.0 | commercial |",
        "| Does it hold the tests? | look | 3 documents and 4 pairs and instructions dropped",
        "| tasks.belebele | synth | 3 of 900 | 4 |",
        "4 copies dropped, 3 of them word for word, of 2 texts",
        "| corpus | news.jsonl | news |",
        "nllb@12ab34cd",
        "यो वाक्य 0 हो।",
        "Not for commercial use: CC-BY-NC-4.0",
    ):
        assert said in body, said
    assert "<script>" not in body  # a text from the run is text


def test_a_card_of_one_license_names_it(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path)
    data = load_run(config, tmp_path)
    only = [held for held in data.holdings if held.license == "CC-BY-4.0"]
    from dataclasses import replace

    front = datacard.front_matter(replace(data, holdings=tuple(only)))
    assert front["license"] == "cc-by-4.0" and "license_details" not in front


def test_the_model_card_names_translator_and_doses(full: Made) -> None:
    assert "Translated by nllb@12ab34cd (CC-BY-NC-4.0)." in full.card
    assert "| translation | synthetic 80.0 %, replay 20.0 % |" in full.card
    assert "may not be used commercially" in full.card
