"""The data part of the report and the data card: read what the steps write, say what nobody measured, parse back."""

import re
from pathlib import Path
from typing import Any

import made_run
import pytest
import yaml
from made_run import SCRIPT, Made

from anukul.config import RunConfig
from anukul.records import Duplicate, PairSample, write_rows
from anukul.report import datacard, step
from anukul.report.load import load_run
from anukul.rundir import read_json, write_json


def measured(root: Path) -> RunConfig:
    """A made run whose steps also looked for languages, copies, leaks, and kept samples and doses."""
    config = made_run.make_run(root)
    stats = read_json(root / "corpus" / "stats.json")
    stats["inputs"][0]["languages"] = {"npi_Deva": 57, "hin_Deva": 2, "mai_Deva": 1}
    stats["total"] = {"corpus": {"normalized": {"nfc": 3, "zwj_kept": 2}}}
    write_json(root / "corpus" / "stats.json", stats)
    copies = [Duplicate("0:1", f"0:{i}", "corpus", i == 1, i < 4, f"news.jsonl:{i}") for i in (1, 2, 3, 41)]
    copies += [Duplicate("0:7", f"0:{i}", "corpus", i == 7, True, f"news.jsonl:{i}") for i in (7, 42)]
    write_rows(root / "corpus" / "clusters.parquet", copies, Duplicate)
    sample = {
        "row": "0:50",
        "source": "news",
        "text": SCRIPT,
        "item": "12",
        "how": "exact",
        "item_text": "प्रश्न",
    }
    sets = {
        "tasks.belebele": {
            "items": 900,
            "items_touched": 2,
            "rows_dropped": 3,
            "exact": 1,
            "samples": [sample],
        },
        "bits_per_byte.flores": {
            "items": 1012,
            "items_touched": 0,
            "rows_dropped": 0,
            "exact": 0,
            "samples": [],
        },
    }
    write_json(root / "corpus" / "contamination.json", {"method": {"ngram": 8}, "dropped": 3, "sets": sets})
    pairs = [
        PairSample("pairs", "", "0:1", "", f"{SCRIPT}\tवाक्य"),
        PairSample("pairs", "length_ratio", "0:30", "4.2 > 3", "a\tb"),
    ]
    write_rows(root / "synth" / "samples.parquet", pairs, PairSample)
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


def test_a_person_finds_six_answers_first(full: Made) -> None:
    words = plain(full.html)
    table = words.split("Can this corpus be trusted?")[1].split("Fine: measured")[0]
    for question in (
        "How much is there?",
        "Is it Nepali?",
        "Does it repeat itself?",
        "Does it hold the tests?",
        "Who wrote it?",
        "What may be done with it?",
    ):
        assert question in table
    assert "95.0 % of 60 paragraphs" in table and "Hindi (2)" in table
    assert "4 copies dropped, 3 of them word for word, of 2 texts" in table
    assert "3 documents dropped for holding 2 items of the 1,912" in table
    assert "100 % of 30 pairs have a side made by machine translation" in table
    assert "Not to be used commercially: rows under CC-BY-NC-4.0" in table
    assert "not measured" not in table


def test_the_tables_show_what_was_measured(full: Made) -> None:
    words = plain(full.html)
    for said in (
        "What the paragraphs look like",
        "Duplicates: one of each cluster is kept",
        "3 to 5 documents",
        "tasks.belebele",
        "1,012",
        "zwj kept",
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


def test_what_nobody_measured_is_said_and_breaks_nothing(made: Made) -> None:
    words = plain(made.html)
    assert "Not measured in this run: languages, duplicates, contamination, doses of the stages." in words
    assert words.count("not measured") >= 3


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
        "3 documents dropped",
        "4 copies of 2 texts",
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
