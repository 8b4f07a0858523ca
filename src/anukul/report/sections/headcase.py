"""Case studies: one sentence, every head between two of its words, and one head's arcs over the words."""

from anukul.report.arcs import arc_diagram
from anukul.report.blocks import Block, Figure, Fold, Grid, Prose
from anukul.report.data import RunData
from anukul.report.format import listing, percent, plural, points
from anukul.report.heatmap import color_scale, heatmap
from anukul.report.probedata import Case, CaseModel, Matrix, head_name
from anukul.report.sections.headmaps import Grid as Values


def cases_blocks(data: RunData) -> list[Block]:
    """Return the config's case study, then those asked for by `anukul probe --sentence`."""
    blocks: list[Block] = []
    own = data.probe.case if data.probe else None
    if own is not None:
        blocks += case_blocks(own, "Case study")
    for number, case in enumerate(data.cases):
        if own is None and number == 0:
            blocks += case_blocks(case, "Case study")
        else:
            title = f"Another case study: {case.pair}, in “{case.sentence}”"
            blocks.append(Fold(title, tuple(case_blocks(case, case.pair))))
    if data.old_cases:
        studies = plural(data.old_cases, "case study", "case studies")
        was = "was" if data.old_cases == 1 else "were"
        blocks.append(
            Prose(
                f"{studies} in probe/cases {was} made with another adapter and left out; ask again.", "note"
            )
        )
    return blocks


def case_blocks(case: Case, title: str) -> list[Block]:
    """Return one case study: the sentence with arcs, and every head on the chosen word pair."""
    query, key = case.words[case.query], case.words[case.key]
    chosen = (
        "the head that was asked for"
        if case.why == "asked"
        else "the head whose attention on the key changed most"
    )
    caption = (
        f"Layer {case.layer} head {case.head}, {chosen}, on “{case.sentence}”. Arcs run from the "
        f"attending word back to the word it looks at; thickness is the share of attention. From {query} to {key}: "
        f"base {percent(asked(case.base, case))}, adapted {percent(asked(case.adapted, case))}; on the first token: "
        f"base {percent(_sink_of(case.base, case))}, adapted {percent(_sink_of(case.adapted, case))}. One sentence "
        "is an illustration, not evidence: the tables above are."
    )
    blocks: list[Block] = []
    if case.swapped:
        said = f"A decoder looks backwards only, so the arc is shown from the later word, {query}, to {key}."
        blocks.append(Prose(said, "note"))
    blocks += [Prose(line, "note") for line in case.also]
    legend = (("base", "base"), ("adapted", "adapted"))
    blocks.append(Figure(title, arc_diagram(case), caption, case.where, legend))
    blocks.append(case_maps(case))
    line = pieces_line(case)
    if line:
        blocks.append(Prose(line, "note"))
    return blocks


def pieces_line(case: Case) -> str:
    """Return whether the case study depends on reading the query word at its last piece; "" where not known."""
    word = case.words[case.query]
    pieces = sorted({case.base.pieces, case.adapted.pieces} - {0})
    if not pieces:
        return ""
    if pieces == [1]:
        return f"{word} is one piece of the tokenizer, so there is no choice in where it is read."
    if case.mean is None:
        return ""
    cut = listing([str(number) for number in pieces])
    mean = case.mean
    said = (
        f"{word} is {cut} pieces; it is read at the last of them. With the mean over all of them instead, this head’s "
        f"attention on the key changes by {points(mean.shown)} points (last piece: {points(case.change)})"
    )
    if mean.holds:
        return f"{said}: the conclusion holds."
    if (mean.layer, mean.head) != (case.layer, case.head):
        return (
            f"{said}, and {mean.name} is the head that changes most ({points(mean.change)} points): which head "
            "stands out depends on the piece."
        )
    return f"{said}: the direction of the change depends on the piece."


def case_maps(case: Case) -> Grid:
    """Return attention from query to key of every head: base, adapted, difference."""
    base, adapted, difference, top, change = case_values(case)
    tips = case_tips(case, difference)
    figures = []
    values: Values | Matrix
    for name, values, bounds, css in (
        ("base", base, (0.0, top), "s"),
        ("adapted", adapted, (0.0, top), "s"),
        ("difference", difference, (-change, change), "d"),
    ):
        title = {"base": "Base", "adapted": "Adapted", "difference": "Adapted − base"}[name]
        alternative = f"{title}: attention {case.pair} of every head"
        ring = (case.layer, case.head)
        drawing = heatmap(values, bounds, css, alternative, f"case-{name}", tips, ring=ring)
        unit = "in points" if css == "d" else "in percent"
        caption = f"Attention {case.pair}, every head, {unit}; framed: the head above"
        figures.append(Figure(title, drawing + color_scale(bounds, css, css == "d"), caption, case.where))
    return Grid(tuple(figures))


def case_values(case: Case) -> tuple[Matrix, Matrix, Values, float, float]:
    """Return base, adapted, adapted minus base, and the ends of the two scales."""
    base, adapted = case.base.attention, case.adapted.attention
    top = max((cell for row in (*base, *adapted) for cell in row), default=0.0) or 1.0
    difference = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(adapted, base, strict=True)]
    change = max((abs(cell) for row in difference for cell in row), default=0.0) or 1.0
    return base, adapted, difference, top, change


def case_tips(case: Case, difference: Values) -> list[list[str]]:
    """Return the hover text of every head, [layers][heads]."""

    def cell(values: Matrix, layer: int, head: int) -> float | None:
        return values[layer][head] if layer < len(values) and head < len(values[layer]) else None

    return [
        [
            f"layer {layer}, head {head}\nbase {percent(cell(case.base.attention, layer, head))}, adapted "
            f"{percent(cell(case.adapted.attention, layer, head))}, difference {points(gap)} points\nwithout first "
            f"token and self: base {percent(cell(case.base.share, layer, head))}, adapted "
            f"{percent(cell(case.adapted.share, layer, head))}; one sentence, no interval"
            for head, gap in enumerate(row)
        ]
        for layer, row in enumerate(difference)
    ]


def asked(model: CaseModel, case: Case) -> float | None:
    """Return the shown head's attention from query to key."""
    rows = model.words
    return rows[case.query][case.key] if case.query < len(rows) and case.key < len(rows[case.query]) else None


def strongest(values: Matrix) -> tuple[str, float]:
    """Return the head with the largest value, and the value."""
    value, layer, head = max(
        ((cell, -layer, -head) for layer, row in enumerate(values) for head, cell in enumerate(row)),
        default=(0.0, 0, 0),
    )
    return head_name(-layer, -head), value


def _sink_of(model: CaseModel, case: Case) -> float | None:
    return model.sink[case.query] if case.query < len(model.sink) else None
