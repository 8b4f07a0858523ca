"""The report's section on generated texts: numbers, words, samples drawn and not chosen, texts that stay data."""

import re
from pathlib import Path
from typing import Any

import made_run
import pytest
from test_report_page import Page

from anukul.config import RunConfig
from anukul.errors import UserError
from anukul.records import Generation, write_rows
from anukul.report import page
from anukul.report.load import load_run
from anukul.report.sections.generation import drawn_rows, readable
from anukul.rundir import read_json, write_json

NASTY = "</td></table><script>alert('text')</script><img src=x onerror=alert(1)>&amp;\x00\x1b[31m"


def interval(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def measured(name: str, better: str, difference: dict[str, float], length: str = "all") -> dict[str, Any]:
    return {
        "mode": "greedy",
        "length": length,
        "measure": name,
        "better": better,
        "n": 12,
        "prompts": 12,
        "base": interval(0.25, 0.1, 0.5),
        "adapted": interval(0.75, 0.5, 0.9),
        "difference": difference,
        "p": 0.01,
        "q": 0.02,
        "written": 1.0 if name != "words" else None,
    }


def judged(criterion: str, rate: dict[str, float], flips: dict[str, float] | None) -> dict[str, Any]:
    return {
        "mode": "greedy",
        "length": "all",
        "criterion": criterion,
        "n": 12,
        "prompts": 12,
        "wins": 8,
        "ties": 3,
        "losses": 1,
        "no_verdict": 2,
        "win_rate": rate,
        "p": 0.04,
        "q": 0.05,
        "both_orders": 10 if flips else 0,
        "flip_rate": flips,
    }


def add_generation(root: Path, judge: bool = True) -> None:
    scores = read_json(root / "evaluate" / "scores.json")
    scores["generation"] = {
        "prompts": 12,
        "max_new_tokens": 48,
        "seeds": [0],
        "temperature": 0.8,
        "top_p": 0.95,
        "rows": [
            measured("language", "higher", interval(0.5, 0.2, 0.7)),
            measured("repetition", "lower", interval(0.3, 0.1, 0.5)),
            measured("words", "", interval(4, 2, 6)),
            measured("loop", "lower", interval(0.1, -0.1, 0.2), "short"),
        ],
        "identified": {"base": {"hin_Deva": 9, "other script": 3}, "adapted": {"npi_Deva": 12}},
        "judge": {
            "model": "judge <1>",
            "pairs": 12,
            "identical": 1,
            "answers": 25,
            "input_tokens": 9000,
            "output_tokens": 900,
            "tokens_counted_by": "endpoint",
            "usd": 0.0315,
            "first_place": {"n": 20, **interval(0.6, 0.4, 0.78)},
            "rows": [
                judged("overall", interval(0.79, 0.6, 0.9), interval(0.2, 0.05, 0.5)),
                judged("fluency", interval(0.5, 0.3, 0.7), None),
            ],
        }
        if judge
        else None,
    }
    scores["families"] |= {
        "generation": {"comparisons": 4, "rows": "every measure"},
        "judge": {"comparisons": 2, "rows": "every criterion"},
    }
    write_json(root / "evaluate" / "scores.json", scores)
    rows = [
        Generation(
            model=model, mode=mode, seed=seed, prompt_id=f"p{n}", topic="food",
            length=("short", "medium", "long")[n % 3], prompt=f"आज {n} <b>", text=f"{model} {mode} {n} {NASTY}",
            tokens=9, end="ended" if n % 2 else "cut", identified="npi_Deva", language=1.0, script=1.0,
            function_words=0.1, repetition=0.0, loop=float(model == "base"), words=3,
        )
        for model in ("base", "adapted")
        for mode, seed in (("greedy", -1), ("sampled", 0), ("sampled", 1))
        for n in range(12)
    ]  # fmt: skip
    write_rows(root / "evaluate" / "generations.parquet", rows, Generation)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Path]:
    root = tmp_path_factory.mktemp("generated")
    config = made_run.make_run(root)
    add_generation(root)
    return config, root


def section_of(html: str) -> str:
    found = re.search(r'<section id="generation">.*?</section>', html, re.DOTALL)
    assert found
    return found.group(0)


@pytest.fixture(scope="module")
def html(run: tuple[RunConfig, Path]) -> str:
    return section_of(page.render(load_run(*run)))


def test_measures_and_verdicts(html: str) -> None:
    text = Page(html).text
    assert "the same 12 beginnings of texts on everyday topics in Nepali, by at most 48 tokens" in text
    table = html.split("<caption>Greedy")[1].split("</table>")[0]
    rows = [re.sub(r"<[^>]+>", " ", row) for row in table.split("<tr>")[2:]]
    assert [re.findall(r"better|worse|higher|no detectable change", row)[-1] for row in rows] == [
        "better",
        "worse",
        "higher",
    ]
    assert "in Nepali" in rows[0] and "+50" in rows[0] and "100 %" in rows[0]
    assert "4 [+2, +6]" in rows[2].replace("+4", "4").replace(".00", "").replace(".0", "")
    assert "base: Hindi 9 and other script 3; adapted: Nepali 12" in text
    assert "short beginnings" in html and "By the length of the beginning, greedy" in html
    assert 'title="evaluate/scores.json: generation.rows[0].difference"' in html
    family = "scores.json: generation. q: Benjamini–Hochberg over the family “generation” of 4 tests: every measure"
    assert text.count(family) == 2  # whole, and by length


def test_the_judge_is_shown_with_its_doubts(html: str) -> None:
    text = Page(html).text
    assert "A judge, judge <1>, saw each pair of texts twice" in text
    table = html.split("<caption>The judge on greedy texts")[1].split("</table>")[0]
    assert "79.0 % [60.0, 90.0]" in table and "20.0 % [5.0, 50.0]" in table and "v-better" in table
    assert "v-no-detectable-change" in table
    assert "judge. q: Benjamini–Hochberg over the family “judge” of 2 tests: every criterion" in text
    assert "1 with the same text twice" in text and "2 without a verdict in at least one order" in text
    assert "60.0 % [40.0, 78.0] went to the text shown first" in text and "about 0.03 USD" in text


def test_texts_stand_side_by_side_and_do_nothing(html: str) -> None:
    parsed = Page(html)
    assert not parsed.open
    assert not {"script", "img"} & {tag for tag, _ in parsed.tags}
    assert "<script>alert('text')</script>" in parsed.text and "\x00" not in html and "\x1b" not in html
    assert "\ufffd[31m" in parsed.text
    for mode in ("greedy", "sampled"):
        table = html.split(f"What they wrote, {mode}, side by side")[1].split("</table>")[0]
        shown = re.findall(rf"(base|adapted) {mode} (\d+)", table)
        assert len(shown) == 12
        assert [model for model, _ in shown] == ["base", "adapted"] * 6
        assert shown[::2] == [("base", n) for _, n in shown[1::2]]
    assert "in a loop" in parsed.text and "ended by itself" in parsed.text


def test_samples_are_drawn_by_seed_from_every_length(run: tuple[RunConfig, Path]) -> None:
    found = load_run(*run).generation
    assert found is not None
    base = [row for row in found.texts if row.model == "base" and row.mode == "greedy"]
    drawn = {seed: [row.prompt_id for row in drawn_rows(base, seed)] for seed in range(8)}
    assert len({tuple(ids) for ids in drawn.values()}) > 1
    for seed in drawn:
        lengths = sorted(row.length for row in drawn_rows(base, seed))
        assert lengths == ["long"] * 2 + ["medium"] * 2 + ["short"] * 2


def test_joiners_and_line_breaks_stay_readable() -> None:
    assert readable(" गर्\u200dयो\nक\tख\u0007\ud800 ") == "गर्\u200dयो\nक\tख\ufffd\ufffd"


def test_without_generation_or_judge_nothing_is_claimed(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path)
    assert 'id="generation"' not in page.render(load_run(config, tmp_path))
    add_generation(tmp_path, judge=False)
    shown = section_of(page.render(load_run(config, tmp_path)))
    assert "The judge on" not in shown and "verdicts.jsonl" not in shown
    scores = read_json(tmp_path / "evaluate" / "scores.json")
    del scores["generation"]["rows"][0]["n"]
    write_json(tmp_path / "evaluate" / "scores.json", scores)
    with pytest.raises(UserError, match=r"generation lacks a key \('n'\)"):
        load_run(config, tmp_path)
