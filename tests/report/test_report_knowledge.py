"""The report's section on knowledge: what the texts state, what the base ranked right, luck told from forgetting."""

import re
from pathlib import Path
from typing import Any

import made_run
import pytest
from test_report_page import Page

from anukul.config import RunConfig
from anukul.errors import UserError
from anukul.report import page
from anukul.report.load import load_run
from anukul.report.loadmore import load_more
from anukul.rundir import read_json, write_json

NONE = {"value": None, "low": None, "high": None}


def ends(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def kept(facts: str, **given: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"form": "ranking", "language": "eng_Latn", "facts": facts, "n": 90, "chance": 0.25}
    row |= {
        "right": 60,
        "lucky_share": ends(1 / 6, 0.1, 0.25),
        "kept": 42,
        "kept_share": ends(0.7, 0.57, 0.8),
    }
    row |= {"expected_share": 0.875, "difference": ends(-0.175, -0.3, -0.05), "p": 0.002, "q": 0.004}
    row |= {"untested": "", "wrong": 30, "gained": 9, "gained_share": ends(0.3, 0.16, 0.48)}
    return {**row, "gained_by_guessing": 0.25, **given}


def add_knowledge(root: Path) -> None:
    path = root / "evaluate" / "scores.json"
    report = read_json(path)
    compared = {
        "base": ends(0.6, 0.5, 0.7),
        "adapted": ends(0.5, 0.4, 0.6),
        "difference": ends(-0.1, -0.2, 0.0),
    }
    aspect = {
        "aspect": "retention",
        "form": "ranking",
        "stated_in": ["eng_Latn"],
        "language": "eng_Latn",
        "n": 90,
    }
    untested = {"expected_share": None, "difference": NONE, "p": None, "q": None}
    rows = [
        kept("all"),
        kept("not_in_target_texts", q=0.2),
        kept("all", difference=ends(0.1, 0.02, 0.2), q=1.0, form="cloze"),
        kept("all", language="npi_Deva", untested="guessing", **untested),
    ]
    aspects = [{**aspect, "chance": 0.25, **compared, "p": 0.04, "q": 0.04, "lost": 12, "gained": 3}]
    report["knowledge"] = {"aspects": aspects, "kept_facts": rows, "object_first": 0}
    line = {
        "source_language": "eng_Latn",
        "target_language": "npi_Deva",
        "shots": 0,
        "n": 50,
        "prompts_cut": 0,
    }
    line |= {"empty": {"base": 0, "adapted": 0}, "signature": "nw:2", **compared, "p": 0.01, "q": 0.01}
    report["translation"] = [line]
    report["families"] |= {
        name: {"comparisons": size, "rows": f"every {name.replace('_', ' ')}"}
        for name, size in (("knowledge", 1), ("kept_facts", 3), ("translation", 1))
    }
    write_json(path, report)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Path]:
    root = tmp_path_factory.mktemp("facts")
    config = made_run.make_run(root, layers=2, heads=2)
    add_knowledge(root)
    return config, root


@pytest.fixture(scope="module")
def html(run: tuple[RunConfig, Path]) -> str:
    found = re.search(r'<section id="knows">.*?</section>', page.render(load_run(*run)), re.DOTALL)
    assert found
    return found.group(0)


def rows_of(html: str, caption: str) -> list[str]:
    table = html.split(f"<caption>{caption}")[1].split("</table>")[0]
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in table.split("<tr>")[2:]]


def test_luck_stands_beside_what_was_kept(html: str) -> None:
    lost, unsure, more, guessing = rows_of(html, "Facts that the base ranked right")
    for shown in ("60 of 90", "16.7 % [10.0, 25.0]", "70.0 % [57.0, 80.0]", "42 kept, 18 lost", "87.5 %",
                  "−17.5 [−30.0, −5.0]", "loss beyond luck", ".004", "9 of 30; guessing: 25.0 %"):  # fmt: skip
        assert shown in lost and "no loss" not in lost, shown
    assert "ranking, not refreshed asked in English, not in the new texts" in unsure
    assert "q = .200: among so many comparisons this may be a false alarm" in unsure
    assert "no loss beyond luck" in more and "false alarm" not in more
    assert "not measured the base is not above guessing" in guessing and "asked in Nepali" in guessing
    assert (
        html.count("v-worse") == 2
        and 'title="evaluate/scores.json: knowledge.kept_facts[0].lucky_share"' in html
    )


def test_the_words_say_what_the_numbers_mean(html: str) -> None:
    text = Page(html).text
    assert "what the base could have learned, whether or not it did" in text
    assert "three wrong answers tell of about one lucky hit" in text
    assert "That more were kept proves nothing" in text
    assert not re.search(r"stated_in|kept_facts|not_in_target|`", text)


def test_every_table_says_over_what_its_q_was_adjusted(html: str) -> None:
    text = Page(html).text
    for said in ("“knowledge” of 1 test: every knowledge", "“kept facts” of 3 tests: every kept facts",
                 "“translation” of 1 test: every translation"):  # fmt: skip
        assert f"evaluate/scores.json. q: Benjamini–Hochberg over the family {said}" in text


def test_a_row_that_lacks_a_key_is_an_error_and_an_older_file_is_not(
    run: tuple[RunConfig, Path], tmp_path: Path
) -> None:
    _, root = run
    report = read_json(root / "evaluate" / "scores.json")
    del report["knowledge"]["kept_facts"][0]["lucky_share"]
    write_json(tmp_path / "evaluate" / "scores.json", report)
    with pytest.raises(UserError, match=r"a row lacks a key \('lucky_share'\)"):
        load_more(tmp_path)
    del report["knowledge"]["kept_facts"]
    write_json(tmp_path / "evaluate" / "scores.json", report)
    found = load_more(tmp_path)
    assert found is not None and found.kept == () and len(found.aspects) == 1
