"""Figures for papers, PNG and SVG, drawn by matplotlib: the same numbers as on the page, without hover."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anukul.report.data import Case, Finding, Measure, Probe, RunData, Score
from anukul.report.fonts import families_for
from anukul.report.format import count, interval, percent
from anukul.report.palette import SCALES
from anukul.report.sections.heads import grid
from anukul.report.summary import primary
from anukul.report.svg import compact
from anukul.report.tables import ends
from anukul.report.verdicts import verdict
from anukul.rundir import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASE, ADAPTED, GOOD, BAD, FLAT = "#4460ad", "#bf5505", "#176d43", "#ae2119", "#59636e"
MOST_RELATIONS = 6
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
            for suffix in ("png", "svg"):
                buffer = io.BytesIO()
                metadata: dict[str, Any] = (
                    {"Software": None} if suffix == "png" else {"Date": None, "Creator": None}
                )
                figure.savefig(buffer, format=suffix, dpi=160, metadata=metadata)
                write_atomic(folder / f"{name}.{suffix}", buffer.getvalue())
            made.append((name, caption))
    return made


Drawing = Callable[[], "tuple[Figure, str]"]


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
    probe = data.probe
    if probe:
        for finding in probe.findings[:MOST_RELATIONS]:
            stem = "".join(letter if letter.isalnum() else "_" for letter in finding.relation)
            plans.append((f"heads_{stem}_{finding.direction}", _heads_plan(probe, finding)))
        if probe.case:
            case = probe.case
            plans.append(("case_study", lambda: case_figure(case)))
    return plans


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _loss(data: RunData) -> "tuple[Figure, str]":
    figure = _figure(7, 2.8)
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
    figure = _figure(7, 0.9 + 0.28 * len(rows))
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
    figure = _figure(2.6 * across + 0.4, 2.2 * down)
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


def _heads_plan(probe: Probe, finding: Finding) -> Drawing:
    return lambda: _heads(probe, finding)


def _heads(probe: Probe, finding: Finding) -> "tuple[Figure, str]":
    rows = probe.scores.get(finding.key, ())
    base, adapted = (grid(rows, model, probe.layers, probe.heads) for model in ("base", "adapted"))
    figure = _matrices(base, adapted)
    figure.suptitle(f"{finding.title}, n = {count(finding.n)} arcs", fontsize=10)
    caption = (
        f"{finding.title}: accuracy of every head, in percent. Best head of the base {finding.base.name} "
        f"{interval(finding.base.accuracy, True)}, of the adapted model {finding.adapted.name} "
        f"{interval(finding.adapted.accuracy, True)}; best fixed offset {percent(finding.baseline)}."
    )
    return figure, caption


def _matrices(base: list[list[float]], adapted: list[list[float]]) -> "Figure":
    from matplotlib.colors import LinearSegmentedColormap

    figure = _figure(7.6, 2.7)
    top = 100 * max((cell for row in (*base, *adapted) for cell in row), default=0.0) or 1.0
    difference = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(adapted, base, strict=True)]
    change = 100 * max((abs(cell) for row in difference for cell in row), default=0.0) or 1.0
    for axes, values, title, (low, high), scale in zip(
        figure.subplots(1, 3),
        (base, adapted, difference),
        ("base", "adapted", "adapted − base, points"),
        ((0.0, top), (0.0, top), (-change, change)),
        "ssd",
        strict=True,
    ):
        colors = LinearSegmentedColormap.from_list(scale, SCALES["light"][scale])
        shown = [[100 * cell for cell in row] for row in values]
        image = axes.imshow(shown, origin="lower", vmin=low, vmax=high, cmap=colors, interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("head")
        axes.set_ylabel("layer")
        figure.colorbar(image, ax=axes, shrink=0.75)
    return figure


def case_figure(case: Case) -> "tuple[Figure, str]":
    """Return the case study as words and arcs, and its caption; words are numbered where no font draws them rightly."""
    from matplotlib.path import Path as Curve

    families = families_for("".join(case.words))
    words = list(case.words) if families else [str(index + 1) for index in range(len(case.words))]
    figure = _figure(max(5.0, 0.95 * len(words)), 3.0)
    axes = figure.subplots()
    axes.set_axis_off()
    for model, color, sign in ((case.base, BASE, 1), (case.adapted, ADAPTED, -1)):
        for query, row in enumerate(model.words):
            for key, weight in enumerate(row[:query]):
                if weight < 0.06:
                    continue
                rise, near = sign * (0.25 + 0.28 * (query - key)), sign * 0.16
                points = [(query, near), (query, near + rise), (key, near + rise), (key, near)]
                _arc(
                    axes,
                    Curve(points, [1, 4, 4, 4]),
                    color,
                    0.6 + 5 * weight,
                    0.95 if query == case.query else 0.2,
                )
    for place, word in enumerate(words):
        chosen = place in (case.query, case.key)
        color = "#000000" if chosen else FLAT
        axes.text(place, 0, word, ha="center", va="center", fontsize=11, fontfamily=families, color=color)
    reach = 0.3 + 0.23 * max(1, len(words) - 1)
    axes.set_xlim(-0.6, len(words) - 0.4)
    axes.set_ylim(-reach, reach)
    axes.text(-0.5, reach * 0.9, "base", color=BASE)
    axes.text(-0.5, -reach * 0.95, "adapted", color=ADAPTED)
    caption = f"Attention of layer {case.layer} head {case.head} in one sentence, base above, adapted below."
    if not families:
        note = "Words are shown by number: no font on this machine draws their script rightly."
        figure.text(0.01, 0.01, note, fontsize=7, color=FLAT)
        caption += f" {note}"
    return figure, caption


def _arc(axes: "Axes", curve: Any, color: str, width: float, alpha: float) -> None:
    from matplotlib.patches import PathPatch

    axes.add_patch(
        PathPatch(curve, fill=False, edgecolor=color, linewidth=width, alpha=alpha, capstyle="round")
    )
