"""Drawings for the page, as SVG text: colors come from the page's classes, hover from `data-tip` and page.js."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from anukul.report.data import Measure

LEVELS = 20  # steps of a color scale, less one


def tag(name: str, attributes: dict[str, object], *children: str | Markup) -> Markup:
    """Return an element; attribute values and plain strings are escaped, `_` in names becomes `-`."""
    parts = [
        f'{key.replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    inner = "".join(str(escape(child)) for child in children)
    opening = " ".join([name, *parts])
    return Markup(f"<{opening}>{inner}</{name}>") if inner or name == "text" else Markup(f"<{opening}/>")


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def picture(
    width: float,
    height: float,
    label: str,
    *children: Markup,
    css: str = "",
    limits: tuple[float, float] | None = None,
) -> Markup:
    """Return an SVG that scales with its place, within `limits` of pixels; `label` is its text alternative."""
    attributes: dict[str, object] = {
        "viewBox": f"0 0 {_short(float(width))} {_short(float(height))}",
        "role": "img",
        "aria-label": label,
        "class": css or None,
        "style": f"min-width:{limits[0]:.0f}px;max-width:{limits[1]:.0f}px" if limits else None,
    }
    return tag("svg", attributes, *children)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return about `wanted` round numbers within [low, high]."""
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [low]
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a line: place, ends of its interval, and what hover shows."""

    x: float
    y: float
    low: float | None
    high: float | None
    tip: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart; `css` is its color class."""

    css: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True)
class Axes:
    """The frame of a chart; `labels` are the ticks below, `regions` are named stretches of x."""

    label: str
    x_title: str
    y_title: str
    width: float = 800.0
    height: float = 270.0
    labels: tuple[tuple[float, str], ...] = ()
    regions: tuple[tuple[float, float, str], ...] = ()
    level: tuple[float, str] | None = None  # a horizontal line, such as chance
    y_low: float | None = None
    percent: bool = False
    markers: bool = True
    margins: tuple[float, float, float, float] = field(
        default=(22.0, 12.0, 40.0, 52.0)
    )  # top right bottom left


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _range(values: list[float], floor: float | None) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return (low - pad if floor is None else min(floor, low), high + pad)


def chart(lines: Sequence[Line], axes: Axes) -> Markup:
    """Return a line chart with interval bands and a hover target per point."""
    dots = [dot for line in lines for dot in line.dots]
    if not dots:
        return Markup("")
    values = [v for dot in dots for v in (dot.y, dot.low, dot.high) if v is not None]
    if axes.level:
        values.append(axes.level[0])
    top, right, bottom, left = axes.margins
    y_low, y_high = _range(values, axes.y_low)
    if any(name for _, _, name in axes.regions):
        y_high += (y_high - y_low) * 0.1  # room for the names
    xs = [dot.x for dot in dots] + [edge for start, end, _ in axes.regions for edge in (start, end)]
    x_low, x_high = min(xs), max(xs)
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    inset = 14.0 if axes.markers else 0.0
    x = _Scale(x_low, x_high, left + inset, axes.width - right - inset)
    y = _Scale(y_low, y_high, axes.height - bottom, top)
    parts = _frame(axes, x, y)
    parts += [_band(line, x, y) for line in lines]
    for line in lines:
        path = "M" + "L".join(f"{_short(x(dot.x))} {_short(y(dot.y))}" for dot in line.dots)
        parts.append(tag("path", {"d": path, "class": f"line {line.css}"}))
    for line in lines:
        parts += _targets(line, x, y, axes)
    return picture(
        axes.width, axes.height, axes.label, *parts, css="chart wide" if axes.width > 600 else "chart"
    )


def _frame(axes: Axes, x: _Scale, y: _Scale) -> list[Markup]:
    top, right, bottom, left = axes.margins
    floor, edge = axes.height - bottom, axes.width - right
    parts: list[Markup] = []
    for index, (start, end, name) in enumerate(axes.regions):
        if index % 2 == 0:
            box = {
                "x": x(start),
                "y": top,
                "width": x(end) - x(start),
                "height": floor - top,
                "class": "region",
            }
            parts.append(tag("rect", box))
        middle = {"x": (x(start) + x(end)) / 2, "y": top + 12, "class": "region-name"}
        parts.append(tag("text", middle, name))
    for value in ticks(y.low, y.high):
        shown = (
            f"{100 * value:g} %" if axes.percent else f"{value:,g}" if abs(value) < 1e4 else compact(value)
        )
        parts.append(tag("line", {"x1": left, "x2": edge, "y1": y(value), "y2": y(value), "class": "rule"}))
        parts.append(tag("text", {"x": left - 6, "y": y(value) + 4, "class": "tick end"}, shown))
    labels = axes.labels or tuple((value, compact(value)) for value in ticks(x.low, x.high, 6))
    for value, shown in labels:
        parts.append(tag("text", {"x": x(value), "y": floor + 16, "class": "tick"}, shown))
    if axes.level:
        height = y(axes.level[0])
        parts.append(tag("line", {"x1": left, "x2": edge, "y1": height, "y2": height, "class": "level"}))
        parts.append(tag("text", {"x": edge, "y": height - 4, "class": "tick end"}, axes.level[1]))
    parts.append(tag("text", {"x": (left + edge) / 2, "y": axes.height - 6, "class": "axis"}, axes.x_title))
    parts.append(tag("text", {"x": 2, "y": 10, "class": "axis start"}, axes.y_title))
    return parts


def compact(value: float) -> str:
    """Return a count as 950, 12 k, 3.4 M."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.4g}"


def _band(line: Line, x: _Scale, y: _Scale) -> Markup:
    known = [(dot.x, dot.low, dot.high) for dot in line.dots if dot.low is not None and dot.high is not None]
    if len(known) < 2:
        return Markup("")
    upper = [f"{_short(x(at))} {_short(y(high))}" for at, _, high in known]
    lower = [f"{_short(x(at))} {_short(y(low))}" for at, low, _ in reversed(known)]
    return tag("path", {"d": "M" + "L".join(upper + lower) + "Z", "class": f"band {line.css}"})


def _targets(line: Line, x: _Scale, y: _Scale, axes: Axes) -> list[Markup]:
    parts: list[Markup] = []
    for dot in line.dots:
        if axes.markers and dot.low is not None and dot.high is not None:
            ends = {
                "x1": x(dot.x),
                "x2": x(dot.x),
                "y1": y(dot.low),
                "y2": y(dot.high),
                "class": f"bar {line.css}",
            }
            parts.append(tag("line", ends))
        radius = 4.0 if axes.markers else 5.0
        css = f"dot {line.css}" if axes.markers else f"ghost {line.css}"
        place = {"cx": x(dot.x), "cy": y(dot.y), "r": radius, "class": css, "data_tip": dot.tip}
        parts.append(tag("circle", place))
    return parts


def whisker(measure: Measure, low: float, high: float, css: str, tip: str) -> Markup:
    """Return a small interval on the axis [low, high] with its zero line; empty without an interval."""
    if measure.value is None or measure.low is None or measure.high is None or low >= high:
        return Markup("")
    x = _Scale(low, high, 4.0, 136.0)
    zero = {"x1": x(0.0), "x2": x(0.0), "y1": 1, "y2": 21, "class": "zero"}
    bar = {"x1": x(measure.low), "x2": x(measure.high), "y1": 11, "y2": 11, "class": f"whisker {css}"}
    dot = {"cx": x(measure.value), "cy": 11, "r": 4, "class": f"spot {css}"}
    return picture(140, 22, tip, tag("line", zero), tag("line", bar), tag("circle", dot), css="forest")


def level(value: float, low: float, high: float) -> int:
    """Return the step 0 … LEVELS of a color scale that `value` falls on."""
    share = (value - low) / (high - low) if high > low else 0.0
    return round(min(1.0, max(0.0, share)) * LEVELS)
