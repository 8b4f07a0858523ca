"""Layer x head heatmaps of a relation with a selector: base, adapted, difference, with baseline and marks."""

from collections.abc import Sequence
from dataclasses import dataclass

from anukul.records import HeadChange, HeadScore
from anukul.report.blocks import Explorer
from anukul.report.format import count, interval, percent, plural
from anukul.report.heatmap import Marks, color_scale, heatmap
from anukul.report.probedata import MODELS, Choice, Finding, Probe

Grid = list[list[float]]
LEGEND = (
    ("contour", "line: around heads above the best fixed offset"),
    ("dot", "dot: finds more than positions explain, after correction"),
    ("ring", "frame: that model’s best head, chosen on the other half"),
    ("up", "gained"),
    ("down", "lost, after correction"),
)


@dataclass(frozen=True, slots=True)
class Maps:
    """A relation's accuracies `[layers][heads]` with what is drawn over them."""

    base: Grid
    adapted: Grid
    marks: dict[str, Marks]  # base, adapted, difference
    best: dict[str, tuple[int, int]]

    @property
    def difference(self) -> Grid:
        """Adapted minus base."""
        return [
            [a - b for a, b in zip(x, y, strict=True)] for x, y in zip(self.adapted, self.base, strict=True)
        ]


def grid(rows: Sequence[HeadScore], model: str, layers: int, heads: int) -> Grid:
    """Return the accuracies of a model as [layers][heads]; heads without a row are 0."""
    values = [[0.0] * heads for _ in range(layers)]
    for row in rows:
        if row.model == model:
            values[row.layer][row.head] = row.accuracy
    return values


def maps_of(probe: Probe, finding: Finding) -> Maps:
    """Return a relation's maps; a head is above the baseline where its accuracy is, on the report half."""
    rows = probe.scores.get(finding.key, ())

    def flags(of: Sequence[tuple[int, int]]) -> list[list[bool]]:
        held = set(of)
        return [[(layer, head) in held for head in range(probe.heads)] for layer in range(probe.layers)]

    marks = {
        model: Marks(
            above=flags([_head(row) for row in rows if row.model == model and row.accuracy > row.baseline]),
            dots=flags([_head(row) for row in rows if row.model == model and row.significant]),
        )
        for model in MODELS
    }
    changes = probe.changes.get(finding.key, ())
    marks["difference"] = Marks(
        up=flags([_head(row) for row in changes if row.verdict == "gained"]),
        down=flags([_head(row) for row in changes if row.verdict == "lost"]),
    )
    base, adapted = (grid(rows, model, probe.layers, probe.heads) for model in MODELS)
    best = {"base": (finding.base.layer, finding.base.head)}
    best["adapted"] = (finding.adapted.layer, finding.adapted.head)
    return Maps(base, adapted, marks, best)


def _head(row: HeadScore | HeadChange) -> tuple[int, int]:
    return row.layer, row.head


def explorer(probe: Probe) -> Explorer:
    """Return the three heatmaps of the first relation, and the numbers of all relations for page.js."""
    tops = [row.accuracy for rows in probe.scores.values() for row in rows]
    top = max(0.05, -(-max(tops, default=1.0) // 0.05) * 0.05)
    shown = (*probe.findings, *probe.undirected)
    every = [maps_of(probe, finding) for finding in shown]
    change = max([0.05, *(abs(cell) for maps in every for row in maps.difference for cell in row)])
    entries: dict[str, object] = {
        option_key(finding): _entry(finding, maps, probe) for finding, maps in zip(shown, every, strict=True)
    }
    first, maps = shown[0], every[0]
    bounds, signed = (0.0, top), (-change, change)
    drawn = tuple(
        (
            name,
            title,
            heatmap(
                values, ends, css, f"{title}: {line_of(first)}", name,
                marks=maps.marks[name], ring=maps.best.get(name),
            ),
            color_scale(ends, css, css == "d"),
        )
        for name, title, values, ends, css in (
            ("base", "Base, accuracy in percent", maps.base, bounds, "s"),
            ("adapted", "Adapted, accuracy in percent", maps.adapted, bounds, "s"),
            ("difference", "Adapted − base, in points", maps.difference, signed, "d"),
        )
    )  # fmt: skip
    options = tuple((option_key(f), f"{f.title} ({count(f.n)} arcs)") for f in shown)
    data: dict[str, object] = {"top": top, "change": change, "heads": probe.heads, "entries": entries}
    source = (
        "probe/heads.parquet, half report; p and dots from all arcs; gained and lost: probe/changes.parquet"
    )
    return Explorer(options, drawn, data, line_of(first), source, LEGEND)


def option_key(finding: Finding) -> str:
    """Return the key of a relation and direction in the page's data."""
    return f"{finding.relation}/{finding.direction}"


def _entry(finding: Finding, maps: Maps, probe: Probe) -> dict[str, object]:
    rows = probe.scores.get(finding.key, ())
    size = probe.layers * probe.heads
    entry: dict[str, object] = {
        "line": line_of(finding),
        "n": finding.n,
        "baseline": _thousandths(finding.baseline),
        "offset": finding.offset,
    }
    for model, choice in (("base", finding.base), ("adapted", finding.adapted)):
        fields: dict[str, list[int | None]] = {
            name: [None] * size for name in ("accuracy", "low", "high", "mass", "p")
        }
        for row in rows:
            if row.model == model:
                for name, values in fields.items():
                    scale = 10_000 if name == "p" else 1000
                    values[row.layer * probe.heads + row.head] = _thousandths(getattr(row, name), scale)
        marks = maps.marks[model]
        entry[model] = {
            **fields,
            "best": choice.layer * probe.heads + choice.head,
            "above": _flags(marks.above),
            "dots": _flags(marks.dots),
        }
    changes = probe.changes.get(finding.key, ())
    if changes:
        held: dict[str, list[int | None]] = {name: [None] * size for name in ("change", "low", "high", "q")}
        for change in changes:
            for name, values in held.items():
                scale = 10_000 if name == "q" else 1000
                values[change.layer * probe.heads + change.head] = _thousandths(getattr(change, name), scale)
        marks = maps.marks["difference"]
        entry["changes"] = {**held, "n": changes[0].n, "up": _flags(marks.up), "down": _flags(marks.down)}
    return entry


def _flags(flags: Sequence[Sequence[bool]]) -> str:
    """Flags of heads in order, as a string of 0 and 1."""
    return "".join("1" if flag else "0" for row in flags for flag in row)


def _thousandths(value: float | None, scale: int = 1000) -> int | None:
    return None if value is None or value != value else round(scale * value)


def line_of(finding: Finding) -> str:
    """Return one sentence on a relation's best heads."""
    return (
        f"{finding.title}, n = {count(finding.n)} arcs: base’s best head {finding.base.name} "
        f"{interval(finding.base.accuracy, True)}, adapted’s {finding.adapted.name} "
        f"{interval(finding.adapted.accuracy, True)}; best fixed offset, {back(finding.offset)}, "
        f"{percent(finding.baseline)}; a guess among the earlier words {percent(finding.uniform)}"
        + (f"; random weights {percent(finding.random.value)}" if finding.random.value is not None else "")
        + f". {_known(finding)}"
    )


def _known(finding: Finding) -> str:
    knowing = [
        (model, choice.knowing) for model, choice in (("base", finding.base), ("adapted", finding.adapted))
    ]
    said = [
        f"in the {'adapted model' if model == 'adapted' else model} {_some(heads)}"
        for model, heads in knowing
        if heads
    ]
    return f"Heads that know it: {'; '.join(said)}." if said else "No head knows it by every control."


def _some(heads: Sequence[str]) -> str:
    more = f" and {len(heads) - 4} more" if len(heads) > 4 else ""
    return ", ".join(heads[:4]) + more


def back(offset: int | None) -> str:
    """Return an offset in words."""
    return f"{plural(abs(offset), 'word')} back" if offset is not None else "back"


def best_names(choice: Choice) -> str:
    """Return the heads that were best on the two halves."""
    return ", ".join(choice.crossed.heads) if choice.crossed else choice.name
