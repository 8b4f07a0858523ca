"""What a section of the page is made of; the template renders each kind, and escapes every text."""

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from anukul.report.format import NOTHING

Kind = Literal["text", "number", "verdict", "bar", "source", "sample"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: text, where the number stands (shown on hover), and a small drawing."""

    text: str
    kind: Kind = "text"
    source: str = ""
    svg: Markup | None = None
    note: str = ""  # small print under the text
    css: str = ""  # of a verdict whose word is not its color's name


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; `source` names the file that its numbers come from."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    source: str = ""
    block: str = "table"


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph; `style` is plain, term (explains a word), note, warning or heading."""

    text: str
    style: Literal["plain", "term", "note", "warning", "heading"] = "plain"
    block: str = "prose"


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its caption and legend [(class, label)]."""

    title: str
    svg: Markup
    caption: str
    source: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    block: str = "figure"


@dataclass(frozen=True, slots=True)
class Grid:
    """Figures side by side where there is room."""

    figures: tuple[Figure, ...]
    block: str = "grid"


@dataclass(frozen=True, slots=True)
class Explorer:
    """The layer x head heatmaps with their selector; `data` is read by page.js."""

    options: tuple[tuple[str, str], ...]  # relation key, label
    maps: tuple[tuple[str, str, Markup, Markup], ...]  # id, title, heatmap, color scale
    data: dict[str, object]
    line: str
    source: str
    legend: tuple[tuple[str, str], ...] = ()
    block: str = "explorer"


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks behind a line that opens them."""

    title: str
    blocks: tuple["Block", ...]
    block: str = "fold"


@dataclass(frozen=True, slots=True)
class Code:
    """Text to be read as typed, such as a command or the config."""

    title: str
    text: str
    source: str = ""
    block: str = "code"


Block = Table | Prose | Figure | Grid | Explorer | Fold | Code


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the page: the anchor, the title, the question it answers."""

    anchor: str
    title: str
    lead: str
    blocks: tuple[Block, ...]


def text(value: object, source: str = "", note: str = "") -> Cell:
    """Return a cell of plain text; a dash where there is none."""
    return Cell(str(value) if value not in (None, "") else NOTHING, "text", source, note=note)


def numeric(value: str, source: str = "", note: str = "") -> Cell:
    """Return a cell that is set as a number."""
    return Cell(value, "number", source, note=note)
