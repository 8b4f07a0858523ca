"""Layer x head heatmaps for the page: cells, the border of what is above a baseline, marks on single heads."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from anukul.report.format import number
from anukul.report.svg import LEVELS, level, picture, tag

Flags = Sequence[Sequence[bool]]
LEFT, TOP, BELOW = 36.0, 4.0, 30.0


@dataclass(frozen=True, slots=True)
class Marks:
    """What is drawn over the cells, each `[layers][heads]`; page.js draws the same for the relation that is chosen."""

    above: Flags = ()  # a line runs around these
    dots: Flags = ()
    up: Flags = ()
    down: Flags = ()


def cell_size(layers: int, heads: int) -> float:
    """Return the side of a cell in pixels."""
    size = max(layers, heads)
    return 28.0 if size <= 8 else 16.0 if size <= 16 else 9.0


def heatmap(
    values: Sequence[Sequence[float]],
    bounds: tuple[float, float],
    css: str,
    label: str,
    name: str,
    tips: Sequence[Sequence[str]] | None = None,
    marks: Marks | None = None,
    ring: tuple[int, int] | None = None,
) -> Markup:
    """Return layers (rows, first layer at the bottom) x heads as cells.

    `css` is "s" (sequential) or "d" (diverging): cells carry the class s0 … s20 or d0 … d20. Without `tips`, the hover
    text of each cell, page.js makes it from the page's data. `ring` is a (layer, head) to be framed.
    """
    layers, heads = len(values), max((len(row) for row in values), default=0)
    cell = cell_size(layers, heads)
    gap = 1.0 if cell < 12 else 2.0
    cells: list[Markup] = []
    for layer, row in enumerate(values):
        y = TOP + (layers - 1 - layer) * cell
        for head, value in enumerate(row):
            place = {"x": LEFT + head * cell, "y": y, "width": cell - gap, "height": cell - gap}
            shade = f"{css}{level(value, *bounds)}{' best' if ring == (layer, head) else ''}"
            tip = tips[layer][head] if tips else None
            cells.append(tag("rect", {**place, "class": shade, "data_tip": tip}))
    held = {"class": "cells", "data_map": name, "data_heads": heads}
    parts = [tag("g", held, *cells)]
    if marks is not None:
        drawn = overlay(marks, layers, heads)
        parts += [tag("path", {"class": kind, "d": path}) for kind, path in drawn.items()]
    parts += _axes(layers, heads, cell, gap)
    width, floor = LEFT + heads * cell + 2, TOP + layers * cell
    return picture(width, floor + BELOW, label, *parts, css="heat", limits=(0.0, min(width * 1.15, 340.0)))


def _axes(layers: int, heads: int, cell: float, gap: float) -> list[Markup]:
    parts: list[Markup] = []
    for layer in range(0, layers, _every(layers)):
        y = TOP + (layers - 1 - layer) * cell + cell / 2 + 3
        parts.append(tag("text", {"x": LEFT - 5, "y": y, "class": "tick end"}, str(layer)))
    floor = TOP + layers * cell
    for head in range(0, heads, _every(heads)):
        x = LEFT + head * cell + (cell - gap) / 2
        parts.append(tag("text", {"x": x, "y": floor + 11, "class": "tick"}, str(head)))
    parts.append(tag("text", {"x": LEFT + heads * cell / 2, "y": floor + 25, "class": "axis"}, "head"))
    middle = TOP + layers * cell / 2
    turned = {"x": 9, "y": middle, "class": "axis", "transform": f"rotate(-90 9 {middle:g})"}
    parts.append(tag("text", turned, "layer"))
    return parts


def _every(size: int) -> int:
    return 1 if size <= 8 else 2 if size <= 16 else 8


def overlay(marks: Marks, layers: int, heads: int) -> dict[str, str]:
    """Return the paths `contour`, `dots`, `ups` and `downs`, as page.js draws them."""
    cell = cell_size(layers, heads)
    gap = 1.0 if cell < 12 else 2.0

    def middle(layer: int, head: int) -> tuple[float, float]:
        return LEFT + head * cell + (cell - gap) / 2, TOP + (layers - 1 - layer) * cell + (cell - gap) / 2

    size = cell * 0.16
    paths = {"contour": "".join(_border(marks.above, layers, heads, cell, gap))}
    for kind, flags in (("dots", marks.dots), ("ups", marks.up), ("downs", marks.down)):
        paths[kind] = "".join(
            mark(kind, *middle(layer, head), size)
            for layer, row in enumerate(flags)
            for head, flag in enumerate(row)
            if flag
        )
    return paths


def mark(kind: str, x: float, y: float, size: float) -> str:
    """Return a dot or a triangle as a path."""
    if kind == "dots":
        around = f"a{size:g} {size:g} 0 1 0"
        return f"M{x - size:g} {y:g}{around} {2 * size:g} 0{around} {-2 * size:g} 0"
    half = size * 1.3
    start, tip = (y + half, -2 * half) if kind == "ups" else (y - half, 2 * half)
    return f"M{x - half:g} {start:g}h{2 * half:g}l{-half:g} {tip:g}z"


def borders(above: Flags) -> list[tuple[str, int, int]]:
    """Return the sides of cells that part those that are flagged from the others, as (side, layer, head)."""
    found: list[tuple[str, int, int]] = []
    for layer, row in enumerate(above):
        for head, flag in enumerate(row):
            if not flag:
                continue
            if layer + 1 == len(above) or not above[layer + 1][head]:
                found.append(("top", layer, head))
            if layer == 0 or not above[layer - 1][head]:
                found.append(("bottom", layer, head))
            if head == 0 or not row[head - 1]:
                found.append(("left", layer, head))
            if head + 1 == len(row) or not row[head + 1]:
                found.append(("right", layer, head))
    return found


def _border(above: Flags, layers: int, heads: int, cell: float, gap: float) -> list[str]:
    """Lines in the gaps between cells."""
    lines = []
    for side, layer, head in borders(above):
        x, y = LEFT + head * cell - gap / 2, TOP + (layers - 1 - layer) * cell - gap / 2
        if side in ("top", "bottom"):
            lines.append(f"M{x:g} {y + (cell if side == 'bottom' else 0):g}h{cell:g}")
        else:
            lines.append(f"M{x + (cell if side == 'right' else 0):g} {y:g}v{cell:g}")
    return lines


def color_scale(bounds: tuple[float, float], css: str, signed: bool) -> Markup:
    """Return the legend of a heatmap's colors with its ends and middle."""
    width = 10.0
    cells = [
        tag("rect", {"x": 4 + step * width, "y": 2, "width": width, "height": 10, "class": f"{css}{step}"})
        for step in range(LEVELS + 1)
    ]
    low, high = bounds
    marks = ((4.0, low, "start"), (4 + (LEVELS + 1) * width / 2, (low + high) / 2, ""), (214.0, high, "end"))
    for x, value, anchor in marks:
        shown = number(100 * value, signed=signed)
        cells.append(tag("text", {"x": x, "y": 25, "class": f"tick {anchor}".strip()}, shown))
    unit = "points" if signed else "percent"
    return picture(
        220, 30, f"color scale from {number(100 * low)} to {number(100 * high)} {unit}", *cells, css="scale"
    )
