"""Numbers as words, color scales, ticks, the model card, the static figures."""

import math
import struct
import unicodedata
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import made_run
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from made_run import Made
from PIL import Image

from anukul.report import arcs, card, fonts, format, headfigures, palette, svg
from anukul.report.data import Measure
from anukul.report.load import load_run

finite = st.floats(-1e9, 1e9, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.41234, "0.412"),
        (12.345, "12.3"),
        (1234.5, "1,234"),
        (-0.5, "−0.500"),
        (0, "0"),
        (9.996, "10.0"),
        (99.96, "100"),
        (0.00012345, "0.000123"),
        (2e-5, "2.00e-05"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_three_significant_digits(value: float | None, shown: str) -> None:
    assert format.number(value) == shown


@given(finite)
def test_number_reads_back(value: float) -> None:
    read = float(format.number(value).replace(",", "").replace("−", "-"))
    assert math.isclose(read, value, rel_tol=0.0051, abs_tol=1e-300)


@pytest.mark.parametrize(
    ("measure", "share", "signed", "shown"),
    [
        (Measure(0.4512, 0.4, 0.5), True, False, "45.1 % [40.0, 50.0]"),
        (Measure(0.01, 0.004, 0.016), False, True, "+0.0100 [+0.0040, +0.0160]"),
        (Measure(-0.029, -0.064, 0.006), True, True, "−2.90 [−6.40, +0.60]"),
        (Measure(-0.03, -0.07, -0.00001), True, True, "−3.00 [−7.00, −0.00100]"),
        (Measure(0.0, 0.0, 0.0), True, True, "0 [0, 0]"),
        (Measure(0.5), True, False, "50.0 %"),
        (Measure(), True, False, "–"),
        (Measure(-3.3e-18, -0.05, 0.05), True, True, "0 [−5.00, +5.00]"),
    ],
)
def test_interval(measure: Measure, share: bool, signed: bool, shown: str) -> None:
    assert format.interval(measure, share, signed) == shown


@given(finite, finite, finite)
def test_an_end_that_is_not_zero_never_shows_as_zero(value: float, low: float, high: float) -> None:
    shown = format.interval(Measure(value, low, high), False, True)
    for end, text in zip((low, high), shown[shown.index("[") + 1 : -1].split(", "), strict=True):
        rounding = abs(end) < 1e-12  # left over where differences cancel
        assert (text == "0") == rounding
        assert text.startswith("−") == (end < 0 and not rounding)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (12.34, "12.3 s"),
        (65, "1 min 05 s"),
        (3600 * 3 + 61, "3 h 01 min"),
        (None, "–"),
        (3599.7, "1 h 00 min"),
    ],
)
def test_duration(seconds: float | None, shown: str) -> None:
    assert format.duration(seconds) == shown


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 10))
def test_ticks_are_within_and_even(low: float, span: float, wanted: int) -> None:
    found = svg.ticks(low, low + span, wanted)
    assert all(low - span * 1e-6 - 1e-9 <= tick <= low + span * (1 + 1e-6) + 1e-9 for tick in found)
    assert len(found) <= 2 * wanted + 1


def test_color_levels_are_clamped() -> None:
    assert [svg.level(value, 0.0, 1.0) for value in (-1.0, 0.0, 0.5, 1.0, 2.0)] == [0, 0, 10, 20, 20]
    assert svg.level(0.0, -0.2, 0.2) == 10
    assert svg.level(0.3, 0.3, 0.3) == 0


def test_sequential_scales_are_monotone_in_lightness() -> None:
    def light(color: str) -> float:
        red, green, blue = bytes.fromhex(color[1:])
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for theme, sign in (("light", -1), ("dark", 1)):
        shades = [
            light(palette.mix(palette.SCALES[theme]["s"], step / svg.LEVELS))
            for step in range(svg.LEVELS + 1)
        ]
        assert all(sign * (after - before) > 0 for before, after in pairwise(shades))
    assert palette.css().count("{fill:") == 4 * (svg.LEVELS + 1)


def test_attributes_and_text_are_escaped() -> None:
    made = svg.tag("text", {"data_tip": '"><script>'}, "<b>&")
    assert str(made) == '<text data-tip="&#34;&gt;&lt;script&gt;">&lt;b&gt;&amp;</text>'


@pytest.mark.parametrize(("word", "letters"), [("क्षेत्र", 4), ("abc", 3), ("गर्‍यो", 3), ("\u200d", 1)])
def test_marks_take_no_room(word: str, letters: int) -> None:
    assert arcs.columns(word) == letters


def test_card_front_matter(made: Made) -> None:
    _, front, body = made.card.split("---\n", 2)
    read = yaml.safe_load(front)
    assert read["language"] == ["ne", "en"] and read["base_model"] == "example/Llama-made-8B"
    assert read["license"] == "other" and "lora" in read["tags"]
    results = read["model-index"][0]["results"]
    english = [r for r in results if r["dataset"]["name"] == "flores-english"]
    metric = english[0]["metrics"][0]
    assert metric["value"] == 0.852 and metric["confidence_interval"] == [0.846, 0.858]
    assert metric["base_value"] == 0.842 and metric["n"] == 1012 and metric["verdict"] == "worse"
    for heading in ("## What was measured", "## Training data", "## Intended use", "## Limits", "## License"):
        assert heading in body
    assert "may not be used commercially" in body and "rows from stories is not known" in body
    assert "| pairs | parallel | CC-BY-NC-4.0 | 30 |" in body
    assert "measurably worse than its base on" in body and "flores-english (English)" in body


def test_card_of_a_local_base_names_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "secret" / "tiny-base"
    folder.mkdir(parents=True)
    config = made_run.make_run(tmp_path / "run", layers=2, heads=2)
    local = config.model_copy(update={"model": config.model.model_copy(update={"path": str(folder)})})
    text = card.render(load_run(local, tmp_path / "run"), [])
    assert "tiny-base" in text and "secret" not in text and "base_model" not in text


def test_markdown_is_escaped() -> None:
    assert card.escape("a|b\n<script> [x](y) *z*") == "a\\|b &lt;script&gt; \\[x\\](y) \\*z\\*"


def test_figures_are_pictures(made: Made) -> None:
    names = [name for name in made.result.outputs if name.startswith("figures/")]
    stems = {Path(name).stem for name in names}
    named = {"training_loss", "changes", "shots", "case_study_arcs", "case_study_heads", "knockout"}
    assert stems == named | {
        f"heads_{relation}_{direction}" for relation, direction in (*made_run.RELATIONS, ("nsubj", "both"))
    }
    for name in names:
        data = (made.root / "report" / name).read_bytes()
        if name.endswith(".svg"):
            assert ElementTree.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"
        else:
            width, height = struct.unpack(">II", data[16:24])
            assert data.startswith(b"\x89PNG") and width > 500 and height > 200
            with Image.open(made.root / "report" / name) as image:
                colors = image.convert("RGB").getcolors(1 << 24)
            assert colors and len(colors) > 20


def test_latin_words_need_no_other_font() -> None:
    assert fonts.families_for("wine, été") == [fonts.DEFAULT]


def test_words_that_no_font_has_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_family_with", lambda letters: None)
    assert any(unicodedata.category(letter) == "Mn" for word in made_run.WORDS for letter in word)
    assert fonts.families_for("".join(made_run.WORDS)) is None
    data = load_run(made_run.make_run(tmp_path, layers=2, heads=2), tmp_path)
    assert data.probe and data.probe.case
    figure, caption = headfigures.case_arcs(data.probe.case)
    assert "Words are shown by number" in caption
    shown = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {"1", "2", "3", "4", "5", "6"} <= shown and not shown & set(made_run.WORDS)


def test_devanagari_is_not_drawn_unshaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "shapes", lambda: False)
    assert fonts.families_for("क्षेत्र") is None
