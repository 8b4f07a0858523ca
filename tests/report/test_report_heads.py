"""The heads section: maps with contour and marks, every control, pairs, the knock-out, case studies."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import made_probe
import made_run
import numpy as np
import pytest
from made_run import Made

from anukul.errors import UserError
from anukul.report import headfigures, headsummary, page, verdicts
from anukul.report.data import Measure, RunData
from anukul.report.heatmap import Marks, borders, heatmap, overlay
from anukul.report.load import load_run
from anukul.report.probedata import Effect
from anukul.report.sections.headcase import pieces_line
from anukul.report.sections.headmaps import maps_of
from anukul.report.sections.knockout import conclusion
from anukul.rundir import read_json, write_json


def small(root: Path) -> RunData:
    return load_run(made_run.make_run(root, layers=2, heads=2), root)


def text_of(html: str) -> str:
    shown = re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", shown)).split())


def change(path: Path, edit: Any) -> None:
    data = read_json(path)
    edit(data)
    write_json(path, data)


def test_the_border_runs_between_above_and_not_above() -> None:
    # one cell alone has four sides; two beside one another share none
    assert sorted(side for side, _, _ in borders([[True]])) == ["bottom", "left", "right", "top"]
    two = borders([[True, True], [False, False]])
    assert len(two) == 6 and ("right", 0, 0) not in two and ("left", 0, 1) not in two
    assert borders([[False, False]]) == []
    # a hole has a border too
    ring = [[not (layer == head == 1) for head in range(3)] for layer in range(3)]
    assert len(borders(ring)) == 12 + 4


def test_marks_stand_in_their_cells() -> None:
    paths = overlay(Marks(above=[[False, True]], dots=[[True, False]], up=[[False, True]]), 1, 2)
    # cells of 28 pixels from (36, 4), 2 of them the gap to the next
    assert paths["dots"].startswith("M44.52 17a4.48 4.48") and paths["downs"] == ""
    assert paths["contour"] == "M63 3h28M63 31h28M63 3v28M91 3v28"
    assert paths["ups"].startswith("M71.176")
    drawn = str(heatmap([[0.1, 0.9]], (0.0, 1.0), "s", "label", "base", marks=Marks(), ring=(0, 1)))
    assert drawn.count("<rect") == 2 and drawn.count(" best") == 1
    assert 'class="contour"' in drawn and 'data-map="base"' in drawn


def test_maps_flag_what_the_files_say(made: Made) -> None:
    data = load_run(made.config, made.root)
    assert data.probe
    for finding in data.probe.findings:
        maps = maps_of(data.probe, finding)
        for model, table in (("base", maps.base), ("adapted", maps.adapted)):
            marks = maps.marks[model]
            for layer, head in np.ndindex(data.probe.layers, data.probe.heads):
                value = table[layer][head]
                assert marks.above[layer][head] == (value > (finding.baseline or 0))
                assert marks.dots[layer][head] == (value > 0.5)
        gained = {(r.layer, r.head) for r in data.probe.changes[finding.key] if r.verdict == "gained"}
        up = maps.marks["difference"].up
        assert gained == {(i, j) for i, row in enumerate(up) for j, flag in enumerate(row) if flag}


def test_the_page_has_the_marks_of_every_relation(made: Made) -> None:
    found = re.search(r'<script type="application/json" id="heads-data">(.*?)</script>', made.html, re.S)
    assert found
    entries = json.loads(found[1])["entries"]
    data = load_run(made.config, made.root)
    assert data.probe
    for finding in data.probe.findings:
        entry = entries[f"{finding.relation}/{finding.direction}"]
        marks = maps_of(data.probe, finding).marks
        for model in ("base", "adapted"):
            for name, flags in (("above", marks[model].above), ("dots", marks[model].dots)):
                flat = [flag for row in flags for flag in row]
                assert [digit == "1" for digit in entry[model][name]] == flat
        assert entry["changes"]["n"] == data.probe.changes[finding.key][0].n
        assert len(entry["adapted"]["p"]) == len(entry["changes"]["q"]) == 64
        assert set(entry["adapted"]["p"]) <= {5, 4000}
    # pooled directions are neither permuted nor compared head by head
    assert "changes" not in entries["nsubj/both"] and set(entries["nsubj/both"]["base"]["p"]) == {None}
    assert "1" in "".join(entry["adapted"]["above"] for entry in entries.values())


def test_random_weights_do_not_count_as_a_model(made: Made) -> None:
    data = load_run(made.config, made.root)
    assert data.probe
    models = {row.model for rows in data.probe.scores.values() for row in rows}
    assert models == {"base", "adapted"} and set(data.probe.sinks) == {"base", "adapted", "random"}


def test_every_control_is_told(made: Made) -> None:
    text = text_of(made.html)
    for said in (
        "Best heads, cross-fitted",
        "In the base there is no head that knows a relation by all of these controls.",
        "Heads that know a relation",
        "case, dependent attends",
        "How much of the tree is found",
        "best heads of random weights 30.0 % [28.0, 32.0]",
        "Adapted − fixed offset +8.0 [+5.0, +11.0]",
        "Both directions pooled by arc",
        "(random weights: ",
        "Of 900 attending words 400 are several pieces",
        "In the base 0 heads know a relation either way; in the adapted model 1 head knows a relation either way, "
        "L1·H1 only at the last piece. The conclusion holds.",
    ):
        assert said in text, said
    assert "/data/ne.conllu" not in made.html


def test_pairs_by_phenomenon_distance_and_attractor(made: Made) -> None:
    text = text_of(made.html)
    assert "Agreement minimal pairs" in text and "in 120 frames" in text
    assert "The adapted model cannot be told from guessing on: ergative." in text
    assert "1 word between" in text and "with an attractor" in text and "without an attractor" in text
    assert "family “minimal pairs” of 2 tests: every phenomenon of every set" in text


def test_the_knockout_says_what_its_numbers_say(made: Made, tmp_path: Path) -> None:
    text = text_of(made.html)
    assert "silencing them hurts agreement more than random sets do, in every way tried" in text
    assert "Compared with other sets of as many heads of the same layers, all 20 that exist." in text
    assert "both models give the same numbers to the bit" in text
    assert made.html.count('class="other-set"') == 2 * 4 * made_probe.SETS
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    made_probe.make_knockout(tmp_path / "probe", np.random.default_rng(0), drop=0.02)
    data = load_run(config, tmp_path)
    assert data.probe and data.probe.knockout
    assert "does not hurt agreement more than silencing random heads" in conclusion(data.probe.knockout)
    claim = next(c for c in headsummary.heads(data).claims if c.subject == "These heads silenced")
    assert "is not shown" in claim.text and claim.verdict == "no detectable harm"
    assert "does not hurt agreement more than silencing random heads" in text_of(page.render(data))
    few = replace(data.probe.knockout, smallest_p=0.2, sets=4)
    assert "Only 4 other sets of this kind exist, so no p can be below .200" in conclusion(few)


@pytest.mark.parametrize(
    ("low", "rank_p", "rank_q", "word"),
    [
        (0.01, 0.02, 0.04, "more than random"),
        (0.01, 0.02, 0.2, "no more than random"),
        (0.01, 0.02, None, "more than random"),
        (0.01, 0.3, 0.3, "no more than random"),
        (0.0, 0.02, 0.02, "no detectable harm"),
    ],
)
def test_harm_counts_only_beyond_random_sets(
    low: float, rank_p: float, rank_q: float | None, word: str
) -> None:
    harm = Measure(0.05, low, 0.1)
    effect = Effect("here", 0.8, 0.75, harm, 50, 0.01, 0.04, 0, rank_p, rank_q)
    assert verdicts.harm_verdict(effect) == word


def test_nothing_known_means_nothing_silenced(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    write_json(tmp_path / "probe" / "knockout.json", {"heads": [], "left_out": []})
    (tmp_path / "probe" / "knockout.parquet").unlink()

    def forget(selected: dict[str, Any]) -> None:
        selected["resolvers"] = {"base": [], "adapted": []}
        for entry in selected["relations"]:
            entry["adapted"]["resolvers"] = []

    change(tmp_path / "probe" / "selected.json", forget)
    data = load_run(config, tmp_path)
    text = text_of(page.render(data))
    assert "there was none to silence" in text
    assert "Neither in the base nor the adapted model is there a head that knows a relation" in text
    assert headsummary.heads(data).headline == "None that every control confirms, on 5 relations tested"


def test_a_probe_without_the_further_controls_still_shows(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    for name in ("changes.parquet", "pairs.json", "knockout.json", "pieces.json"):
        (tmp_path / "probe" / name).unlink()

    def strip(selected: dict[str, Any]) -> None:
        for name in ("resolvers", "changed", "tree", "undirected"):
            del selected[name]
        for entry in selected["relations"]:
            del entry["random"]
            for model in ("base", "adapted"):
                for key in ("crossfit", "permutation", "resolvers", "named"):
                    del entry[model][key]

    change(tmp_path / "probe" / "selected.json", strip)
    data = load_run(config, tmp_path)
    text = text_of(page.render(data))
    assert "Best heads" in text and "cross-fitted" not in text and "silenced" not in text
    assert headsummary.heads(data).headline.startswith("Beyond a fixed offset on")


def test_a_case_of_this_adapter_is_shown_and_of_another_counted(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    adapter = read_json(tmp_path / "train" / made_run.STAGES[-1] / "done.json")["outputs"]["adapter"]
    case = made_probe.make_case(np.random.default_rng(1), 2, 2)
    case["head"]["why"] = "asked"
    write_json(tmp_path / "probe" / "cases" / "a" / "case.json", {**case, "query": 3, "adapter": adapter})
    write_json(tmp_path / "probe" / "cases" / "b" / "case.json", {**case, "adapter": "another"})
    data = load_run(config, tmp_path)
    assert [found.where for found in data.cases] == ["probe/cases/a/case.json"] and data.old_cases == 1
    text = text_of(page.render(data))
    assert f"Another case study: {made_run.WORDS[3]} → {made_run.WORDS[0]}" in text
    assert "the head that was asked for" in text
    assert "1 case study in probe/cases was made with another adapter and left out" in text
    assert {"case_study_2_arcs", "case_study_2_heads"} <= {name for name, _ in headfigures.head_plans(data)}


def test_cases_are_shown_before_the_probe_is_done(tmp_path: Path) -> None:
    import shutil

    config = made_run.make_run(tmp_path, layers=2, heads=2)
    case = made_probe.make_case(np.random.default_rng(1), 2, 2)
    shutil.rmtree(tmp_path / "probe")
    adapter = read_json(tmp_path / "train" / made_run.STAGES[-1] / "done.json")["outputs"]["adapter"]
    write_json(tmp_path / "probe" / "cases" / "a" / "case.json", {**case, "adapter": adapter})
    data = load_run(config, tmp_path)
    text = text_of(page.render(data))
    assert "The step 'probe' was not run" in text and "Case study" in text
    assert [name for name, _ in headfigures.head_plans(data)] == ["case_study_arcs", "case_study_heads"]


def test_a_broken_case_is_named(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    adapter = read_json(tmp_path / "train" / made_run.STAGES[-1] / "done.json")["outputs"]["adapter"]
    write_json(tmp_path / "probe" / "cases" / "a" / "case.json", {"words": [], "adapter": adapter})
    with pytest.raises(UserError, match="cases/a: a key is missing"):
        load_run(config, tmp_path)


def test_whether_the_piece_matters_is_said(tmp_path: Path) -> None:
    data = small(tmp_path)
    assert data.probe and data.probe.case and data.probe.case.mean
    case = data.probe.case
    word = case.words[case.query]
    assert pieces_line(case) == (
        f"{word} is 3 pieces; it is read at the last of them. With the mean over all of them instead, this head’s "
        "attention on the key changes by +39.0 points (last piece: +49.0): the conclusion holds."
    )
    other = replace(case.mean, holds=False, layer=0, head=0, change=-0.6)
    assert "L0·H0 is the head that changes most (−60.0 points)" in pieces_line(replace(case, mean=other))
    turned = replace(case.mean, holds=False, shown=-0.1)
    assert pieces_line(replace(case, mean=turned)).endswith(
        "the direction of the change depends on the piece."
    )
    one = replace(case, base=replace(case.base, pieces=1), adapted=replace(case.adapted, pieces=1))
    assert "no choice in where it is read" in pieces_line(one)
    assert (
        pieces_line(replace(case, base=replace(case.base, pieces=0), adapted=replace(case.adapted, pieces=0)))
        == ""
    )


def test_static_maps_have_the_contour_and_the_marks(made: Made) -> None:
    import matplotlib

    from anukul.report.figures import STYLE

    data = load_run(made.config, made.root)
    assert data.probe
    finding = data.probe.findings[-1]
    with matplotlib.rc_context(STYLE):
        draw = dict(headfigures.head_plans(data))[f"heads_{finding.relation}_{finding.direction}"]
        figure, caption = draw()
    base, adapted, difference = figure.axes[:3]
    maps = maps_of(data.probe, finding)
    for axes, marks in ((base, maps.marks["base"]), (adapted, maps.marks["adapted"])):
        segments = [path for held in axes.collections for path in held.get_segments()]
        assert len(segments) == len(borders(marks.above)) > 0
        dots = sum(len(line.get_xdata()) for line in axes.lines)
        assert dots == sum(flag for row in marks.dots for flag in row)
    gained = [line for line in difference.lines if line.get_marker() == "^"]
    expected = sum(flag for row in maps.marks["difference"].up for flag in row)
    assert sum(len(line.get_xdata()) for line in gained) == expected
    assert base.images[0].get_clim() == adapted.images[0].get_clim()
    low, high = difference.images[0].get_clim()
    assert low == -high
    assert "orange line" in caption
