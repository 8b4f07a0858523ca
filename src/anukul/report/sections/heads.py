"""Heads: layer x head heatmaps with a selector, best heads against a fixed offset, and the case study."""

from collections.abc import Sequence

from anukul.records import HeadScore
from anukul.report.arcs import arc_diagram
from anukul.report.blocks import Block, Cell, Explorer, Figure, Grid, Prose, Section, Table, numeric, text
from anukul.report.data import Case, CaseModel, Choice, Finding, Probe, RunData
from anukul.report.format import count, interval, p_value, percent, plural, points
from anukul.report.svg import color_scale, heatmap
from anukul.report.tables import adjusted, domain, drawn, verdict_cell
from anukul.report.verdicts import head_verdict, reads

LEAD = (
    "An attention head is a small part of a layer that decides which earlier words a word looks at. For each relation "
    "of grammar, such as that of a verb to its subject, how often does a head look hardest at the right word?"
)
METHOD = (
    "A decoder sees only backwards, so a relation is scored from its later word. The first token and the word itself "
    "are left out. Heads are chosen on one half of the sentences, and every number here is from the other half. The "
    "fixed offset is the best rule of the kind “always look k words back”: a head that does not beat it may know "
    "position only, not grammar. The sink is the attention that lies on the first token, where heads rest. "
    "“Moved” means that another head does the work now, and no better or worse."
)
LEVEL = (0.0, 1.0)


def section(data: RunData) -> Section:
    """Return the section."""
    probe = data.probe
    if probe is None:
        note = Prose("The step 'probe' was not run in this run folder.", "note")
        return Section("heads", "Heads", LEAD, (note,))
    blocks: list[Block] = [Prose(METHOD, "term")]
    if probe.findings:
        blocks += [explorer(probe), findings_table(probe), _sink(probe)]
    else:
        blocks.append(Prose("No relation had enough arcs to be scored.", "note"))
    if probe.rare:
        blocks.append(Prose(f"Too rare to be scored: {'; '.join(probe.rare)}.", "note"))
    if probe.case:
        blocks += case_blocks(probe.case)
    return Section("heads", "Heads", LEAD, tuple(blocks))


def _sink(probe: Probe) -> Prose:
    used = count(probe.sentences.get("report"))
    return Prose(
        f"On average over all heads {percent(probe.sink_base)} of the attention of the base, and "
        f"{percent(probe.sink_adapted)} of that of the adapted model, lies on the first token (probe/selected.json: "
        f"sink). {used} sentences of {probe.treebank} make the half that is reported.",
        "note",
    )


def grid(rows: Sequence[HeadScore], model: str, layers: int, heads: int) -> list[list[float]]:
    """Return the accuracies of a model as [layers][heads]; heads without a row are 0."""
    values = [[0.0] * heads for _ in range(layers)]
    for row in rows:
        if row.model == model:
            values[row.layer][row.head] = row.accuracy
    return values


def explorer(probe: Probe) -> Explorer:
    """Return the three heatmaps of the first relation, and the numbers of all relations for page.js."""
    tops = [row.accuracy for rows in probe.scores.values() for row in rows]
    top = max(0.05, -(-max(tops, default=1.0) // 0.05) * 0.05)
    entries: dict[str, object] = {}
    change = 0.05
    for finding in probe.findings:
        rows = probe.scores.get(finding.key, ())
        base, adapted = (grid(rows, model, probe.layers, probe.heads) for model in ("base", "adapted"))
        deltas = [abs(a - b) for x, y in zip(adapted, base, strict=True) for a, b in zip(x, y, strict=True)]
        change = max(change, *deltas) if deltas else change
        entries[option_key(finding)] = _entry(finding, rows, probe)
    first = probe.findings[0]
    rows = probe.scores.get(first.key, ())
    base, adapted = (grid(rows, model, probe.layers, probe.heads) for model in ("base", "adapted"))
    difference = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(adapted, base, strict=True)]
    bounds, signed = (0.0, top), (-change, change)
    maps = tuple(
        (
            name,
            title,
            heatmap(values, ends, css, f"{title}: {line_of(first)}", name),
            color_scale(ends, css, css == "d"),
        )
        for name, title, values, ends, css in (
            ("base", "Base, accuracy in percent", base, bounds, "s"),
            ("adapted", "Adapted, accuracy in percent", adapted, bounds, "s"),
            ("difference", "Adapted − base, in points", difference, signed, "d"),
        )
    )
    options = tuple((option_key(f), f"{f.title} ({count(f.n)} arcs)") for f in probe.findings)
    data: dict[str, object] = {"top": top, "change": change, "heads": probe.heads, "entries": entries}
    return Explorer(options, maps, data, line_of(first), "probe/heads.parquet, half report")


def option_key(finding: Finding) -> str:
    """Return the key of a relation and direction in the page's data."""
    return f"{finding.relation}/{finding.direction}"


def _entry(finding: Finding, rows: Sequence[HeadScore], probe: Probe) -> dict[str, object]:
    entry: dict[str, object] = {
        "line": line_of(finding),
        "n": finding.n,
        "baseline": _thousandths(finding.baseline),
        "offset": finding.offset,
    }
    for model, choice in (("base", finding.base), ("adapted", finding.adapted)):
        fields: dict[str, list[int | None]] = {
            name: [None] * (probe.layers * probe.heads) for name in ("accuracy", "low", "high", "mass")
        }
        for row in rows:
            if row.model == model:
                for name, values in fields.items():
                    values[row.layer * probe.heads + row.head] = _thousandths(getattr(row, name))
        entry[model] = {**fields, "best": choice.layer * probe.heads + choice.head}
    return entry


def _thousandths(value: float | None) -> int | None:
    return None if value is None or value != value else round(1000 * value)


def line_of(finding: Finding) -> str:
    """Return one sentence on a relation's best heads."""
    return (
        f"{finding.title}, n = {count(finding.n)} arcs: base’s best head {finding.base.name} "
        f"{interval(finding.base.accuracy, True)}, adapted’s {finding.adapted.name} "
        f"{interval(finding.adapted.accuracy, True)}; best fixed offset, {_back(finding.offset)}, "
        f"{percent(finding.baseline)}; "
        f"a guess among the earlier words {percent(finding.uniform)}."
    )


def findings_table(probe: Probe) -> Table:
    """Return best heads per relation and direction: accuracy, against the offset, and the change of the head."""
    axis = domain([finding.adapted.change for finding in probe.findings])
    rows = []
    for finding in probe.findings:
        word = head_verdict(finding)
        shown = interval(finding.adapted.change, True, signed=True)
        rows.append(
            (
                text(finding.relation, finding.where, f"{finding.direction} attends"),
                numeric(
                    count(finding.n), f"{finding.where}.n_report", plural(finding.sentences or 0, "sentence")
                ),
                numeric(
                    percent(finding.baseline),
                    f"{finding.where}.baseline.accuracy",
                    f"look {_back(finding.offset)}",
                ),
                _head_cell(finding.base),
                _head_cell(finding.adapted),
                drawn(
                    shown,
                    f"{finding.adapted.where}.change",
                    finding.adapted.change,
                    axis,
                    word,
                    f"{finding.adapted.name}, points",
                ),
                verdict_cell(word, f"{finding.adapted.where}.change"),
            )
        )
    head = (
        "Relation",
        "n",
        "Fixed offset",
        "Base’s best head",
        "Adapted’s best head",
        "Adapted − base, same head",
        "Verdict",
    )
    tested = "every relation and direction; base and adapted each have a family of their own"
    family = adjusted("best heads", len(probe.findings), tested)
    return Table("Best heads", head, tuple(rows), f"probe/selected.json: relations. {family}")


def _back(offset: int | None) -> str:
    return f"{plural(abs(offset), 'word')} back" if offset is not None else "back"


def _head_cell(choice: Choice) -> Cell:
    word = "beats the offset" if reads(choice) else "does not beat the offset"
    note = f"{choice.name} · {word}, q {p_value(choice.q)} · sink {percent(choice.sink)}"
    return numeric(interval(choice.accuracy, True), f"{choice.where}.accuracy", note)


def case_blocks(case: Case) -> list[Block]:
    """Return the case study: the sentence with arcs, and every head on the chosen word pair."""
    query, key = case.words[case.query], case.words[case.key]
    caption = (
        f"The head that changed most, layer {case.layer} head {case.head}, on “{case.sentence}”. Arcs run from the "
        f"attending word back to the word it looks at; thickness is the share of attention. From {query} to {key}: "
        f"base {percent(_asked(case.base, case))}, adapted {percent(_asked(case.adapted, case))}; on the first token: "
        f"base {percent(_sink_of(case.base, case))}, adapted {percent(_sink_of(case.adapted, case))}. One sentence "
        "is an illustration, not evidence: the table above is."
    )
    blocks: list[Block] = []
    if case.swapped:
        blocks.append(
            Prose(
                f"A decoder looks backwards only, so the arc is shown from the later word, {query}, to {key}.",
                "note",
            )
        )
    legend = (("base", "base"), ("adapted", "adapted"))
    blocks.append(Figure("Case study", arc_diagram(case), caption, "probe/case.json", legend))
    blocks.append(case_maps(case))
    return blocks


def case_maps(case: Case) -> Grid:
    """Return attention from query to key of every head: base, adapted, difference."""
    base, adapted = case.base.attention, case.adapted.attention
    top = max((cell for row in (*base, *adapted) for cell in row), default=0.0) or 1.0
    difference = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(adapted, base, strict=True)]
    change = max((abs(cell) for row in difference for cell in row), default=0.0) or 1.0
    tips = case_tips(case, difference)
    figures = []
    for name, values, bounds, css in (
        ("base", base, (0.0, top), "s"),
        ("adapted", adapted, (0.0, top), "s"),
        ("difference", difference, (-change, change), "d"),
    ):
        title = {"base": "Base", "adapted": "Adapted", "difference": "Adapted − base"}[name]
        words = f"{case.words[case.query]} → {case.words[case.key]}"
        alternative = f"{title}: attention {words} of every head"
        drawing = heatmap(values, bounds, css, alternative, f"case-{name}", tips)
        caption = f"Attention {words}, every head, in percent"
        figures.append(
            Figure(title, drawing + color_scale(bounds, css, css == "d"), caption, "probe/case.json")
        )
    return Grid(tuple(figures))


def case_tips(case: Case, difference: list[list[float]]) -> list[list[str]]:
    """Return the hover text of every head, [layers][heads]."""

    def cell(values: tuple[tuple[float, ...], ...], layer: int, head: int) -> float | None:
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


def _asked(model: CaseModel, case: Case) -> float | None:
    rows = model.words
    return rows[case.query][case.key] if case.query < len(rows) and case.key < len(rows[case.query]) else None


def _sink_of(model: CaseModel, case: Case) -> float | None:
    return model.sink[case.query] if case.query < len(model.sink) else None
