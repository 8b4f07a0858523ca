"""Static figures of heads, for papers: heatmaps with contour and marks, the knock-out, case studies."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from anukul.report.data import Measure, RunData
from anukul.report.fonts import families_for
from anukul.report.format import count, interval, percent
from anukul.report.heatmap import Flags, Marks, borders
from anukul.report.palette import SCALES
from anukul.report.probedata import Case, Finding, Knockout, Probe
from anukul.report.sections.headcase import asked, case_values
from anukul.report.sections.headmaps import maps_of
from anukul.report.sections.knockout import strips_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Drawing = Callable[[], "tuple[Figure, str]"]
BASE, ADAPTED, FLAT = "#4460ad", "#bf5505", "#59636e"
FAINT = 0.06  # attention below this is not drawn


def figure_of(width: float, height: float, fixed: bool = False) -> "Figure":
    """Return an empty figure, in inches; unless `fixed`, its axes are given the room that their labels leave."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=None if fixed else "constrained")


def head_plans(data: RunData) -> list[tuple[str, Drawing]]:
    """Return (file stem, how to draw it) of every figure on heads that the run has numbers for."""
    plans: list[tuple[str, Drawing]] = []
    probe = data.probe
    if probe:
        for finding in (*probe.findings, *probe.undirected):
            stem = "".join(letter if letter.isalnum() else "_" for letter in finding.relation)
            plans.append((f"heads_{stem}_{finding.direction}", _heads_plan(probe, finding)))
        found = probe.knockout
        if found and found.effects:
            plans.append(("knockout", _knockout_plan(found)))
        if probe.case:
            plans += case_plans(probe.case, "case_study_")
    for number, case in enumerate(data.cases, start=2 if probe and probe.case else 1):
        plans += case_plans(case, "case_study_" if number == 1 else f"case_study_{number}_")
    return plans


def case_plans(case: Case, prefix: str) -> list[tuple[str, Drawing]]:
    """Return the two figures of a case study: arcs over the sentence, and every head between the two words."""
    return [
        (f"{prefix}arcs", lambda: case_arcs(case)),
        (f"{prefix}heads", lambda: case_heads(case)),
    ]


def _heads_plan(probe: Probe, finding: Finding) -> Drawing:
    return lambda: _heads(probe, finding)


def _knockout_plan(found: Knockout) -> Drawing:
    return lambda: _knockout(found)


def _heads(probe: Probe, finding: Finding) -> "tuple[Figure, str]":
    maps = maps_of(probe, finding)
    figure, panels = _matrices(maps.base, maps.adapted)
    for axes, name in zip(panels, ("base", "adapted", "difference"), strict=True):
        _draw_marks(axes, maps.marks[name])
        if name in maps.best:
            _frame(axes, *maps.best[name])
    figure.suptitle(f"{finding.title}, n = {count(finding.n)} arcs", fontsize=10, y=0.985)
    caption = (
        f"{finding.title}: accuracy of every head, in percent. Best head of the base {finding.base.name} "
        f"{interval(finding.base.accuracy, True)}, of the adapted model {finding.adapted.name} "
        f"{interval(finding.adapted.accuracy, True)}; best fixed offset {percent(finding.baseline)}. The orange line "
        "runs around heads above that offset; dots: heads that find more than positions explain, after correction; "
        "frame: best head, chosen on the other half; triangles: heads gained (up) and lost (down)."
    )
    return figure, caption


def _matrices(
    base: Sequence[Sequence[float]], adapted: Sequence[Sequence[float]]
) -> "tuple[Figure, list[Axes]]":
    from matplotlib.colors import LinearSegmentedColormap

    layers = len(base)
    heads = max((len(row) for row in base), default=1)
    # places are fixed: finding them anew for every figure would take longer than all the drawing
    figure = figure_of(7.6, 1.35 + min(3.0, max(0.9, 1.95 * layers / max(heads, 1))), fixed=True)
    height = float(figure.get_figheight())
    panels = [figure.add_axes((0.06 + 0.325 * i, 0.9 / height, 0.26, 1 - 1.4 / height)) for i in range(3)]
    bars = [figure.add_axes((0.08 + 0.325 * i, 0.28 / height, 0.22, 0.09 / height)) for i in range(3)]
    top = 100 * max((cell for row in (*base, *adapted) for cell in row), default=0.0) or 1.0
    difference = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(adapted, base, strict=True)]
    change = 100 * max((abs(cell) for row in difference for cell in row), default=0.0) or 1.0
    for axes, bar, values, title, (low, high), scale in zip(
        panels,
        bars,
        (base, adapted, difference),
        ("base, %", "adapted, %", "adapted − base, points"),
        ((0.0, top), (0.0, top), (-change, change)),
        "ssd",
        strict=True,
    ):
        colors = LinearSegmentedColormap.from_list(scale, SCALES["light"][scale])
        shown = [[100 * cell for cell in row] for row in values]
        image = axes.imshow(
            shown, origin="lower", vmin=low, vmax=high, cmap=colors, interpolation="nearest", aspect="auto"
        )
        axes.set_title(title, fontsize=9)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel("head", labelpad=1)
        axes.set_ylabel("layer", labelpad=1)
        axes.set_xticks(range(0, heads, _every(heads)))
        axes.set_yticks(range(0, layers, _every(layers)))
        figure.colorbar(image, cax=bar, orientation="horizontal")
    return figure, panels


def _every(size: int) -> int:
    return 1 if size <= 8 else 2 if size <= 16 else 8


def _draw_marks(axes: "Axes", marks: Marks) -> None:
    """Draw the border of what is above the baseline, and the marks on single heads."""
    from matplotlib.collections import LineCollection

    lines = []
    for side, layer, head in borders(marks.above):
        left, right, low, high = head - 0.5, head + 0.5, layer - 0.5, layer + 0.5
        ends = {
            "top": ((left, high), (right, high)),
            "bottom": ((left, low), (right, low)),
            "left": ((left, low), (left, high)),
            "right": ((right, low), (right, high)),
        }
        lines.append(ends[side])
    axes.add_collection(
        LineCollection(lines, colors=ADAPTED, linewidths=2.0, capstyle="projecting", clip_on=False)
    )
    size = max(3.0, 16 / max(axes.get_xlim()[1] - axes.get_xlim()[0], 1) ** 0.5)
    for flags, shape in ((marks.dots, "o"), (marks.up, "^"), (marks.down, "v")):
        at = _places(flags)
        if at:
            axes.plot(
                [head for _, head in at], [layer for layer, _ in at], shape, color="white", markersize=size,
                markeredgecolor="black", markeredgewidth=0.8,
            )  # fmt: skip


def _places(flags: Flags) -> list[tuple[int, int]]:
    return [(layer, head) for layer, row in enumerate(flags) for head, flag in enumerate(row) if flag]


def _frame(axes: "Axes", layer: int, head: int) -> None:
    from matplotlib.patches import Rectangle

    place = (head - 0.4, layer - 0.4)
    for color, width in (("white", 2.8), ("black", 1.2)):  # seen on light cells and on dark ones
        axes.add_patch(Rectangle(place, 0.8, 0.8, fill=False, edgecolor=color, linewidth=width))


def _knockout(found: Knockout) -> "tuple[Figure, str]":
    panels = [
        (measure, title, factor)
        for measure, title, factor in (
            ("accuracy", "drop in agreement accuracy, points", 100),
            ("bits_per_byte", "rise in bits per byte of held-out text", 1),
        )
        if strips_of(found, measure)
    ]
    lines = max(len(strips_of(found, measure)) for measure, _, _ in panels)
    figure = figure_of(3.9 * len(panels), 0.9 + 0.36 * lines)
    for axes, (measure, title, factor) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        strips = strips_of(found, measure)
        for place, strip in enumerate(reversed(strips)):
            below, values = place - 0.18, [factor * value for value in strip.random]
            axes.plot(
                values, [below] * len(values), "o", color=FLAT, markersize=4, alpha=0.35, markeredgewidth=0
            )
            color = BASE if strip.css == "base" else ADAPTED
            _whisker(axes, strip.selected, place + 0.14, factor, color)
        axes.set_yticks(range(len(strips)), [strip.label for strip in reversed(strips)])
        axes.axvline(0, color=FLAT, linestyle=":", linewidth=1)
        axes.set_xlabel(title)
        axes.set_ylim(-0.6, len(strips) - 0.4)
    names = ", ".join(head.name for head in found.heads)
    return figure, (
        f"Heads {names} silenced (diamonds, with intervals) against {count(found.sets)} other sets of as many heads of "
        "the same layers (gray)."
    )  # fmt: skip


def _whisker(axes: "Axes", measure: Measure, place: float, factor: int, color: str) -> None:
    if measure.value is None:
        return
    if measure.low is not None and measure.high is not None:
        axes.plot([factor * measure.low, factor * measure.high], [place, place], color=color, linewidth=2)
    axes.plot([factor * measure.value], [place], "D", color=color, markersize=6, markeredgecolor="white")


def case_heads(case: Case) -> "tuple[Figure, str]":
    """Return every head's attention between the two words: base, adapted, difference; and the caption."""
    base, adapted, _, _, _ = case_values(case)
    figure, panels = _matrices(base, adapted)
    for axes in panels:
        _frame(axes, case.layer, case.head)
    families = families_for(case.pair)
    shown = case.pair if families else f"word {case.query + 1} → word {case.key + 1}"
    figure.suptitle(f"attention {shown}", fontsize=10, fontfamily=families, y=0.985)
    return figure, (
        f"Attention from {case.words[case.query]} to {case.words[case.key]} of every head, in “{case.sentence}”; "
        f"framed: layer {case.layer} head {case.head}."
    )


def case_arcs(case: Case) -> "tuple[Figure, str]":
    """Return the case study as words and arcs, and its caption; words are numbered where no font draws them rightly."""
    from matplotlib.path import Path as Curve

    families = families_for("".join(case.words))
    words = list(case.words) if families else [str(index + 1) for index in range(len(case.words))]
    figure = figure_of(max(5.0, 0.95 * len(words)), 3.0)
    axes = figure.subplots()
    axes.set_axis_off()
    for model, color, sign in ((case.base, BASE, 1), (case.adapted, ADAPTED, -1)):
        for query, row in enumerate(model.words):
            for key, weight in enumerate(row[:query]):
                own = (query, key) == (case.query, case.key)
                if weight < FAINT and not own:
                    continue
                rise, near = sign * (0.25 + 0.28 * (query - key)), sign * 0.16
                points = [(query, near), (query, near + rise), (key, near + rise), (key, near)]
                strength = 1.0 if own else 0.5 if query == case.query else 0.2
                _arc(axes, Curve(points, [1, 4, 4, 4]), color, 0.6 + 5 * weight, strength)
    for place, word in enumerate(words):
        chosen = place in (case.query, case.key)
        color = "#000000" if chosen else FLAT
        axes.text(place, 0, word, ha="center", va="center", fontsize=11, fontfamily=families, color=color)
    reach = 0.3 + 0.23 * max(1, len(words) - 1)
    axes.set_xlim(-0.6, len(words) - 0.4)
    axes.set_ylim(-reach, reach)
    for name, model, color, height in (
        ("base", case.base, BASE, reach * 0.9),
        ("adapted", case.adapted, ADAPTED, -reach * 0.95),
    ):
        axes.text(-0.5, height, f"{name}, {percent(asked(model, case))}", color=color)
    caption = (
        f"Attention of layer {case.layer} head {case.head} in one sentence, base above, adapted below; the number is "
        f"that from {case.words[case.query]} to {case.words[case.key]}."
    )
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
