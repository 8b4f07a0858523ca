"""The section on the forgetting ledger: what it draws, what it says of stops, of what was kept, of the cost."""

import json
from pathlib import Path
from typing import Any

import made_run
import pytest

from anukul.config import RunConfig
from anukul.report import page
from anukul.report.blocks import Figure, Grid, Prose, Table
from anukul.report.data import RunData
from anukul.report.load import load_run
from anukul.report.sections import ledger

STOP = "bits per byte of eng_Latn rose by 0.0610 [+0.052, +0.070] over the base at step 60"
PROBES = {
    "bits_per_byte": [
        {"name": "ne", "path": "ne.txt", "language": "npi_Deva"},
        {"name": "en", "path": "en.txt", "language": "eng_Latn"},
    ],
    "tasks": [{"name": "copa", "path": "copa.jsonl", "language": "eng_Latn"}],
}
BUDGET = {"language": "eng_Latn", "bits_per_byte_rise": 0.05}


def change(kind: str, name: str, language: str, base: float, value: float) -> dict[str, Any]:
    ends = {"difference": value, "low": value - 0.009, "high": value + 0.009}
    return {
        "kind": kind,
        "name": name,
        "language": language,
        "n": 48,
        "base": base,
        "adapted": base + value,
    } | ends


def write_ledger(root: Path, stage: str, rises: list[float], best: int, stop: str | None = None) -> None:
    """Write readings every 20 steps with the given rises of English."""
    folder = root / "train" / stage
    readings, costs = [], [{"step": 0, "seconds": 1.5, "trained_seconds": 0.0}]
    for place, rise in enumerate(rises):
        changes = [
            change("bits_per_byte", "npi_Deva", "npi_Deva", 1.4, -0.2 * (place + 1)),
            change("bits_per_byte", "eng_Latn", "eng_Latn", 0.9, rise),
            change("accuracy", "copa", "eng_Latn", 0.55, -rise / 2),
        ]
        last = place == len(rises) - 1
        line = {"step": 20 * (place + 1), "changes": changes, "within": rise <= 0.05, "best": place <= best}
        readings.append(line | {"stop": stop if last else None})
        costs.append({"step": 20 * (place + 1), "seconds": 0.5, "trained_seconds": 25.0})
    for name, lines in (("ledger.jsonl", readings), ("ledger_cost.jsonl", costs)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def made(root: Path, **settings: Any) -> RunData:
    config = made_run.make_run(root, layers=2, heads=2)
    train = {**config.model_dump(mode="json")["train"], "ledger": {"probes": PROBES, **settings}}
    write_ledger(root, "translation", [0.01, 0.03, 0.061], best=1, stop=STOP)
    write_ledger(root, "bilingual", [0.02, 0.04], best=1)
    return load_run(RunConfig.model_validate({**config.model_dump(mode="json"), "train": train}), root)


def said(blocks: tuple[Any, ...]) -> str:
    return " ".join(block.text for block in blocks if isinstance(block, Prose))


def test_a_run_without_a_ledger_has_no_section(tmp_path: Path) -> None:
    data = load_run(made_run.make_run(tmp_path, layers=2, heads=2), tmp_path)
    assert ledger.section(data) is None
    assert 'id="ledger"' not in page.render(data)


def test_charts_stop_and_cost_are_told(tmp_path: Path) -> None:
    data = made(tmp_path, stop_when=BUDGET)
    section = ledger.section(data)
    assert section is not None
    figures = [figure for block in section.blocks if isinstance(block, Grid) for figure in block.figures]
    assert [figure.title for figure in figures] == ["Nepali", "English", "copa"]
    drawings = {figure.title: str(figure.svg) for figure in figures}
    assert [name for name, svg in drawings.items() if ">budget<" in svg] == ["English"]
    for figure in figures:
        assert isinstance(figure, Figure)
        svg = str(figure.svg)
        assert svg.count('class="band adapted"') == 2  # an interval for each stage
        assert svg.count('class="ghost adapted"') == 5 and ">translation<" in svg and ">bilingual<" in svg
        assert "the base" in svg
    assert "+0.0610 [+0.0520, +0.0700]" in drawings["English"] and "stopped here" in drawings["English"]
    text = said(section.blocks)
    assert f"Stage translation was stopped: {STOP}." in text
    assert "English may rise by 0.05 bits per byte" in text and "interval's lower end" in text
    # 5 readings of 0.5 s and twice 1.5 s for the base, beside 5 times 25 s
    assert "5 readings and the base's scores took 5.50 s beside 2 min 05 s of training, 4.40 % of it" in text
    html = page.render(data)
    assert 'id="ledger"' in html and html.index('id="training"') < html.index('id="ledger"')
    assert html.index('id="ledger"') < html.index('id="learned"')


@pytest.mark.parametrize("keep", [True, False])
def test_the_table_shows_the_reading_that_a_stage_ended_with(tmp_path: Path, keep: bool) -> None:
    more = {"keep_best": {"language": "npi_Deva"}} if keep else {}
    section = ledger.section(made(tmp_path, stop_when=BUDGET, **more))
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table))
    assert len(table.rows) == 6
    english = table.rows[1]
    assert english[0].note == ("step 40" if keep else "step 60")
    assert english[5].text.startswith("+0.0300" if keep else "+0.0610") and english[6].text == "worse"
    assert english[0].source.startswith(f"train/translation/ledger.jsonl: line {2 if keep else 3}")
    assert ("translation with step 40" in said(section.blocks)) == keep


def test_torn_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    data = made(tmp_path)
    path = tmp_path / "train" / "bilingual" / "ledger.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + '{"step": 60, "chan', encoding="utf-8")
    section = ledger.section(data)
    assert section is not None and "1 line of the ledger could not be read" in said(section.blocks)
    assert "No stage was stopped" not in said(section.blocks)
