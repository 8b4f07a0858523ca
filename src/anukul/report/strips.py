"""The knock-out as a drawing: the selected heads against every random set, one line for each model and way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from anukul.report.data import Measure
from anukul.report.format import MINUS, interval
from anukul.report.svg import picture, tag, ticks

LEFT, RIGHT, TOP, ROW, BELOW = 104.0, 14.0, 10.0, 40.0, 40.0


@dataclass(frozen=True, slots=True)
class Strip:
    """One line: the harm of the selected heads and of every random set; `css` is base or adapted."""

    label: str
    css: str
    selected: Measure
    random: tuple[float, ...]


def strip_chart(strips: Sequence[Strip], label: str, title: str, share: bool, width: float = 460.0) -> Markup:
    """Return the drawing; `share`: values are shares of 1, shown as points."""
    ends = [0.0]
    for strip in strips:
        measure = strip.selected
        ends += [end for end in (measure.value, measure.low, measure.high) if end is not None]
        ends += strip.random
    low, high = min(ends), max(ends)
    room = (high - low) * 0.05 or 0.01
    low, high = low - room, high + room
    factor = 100 if share else 1

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (width - LEFT - RIGHT)

    floor = TOP + ROW * len(strips)
    parts: list[Markup] = []
    for value in ticks(factor * low, factor * high):
        at = x(value / factor)
        parts.append(tag("line", {"x1": at, "x2": at, "y1": TOP, "y2": floor, "class": "rule"}))
        parts.append(
            tag("text", {"x": at, "y": floor + 14, "class": "tick"}, f"{value:g}".replace("-", MINUS))
        )
    parts.append(tag("line", {"x1": x(0.0), "x2": x(0.0), "y1": TOP, "y2": floor, "class": "zero"}))
    for place, strip in enumerate(strips):
        parts += _line(strip, TOP + ROW * place + ROW / 2, x, share)
    parts.append(tag("text", {"x": (LEFT + width - RIGHT) / 2, "y": floor + 32, "class": "axis"}, title))
    return picture(width, floor + BELOW, label, *parts, css="strips", limits=(320.0, 620.0))


def _line(strip: Strip, y: float, x: Callable[[float], float], share: bool) -> list[Markup]:
    parts: list[Markup] = [tag("text", {"x": LEFT - 10, "y": y + 4, "class": "tick end"}, strip.label)]
    held: dict[float, int] = {}
    for value in strip.random:
        # equal values are stacked, below the line of the heads that were found
        held[value] = held.get(value, 0) + 1
        fall = min(7, held[value]) * 2.2
        place = {"cx": x(value), "cy": y + fall, "r": 2.6, "class": "other-set"}
        shown = interval(Measure(value), share, signed=True)
        parts.append(tag("circle", {**place, "data_tip": f"{strip.label}: a random set, {shown}"}))
    measure = strip.selected
    if measure.value is None:
        return parts
    above = y - 7
    if measure.low is not None and measure.high is not None:
        ends = {
            "x1": x(measure.low),
            "x2": x(measure.high),
            "y1": above,
            "y2": above,
            "class": f"bar {strip.css}",
        }
        parts.append(tag("line", ends))
    at, size = x(measure.value), 6.0
    path = f"M{at - size:g} {above:g}l{size:g} {-size:g}l{size:g} {size:g}l{-size:g} {size:g}Z"
    tip = f"{strip.label}: the heads found, {interval(measure, share, signed=True)}"
    parts.append(tag("path", {"d": path, "class": f"dot {strip.css}", "data_tip": tip}))
    return parts
