"""index.html: whole, self-contained, escaped, and honest about what is missing."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import made_run
import pytest
from made_run import Made

from anukul.errors import UserError
from anukul.report import page, step
from anukul.report.load import load_run
from anukul.rundir import write_json

SCORES = "evaluate/scores.json"
VOID = {"meta", "link", "rect", "line", "path", "circle", "br", "img", "input"}


class Page(HTMLParser):
    """Collects tags with their attributes, ids and text; complains of tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data


@pytest.fixture(scope="module")
def parsed(made: Made) -> Page:
    found = Page(made.html)
    assert not found.open
    return found


def test_sections_stand_in_order(parsed: Page) -> None:
    anchors = [attrs["id"] for tag, attrs in parsed.tags if tag == "section"]
    assert anchors == ["summary", "data", "training", "learned", "forgot", "shots", "heads", "provenance"]
    links = [
        attrs["href"]
        for tag, attrs in parsed.tags
        if tag == "a" and (attrs.get("href") or "").startswith("#")
    ]
    assert {link[1:] for link in links if link} >= set(anchors)


def test_page_loads_nothing(made: Made, parsed: Page) -> None:
    assert len(made.html.encode()) < 1_500_000
    for tag, attrs in parsed.tags:
        assert tag not in ("iframe", "object", "embed", "base")
        assert "src" not in attrs, (tag, attrs)
        if tag == "link":
            assert attrs["href"] == "data:,"
        assert not any(name.startswith("on") for name in attrs), attrs
    styles = re.findall(r"<style>(.*?)</style>", made.html, re.S)
    assert len(styles) == 1 and "url(" not in styles[0] and "@import" not in styles[0]
    assert not re.search(r"fetch\(|XMLHttpRequest|innerHTML|import\(", made.html)


def test_corpus_text_is_text(made: Made, parsed: Page) -> None:
    assert made_run.SCRIPT in parsed.text
    assert "<script>alert" not in made.html and "<as typed>" not in made.html
    assert sum(tag == "script" for tag, _ in parsed.tags) == 2  # the data of the heatmaps, and page.js


def test_data_of_heatmaps_cannot_end_its_script(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    selected = json.loads((tmp_path / "probe" / "selected.json").read_text(encoding="utf-8"))
    selected["relations"][0]["relation"] = "</script><script>alert(1)</script>"
    write_json(tmp_path / "probe" / "selected.json", selected)
    html = page.render(load_run(config, tmp_path))
    assert "alert(1)</script>" not in html
    assert "alert(1)" in html


def test_every_figure_has_an_alternative_and_every_table_a_caption(parsed: Page) -> None:
    pictures = [attrs for tag, attrs in parsed.tags if tag == "svg"]
    assert len(pictures) > 20 and all(a.get("role") == "img" and a.get("aria-label") for a in pictures)
    tables = sum(tag == "table" for tag, _ in parsed.tags)
    assert tables >= 12 and tables == sum(tag == "caption" for tag, _ in parsed.tags)
    headers = [attrs for tag, attrs in parsed.tags if tag == "th"]
    assert headers and all(attrs.get("scope") in ("col", "row") for attrs in headers)


def test_numbers_name_file_and_key(made: Made, parsed: Page) -> None:
    titles = [attrs["title"] or "" for tag, attrs in parsed.tags if tag in ("td", "th") and "title" in attrs]
    scores = json.loads((made.root / "evaluate" / "scores.json").read_text(encoding="utf-8"))["scores"]
    named = {
        int(match[1])
        for title in titles
        if (match := re.search(r"json: scores\[(\d+)\]\.difference$", title))
    }
    assert named == set(range(len(scores)))


def test_the_family_of_every_q_is_said(made: Made, parsed: Page) -> None:
    report = json.loads((made.root / "evaluate" / "scores.json").read_text(encoding="utf-8"))

    def said(name: str) -> str:
        shown = name.replace("_", " ")
        return f"q: Benjamini–Hochberg over the family “{shown}” of {len(report[name])} tests: all of them"

    # held-out text, knowledge, agreement, tasks, every row, forgetting
    assert parsed.text.count(said("scores")) == 6
    assert parsed.text.count(said("retention")) == parsed.text.count(said("backward_transfer")) == 1
    heads = f"q: Benjamini–Hochberg over the family “best heads” of {len(made_run.RELATIONS)} tests"
    assert parsed.text.count(heads) == 2  # cross-fitted, and one half on the other
    gains = [t for t, a in parsed.tags if t == "td" and re.search(r"retention\[\d+\]$", a.get("title") or "")]
    assert len(gains) == len(report["retention"]) and ".110" in parsed.text


def test_backward_transfer_is_in_the_section_and_the_summary(parsed: Page, made: Made) -> None:
    assert "Backward transfer: mean over the forgetting tasks of adapted − base" in parsed.text
    assert "−3.00 [−4.00, −2.00]" in parsed.text and "−5.00 [−6.00, −4.00]" in parsed.text
    claim = "The mean of adapted minus base is −5.00 [−6.00, −4.00] points of chance-corrected accuracy, n = 1,000."
    assert claim in parsed.text and claim.replace("[", "\\[").replace("]", "\\]") in made.card
    tips = [attrs.get("title") or "" for tag, attrs in parsed.tags if tag == "td"]
    assert f"{SCORES}: backward_transfer[0].tasks: arc-easy (eng_Latn), piqa (eng_Latn)" in tips


def test_seeds_stand_in_a_fold(parsed: Page, made: Made) -> None:
    assert "Each of 2 seeds by itself" in parsed.text
    report = json.loads((made.root / "evaluate" / "scores.json").read_text(encoding="utf-8"))
    titles = [attrs.get("title") or "" for tag, attrs in parsed.tags if tag == "td"]
    named = {int(m[1]) for title in titles if (m := re.search(r"by_seed\.scores\[(\d+)\]\.seed$", title))}
    assert named == set(range(len(report["by_seed"]["scores"])))


def test_items_lost_and_gained_are_shown_ten_at_most(parsed: Page, made: Made) -> None:
    assert parsed.text.count("The items that were lost and gained") == 2  # learned and forgot
    assert "arc-easy, English, 0 shots: 20 lost, 61 gained" in parsed.text
    shown = re.findall(r"item-\d+", parsed.text)
    # three of thirty are lost: all of them, and seven gained
    assert shown == [f"item-{n}" for n in (0, 10, 20, 1, 2, 3, 4, 5, 6, 7)] * 2
    assert "right: right one" in parsed.text and "instead: wrong one" in parsed.text
    assert "lead +2.50 → −1.25" in parsed.text and "cluster passage-3" in parsed.text
    assert parsed.text.count(made_run.SCRIPT) == 3  # the dropped row, and the question of either task


def test_no_table_shows_q_without_its_family(made: Made) -> None:
    tables = made.html.split("<table")[1:]
    with_q = [table for table in tables if re.search(r"<th[^>]*>q<|[ ·,] q [.<]", table)]
    # of heads: best heads twice, gained and lost twice, minimal pairs, the knock-out twice
    assert len(with_q) == 8 + 2 + 2 + 1 + 2
    assert all("Benjamini–Hochberg over the family" in table.split("</section>")[0] for table in with_q)


def test_a_run_of_an_older_version_still_shows(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    path = tmp_path / "evaluate" / "scores.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    for name in ("families", "by_seed", "backward_transfer"):
        del report[name]
    for row in report["scores"]:
        del row["clusters"]
    write_json(path, report)
    (tmp_path / "evaluate" / "flips.parquet").unlink()
    text = Page(page.render(load_run(config, tmp_path))).text
    assert "What examples in the prompt bought" in text
    assert (
        text.count("Benjamini–Hochberg over the family “best heads”") == 2
    )  # which the report counts itself
    assert "family “scores”" not in text
    assert all(word not in text for word in ("seeds by itself", "lost and gained"))


def test_clusters_are_counted_beside_n(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    path = tmp_path / "evaluate" / "scores.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report["scores"][-1]["clusters"] = 41
    write_json(path, report)
    text = Page(page.render(load_run(config, tmp_path))).text
    assert "in 41 clusters" in text and "in 500 clusters" not in text


def test_hover_of_shots_tells_interval_and_n(parsed: Page) -> None:
    tips = [attrs["data-tip"] or "" for tag, attrs in parsed.tags if tag == "circle" and "data-tip" in attrs]
    shots = [tip for tip in tips if tip.startswith(("base, 4 shots", "adapted, 4 shots"))]
    assert len(shots) == 8
    assert all(
        re.search(r"\d+\.\d % \[[\d.]+, [\d.]+\]\nn = 500, guessing (25|50)\.0 %", tip) for tip in shots
    )


def test_heatmap_data_is_what_the_file_says(made: Made) -> None:
    match = re.search(r'<script type="application/json" id="heads-data">(.*?)</script>', made.html, re.S)
    assert match
    data = json.loads(match[1])
    directions = {f"{relation}/{direction}" for relation, direction in made_run.RELATIONS}
    assert set(data["entries"]) == directions | {"nsubj/both"}
    loaded = load_run(made.config, made.root)
    assert loaded.probe
    for (relation, direction), rows in loaded.probe.scores.items():
        for row in rows:
            entry = data["entries"][f"{relation}/{direction}"][row.model]
            assert entry["accuracy"][row.layer * 8 + row.head] == round(1000 * row.accuracy)
    assert made.html.count('data-map="base"') == 1
    groups = dict(re.findall(r'data-map="([a-z]+)" data-heads="8">(.*?)</g>', made.html))
    assert set(groups) == {"base", "adapted", "difference"} and all(
        g.count("<rect") == 64 for g in groups.values()
    )


def test_sentence_of_the_case_study_is_drawn_as_words(parsed: Page, made: Made) -> None:
    for word in made_run.WORDS:
        assert f">{word}</text>" in made.html
    arcs = [attrs["data-tip"] or "" for tag, attrs in parsed.tags if tag == "path" and "data-tip" in attrs]
    cells = [attrs["data-tip"] or "" for tag, attrs in parsed.tags if tag == "rect" and "data-tip" in attrs]
    assert len(cells) == 3 * 64
    assert "layer 3, head 2\nbase 8.00 %, adapted 57.0 %, difference +49.0 points" in cells[3 * 8 + 2]
    query, key = made_run.WORDS[4], made_run.WORDS[0]
    assert f"base: {query} attends to {key}\n8.00 % of its attention" in arcs
    assert f"adapted: {query} attends to {key}\n57.0 % of its attention" in arcs


def test_variants_stand_beside_this_run(parsed: Page) -> None:
    assert "made-run (this run)" in parsed.text and "no-replay" in parsed.text
    assert re.search(r"absent: cannot be compared: .*absent/evaluate/scores.json is not there", parsed.text)
    assert "replay 0 %" in parsed.text and "replay 20 %" in parsed.text


def test_torn_log_line_is_counted(parsed: Page) -> None:
    assert "3 unreadable log lines were left out" in parsed.text


@pytest.mark.parametrize("only", ["corpus", "synth", "train", "evaluate", "probe"])
def test_one_step_is_enough(tmp_path: Path, only: str) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    for name in ("corpus", "synth", "train", "evaluate", "probe"):
        if name != only:
            shutil.rmtree(tmp_path / name)
    (tmp_path / "run.json").unlink()
    text = Page(page.render(load_run(config, tmp_path))).text
    missing = {"corpus", "synth", "evaluate", "probe"} - {only}
    assert all(f"The step '{name}' was not run in this run folder." in text for name in missing)
    assert f"The step '{only}' was not run" not in text
    assert ("Not finished in this run folder" in text) == (only != "train")
    assert "run.json is not there" in text


def test_nothing_done_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no step is done"):
        step.run(made_run.config(), tmp_path)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("evaluate/scores.json", "{", "cannot be read as JSON"),
        ("evaluate/scores.json", '{"scores": [{"task": "x"}]}', "a row lacks a key"),
        ("probe/case.json", '{"words": []}', "a key is missing"),
        ("corpus/stats.json", "[1]", "must hold a JSON object"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, path: str, content: str, message: str) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    (tmp_path / path).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        load_run(config, tmp_path)
    assert path.split("/")[0] in str(caught.value)


def test_null_shows_as_a_dash_with_its_reason(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    path = tmp_path / "evaluate" / "scores.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    nothing = {"value": None, "low": None, "high": None}
    report["scores"] = [{**report["scores"][0], "difference": nothing, "adapted": nothing, "q": None}]
    write_json(path, report)
    parsed = Page(page.render(load_run(config, tmp_path)))
    assert "not measured" in parsed.text and "no value in the file" in parsed.text
    assert "nan" not in parsed.text.lower().split()


def test_everything_at_chance_is_said(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2, chance_only=True)
    text = Page(page.render(load_run(config, tmp_path))).text
    assert "On every target task (2) both models are at chance" in text
    assert "No answer: both models are at chance, up to 4 shots" in text


def test_a_model_of_32_layers_stays_small(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path, layers=32, heads=32)
    html = page.render(load_run(config, tmp_path))
    assert html.count("<rect") > 6 * 1024 and len(html.encode()) < 2_000_000


def test_same_run_gives_same_bytes(made: Made) -> None:
    before = {name: (made.root / "report" / name).read_bytes() for name in made.result.outputs}
    shutil.rmtree(made.root / "report")
    (made.root / "report" / "figures").mkdir(parents=True)
    (made.root / "report" / "figures" / "left-by-a-kill.png").write_bytes(b"half")
    assert step.run(made.config, made.root) == made.result
    assert {name: (made.root / "report" / name).read_bytes() for name in made.result.outputs} == before
    assert not (made.root / "report" / "figures" / "left-by-a-kill.png").exists()


def test_report_loads_without_torch() -> None:
    heavy = "{'torch', 'matplotlib', 'plotly', 'transformers'}"
    code = f"import sys, anukul.report.step; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
