"""Figures for papers, PNG and SVG, drawn by matplotlib: the same numbers as on the page, without hover."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anukul.report.data import Measure, RunData, Score
from anukul.report.headfigures import ADAPTED, BASE, FLAT, Drawing, case_plans, figure_of, head_plans
from anukul.report.probedata import Case
from anukul.report.summary import primary
from anukul.report.svg import compact
from anukul.report.tables import ends
from anukul.report.verdicts import verdict
from anukul.rundir import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD, BAD = "#176d43", "#ae2119"
MOST_RELATIONS = 6  # shown in the model card; all of them stand in figures/
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "anukul",  # ids of the SVG's parts, so that the same numbers give the same bytes
    "svg.fonttype": "path",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "text.parse_math": False,
}


def write_figures(data: RunData, folder: Path) -> list[tuple[str, str]]:
    """Write every figure that the run has numbers for as PNG and SVG; return (file stem, caption)."""
    import matplotlib

    made: list[tuple[str, str]] = []
    with matplotlib.rc_context(STYLE):
        for name, draw in _plans(data):
            figure, caption = draw()
            save(figure, folder / name)
            made.append((name, caption))
    return made


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG and SVG; `path` has no suffix."""
    for suffix in ("png", "svg"):
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {"Software": None} if suffix == "png" else {"Date": None, "Creator": None}
        figure.savefig(buffer, format=suffix, dpi=160, metadata=metadata)
        write_atomic(path.with_name(f"{path.name}.{suffix}"), buffer.getvalue())


def for_card(made: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the figures that the model card shows: of the heatmaps the first few."""
    maps = [name for name, _ in made if name.startswith("heads_")]
    return [(name, caption) for name, caption in made if name not in maps[MOST_RELATIONS:]]


def write_case(case: Case, folder: Path) -> list[str]:
    """Write one case study's figures into a folder; return the names of the files."""
    import matplotlib

    names = []
    with matplotlib.rc_context(STYLE):
        for name, draw in case_plans(case, ""):
            save(draw()[0], folder / name)
            names += [f"{name}.png", f"{name}.svg"]
    return names


def _plans(data: RunData) -> list[tuple[str, Drawing]]:
    plans: list[tuple[str, Drawing]] = []
    if any(stage.points for stage in data.stages):
        plans.append(("training_loss", lambda: _loss(data)))
    rows = _changes(data)
    if rows:
        plans.append(("changes", lambda: _forest(rows, data)))
    curves = _curves(data)
    if curves:
        plans.append(("shots", lambda: _shots(curves, data)))
    return plans + head_plans(data)


def _loss(data: RunData) -> "tuple[Figure, str]":
    figure = figure_of(7, 2.8)
    axes = figure.subplots()
    start = 0.0
    for index, stage in enumerate(stage for stage in data.stages if stage.points):
        known = [(point.tokens, point.loss) for point in stage.points if point.loss is not None]
        axes.plot([at for at, _ in known], [loss for _, loss in known], color=ADAPTED, linewidth=1.2)
        end = stage.points[-1].tokens
        if index % 2 == 0:
            axes.axvspan(start, end, color="#f3f1ea", zorder=0, linewidth=0)
        axes.text(
            (start + end) / 2,
            1.01,
            stage.name,
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
        )
        start = end
    axes.set_xlabel("tokens seen, all stages")
    axes.set_ylabel("loss, nats per learned token")
    axes.set_xlim(0, start)
    axes.xaxis.set_major_formatter(lambda value, _: compact(value))
    return figure, "Training loss over the tokens seen; shading marks the stages."


def _changes(data: RunData) -> list[Score]:
    if data.evaluation is None:
        return []
    return [
        s for s in ends(primary(data.evaluation.scores)) if s.kind != "bits_per_byte" and s.difference.bounded
    ]


def _forest(rows: list[Score], data: RunData) -> "tuple[Figure, str]":
    figure = figure_of(7, 0.9 + 0.28 * len(rows))
    axes = figure.subplots()
    colors = {"better": GOOD, "worse": BAD}
    for place, score in enumerate(reversed(rows)):
        low, value, high = (100 * (end or 0.0) for end in _ends(score.difference))
        color = colors.get(verdict(score), FLAT)
        axes.plot([low, high], [place, place], color=color, linewidth=2, solid_capstyle="round")
        axes.plot([value], [place], "o", color=color, markersize=5)
    names = [
        f"{s.task}, {data.language(s.language)}"
        + (f", {s.shots}-shot" if s.kind == "multiple_choice" else "")
        for s in reversed(rows)
    ]
    axes.set_yticks(range(len(rows)), names)
    axes.axvline(0, color=FLAT, linestyle=":", linewidth=1)
    axes.set_xlabel("adapted − base, percentage points")
    return figure, "Change of accuracy with intervals: green better, red worse, gray no detectable change."


def _ends(measure: Measure) -> tuple[float | None, float | None, float | None]:
    return measure.low, measure.value, measure.high


def _curves(data: RunData) -> list[list[Score]]:
    curves: dict[tuple[str, str], list[Score]] = {}
    for score in primary(data.evaluation.scores) if data.evaluation else []:
        if score.kind == "multiple_choice":
            curves.setdefault((score.task, score.language), []).append(score)
    return [sorted(rows, key=lambda s: s.shots) for rows in curves.values() if len(rows) > 1]


def _shots(curves: list[list[Score]], data: RunData) -> "tuple[Figure, str]":
    across = min(3, len(curves))
    down = -(-len(curves) // across)
    figure = figure_of(2.6 * across + 0.4, 2.2 * down)
    grid_of_axes = figure.subplots(down, across, squeeze=False)
    for place, axes in enumerate(grid_of_axes.flat):
        if place >= len(curves):
            axes.set_axis_off()
            continue
        rows = curves[place]
        _curve(axes, [s.base for s in rows], BASE, "base", "--")
        _curve(axes, [s.adapted for s in rows], ADAPTED, "adapted", "-")
        chance = rows[0].chance
        if chance is not None:
            axes.axhline(100 * chance, color=FLAT, linestyle=":", linewidth=1)
        axes.set_xticks(range(len(rows)), [str(s.shots) for s in rows])
        axes.set_title(f"{rows[0].task} ({data.language(rows[0].language)})", fontsize=9)
        axes.set_xlabel("shots")
        axes.set_ylabel("accuracy, %")
    grid_of_axes[0][0].legend(fontsize=8)
    return figure, "Accuracy over the number of examples in the prompt, with intervals; dotted: chance."


def _curve(axes: "Axes", measures: list[Measure], color: str, label: str, style: str) -> None:
    known = [(place, m.value, m.low, m.high) for place, m in enumerate(measures) if m.value is not None]
    axes.plot(
        [k[0] for k in known], [100 * k[1] for k in known], style, color=color, marker="o", ms=4, label=label
    )
    banded = [(place, low, high) for place, _, low, high in known if low is not None and high is not None]
    lows, highs = [100 * low for _, low, _ in banded], [100 * high for _, _, high in banded]
    axes.fill_between([place for place, _, _ in banded], lows, highs, color=color, alpha=0.14, linewidth=0)
