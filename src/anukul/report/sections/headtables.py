"""Tables of heads: what each relation's best heads find against every control, who knows it, who was gained or lost."""

from anukul.records import HeadChange
from anukul.report.blocks import Block, Cell, Fold, Prose, Table, numeric, text
from anukul.report.data import Measure
from anukul.report.format import count, interval, p_value, percent, plural
from anukul.report.probedata import MODELS, Choice, Finding, Knower, Probe, Tested, Tree, head_name
from anukul.report.sections.headmaps import back, best_names
from anukul.report.tables import adjusted, domain, drawn, verdict_cell
from anukul.report.verdicts import head_verdict, reads, verdict_of

BASELINES = ("Random weights", "Fixed offset")
TESTS = (
    "Guess: among the earlier words. Random q: that a model’s best heads find no more than random weights. "
    "Beyond positions: p of the adapted model’s best head among all heads with the arcs shuffled, q of the relation, "
    "and how many heads outlive the correction."
)
SHOWN, FOLDED = 8, 40  # gained and lost heads in the open table, and with the folded one, of each
KNOWING = (
    "A head is said to know a relation where all controls agree: the relation’s best heads, each chosen on one half of "
    "the sentences and judged on the other, both ways, find more than the best fixed offset and more than models of "
    "the same architecture with random weights, after correction over all relations; and the head itself finds more "
    "than when the arcs are shuffled among each other with their distances kept, after correction over all heads."
)


def crossed_table(probe: Probe) -> Table:
    """Return accuracy of the cross-fitted best heads per relation and direction, with every baseline and test."""
    crossed = [f.adapted.crossed for f in probe.findings if f.adapted.crossed]
    axis = domain([found.lead.measure for found in crossed])
    rows = []
    for finding in probe.findings:
        own = finding.adapted
        if own.crossed is None or finding.base.crossed is None:
            continue
        word = "known" if own.knowing else "not known"
        lead = own.crossed.lead
        shown = interval(lead.measure, True, signed=True)
        note = f"points, q {p_value(lead.q)}"
        rows.append(
            (
                text(finding.relation, finding.where, _attends(finding)),
                numeric(count(own.crossed.n), f"{own.crossed.where}.n"),
                *_baselines(finding),
                _crossed_cell(finding.base),
                _crossed_cell(own),
                drawn(shown, f"{own.crossed.where}.difference", lead.measure, axis, verdict_of(lead.measure), note),
                _permuted_cell(own),
                verdict_cell_of(word, own),
            )
        )  # fmt: skip
    head = (
        "Relation",
        "n",
        *BASELINES,
        "Base’s best head",
        "Adapted’s best head",
        "Adapted: lead over the offset",
        "Beyond positions, p",
        "Adapted model",
    )
    tested = "every relation and direction; each model and each test have a family of their own"
    family = adjusted("best heads", len(rows), tested)
    return Table(
        "Best heads, cross-fitted", head, tuple(rows), f"probe/selected.json: relations. {TESTS} {family}"
    )


def verdict_cell_of(word: str, choice: Choice) -> Cell:
    """Return whether a model has heads that know a relation, and which."""
    named = ", ".join(choice.knowing[:3]) + (
        f" and {len(choice.knowing) - 3} more" if len(choice.knowing) > 3 else ""
    )
    css = "better" if choice.knowing else "no-detectable-change"
    return Cell(word, "verdict", f"{choice.where}.resolvers", note=named, css=css)


def _attends(finding: Finding) -> str:
    return "both directions" if finding.direction == "both" else f"{finding.direction} attends"


def _baselines(finding: Finding) -> tuple[Cell, Cell]:
    crossed = finding.adapted.crossed
    offset = crossed.baseline if crossed else finding.baseline
    where = f"{crossed.where}.baseline" if crossed else f"{finding.where}.baseline.accuracy"
    return (
        numeric(
            percent(finding.random.value), f"{finding.where}.random", f"guess {percent(finding.uniform)}"
        ),
        numeric(percent(offset), where, back(finding.offset)),
    )


def _crossed_cell(choice: Choice) -> Cell:
    crossed = choice.crossed
    if crossed is None:
        return numeric("–")
    random = crossed.over_random
    beyond = f" · random q {p_value(random.q)}" if random and random.q is not None else ""
    return numeric(interval(crossed.accuracy, True), f"{crossed.where}.accuracy", best_names(choice) + beyond)


def _permuted_cell(choice: Choice) -> Cell:
    found = choice.permutation
    if found is None:
        return numeric("–")
    note = f"q {p_value(found.q)} · {plural(found.heads, 'head')}"
    return numeric(p_value(found.p), f"{choice.where}.permutation", note)


def halves_table(probe: Probe) -> Table:
    """Return best heads per relation and direction: accuracy, against the offset, and the change of the head."""
    axis = domain([finding.adapted.change for finding in probe.findings])
    rows = []
    for finding in probe.findings:
        word = head_verdict(finding)
        shown = interval(finding.adapted.change, True, signed=True)
        changed, where = finding.adapted.change, f"{finding.adapted.where}.change"
        note = f"{finding.adapted.name}, points"
        rows.append(
            (
                text(finding.relation, finding.where, _attends(finding)),
                numeric(
                    count(finding.n), f"{finding.where}.n_report", plural(finding.sentences or 0, "sentence")
                ),
                numeric(
                    percent(finding.baseline),
                    f"{finding.where}.baseline.accuracy",
                    f"look {back(finding.offset)}",
                ),
                _head_cell(finding.base),
                _head_cell(finding.adapted),
                drawn(shown, where, changed, axis, word, note),
                verdict_cell(word, where),
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


def _head_cell(choice: Choice) -> Cell:
    word = "beats the offset" if reads(choice) else "does not beat the offset"
    note = f"{choice.name} · {word}, q {p_value(choice.q)} · sink {percent(choice.sink)}"
    return numeric(interval(choice.accuracy, True), f"{choice.where}.accuracy", note)


def undirected_table(probe: Probe) -> Table:
    """Return relations that occur in both directions, the two pooled by arc."""
    rows = []
    for finding in probe.undirected:
        base, adapted = finding.base.crossed, finding.adapted.crossed
        if base is None or adapted is None:
            continue
        lead = interval(adapted.lead.measure, True, signed=True)
        rows.append(
            (
                text(finding.relation, finding.where),
                numeric(count(adapted.n), f"{adapted.where}.n"),
                *_baselines(finding),
                numeric(interval(base.accuracy, True), f"{base.where}.accuracy", best_names(finding.base)),
                numeric(
                    interval(adapted.accuracy, True), f"{adapted.where}.accuracy", best_names(finding.adapted)
                ),
                numeric(lead, f"{adapted.where}.difference", "points, not tested"),
            )
        )
    head = (
        "Relation",
        "n",
        *BASELINES,
        "Base’s best head",
        "Adapted’s best head",
        "Adapted: lead over the offset",
    )
    return Table("Both directions pooled by arc", head, tuple(rows), "probe/selected.json: undirected")


def tree_blocks(tree: Tree) -> list[Block]:
    """Return the share of all arcs that the best head of each relation finds."""
    names = {
        "offset": "the best fixed offset",
        "random": "best heads of random weights",
        "base": "best heads of the base",
        "adapted": "best heads of the adapted model",
    }
    where = "probe/selected.json: tree"
    rows = [
        (text(names[name], f"{where}.{name}"), numeric(interval(tree.values[name], True), f"{where}.{name}"))
        for name in names
        if name in tree.values
    ]
    note = (
        f"Over all {count(tree.arcs)} arcs of {plural(tree.sentences, 'sentence')}, those of rare relations too: each "
        "arc is judged by the head that is best for its relation on the other half of the sentences."
    )
    differences = {
        "adapted_minus_base": "Adapted − base",
        "base_minus_offset": "Base − fixed offset",
        "adapted_minus_offset": "Adapted − fixed offset",
    }
    axis = domain([tree.differences[name].measure for name in differences])
    changes = [
        _difference_row(label, f"{where}.{name}", tree.differences[name], axis)
        for name, label in differences.items()
    ]
    source = f"{where}; p: McNemar’s exact test by sentence"
    return [
        Table("How much of the tree is found", ("By", "Share of arcs found"), tuple(rows), where),
        Table("The differences of these shares", ("What", "Points", "p", "Verdict"), tuple(changes), source),
        Prose(note, "note"),
    ]


def _difference_row(label: str, where: str, found: Tested, axis: tuple[float, float]) -> tuple[Cell, ...]:
    word = verdict_of(found.measure)
    shown = interval(found.measure, True, signed=True)
    return (
        text(label, where),
        drawn(shown, where, found.measure, axis, word, "points"),
        numeric(p_value(found.p), f"{where}.p"),
        verdict_cell(word, where),
    )


def knowers_blocks(probe: Probe) -> list[Block]:
    """Return which heads know a relation, in both models; said where there is none."""
    rows = [
        (
            text(knower.name, knower.where, "best of one of them" if knower.named else ""),
            text(model),
            text(_relations(knower)),
            numeric(f"{percent(knower.lead, True)}".replace(" %", ""), f"{knower.where}.lead", "points"),
        )
        for model in MODELS
        for knower in probe.knowers.get(model, ())
    ]
    blocks: list[Block] = [Prose(KNOWING, "term")]
    missing = [model for model in MODELS if model in probe.knowers and not probe.knowers[model]]
    if missing:
        said = " nor ".join("the adapted model" if model == "adapted" else "the base" for model in missing)
        no = "Neither in " if len(missing) > 1 else "In "
        tail = " is there a head" if len(missing) > 1 else " there is no head"
        blocks.append(Prose(f"{no}{said}{tail} that knows a relation by all of these controls.", "note"))
    if rows:
        head = ("Head", "Model", "Relations that it knows", "Largest lead over the better baseline")
        blocks.append(
            Table("Heads that know a relation", head, tuple(rows), "probe/selected.json: resolvers")
        )
    return blocks


def _relations(knower: Knower) -> str:
    return "; ".join(name.replace("/", ", ") + " attends" for name in knower.relations)


def changed_blocks(probe: Probe) -> list[Block]:
    """Return the heads that were gained or lost on a relation."""
    changed = probe.changed
    if changed is None:
        return []
    said = (
        f"Of {count(changed.tests)} comparisons (every head on every relation and direction, all arcs, base against "
        f"adapted), {count(changed.gained)} heads gained and {count(changed.lost)} lost after correction. A gain is no "
        "proof that the head knows the relation: that is for the controls above."
    )
    blocks: list[Block] = [Prose(said)]
    groups = [[row for row in changed.largest if row.verdict == word] for word in ("gained", "lost")]
    first = [row for group in groups for row in group[:SHOWN]]
    if first:
        blocks.append(_changed_table("Heads gained and lost, the largest changes", first, changed.tests))
    rest = [row for group in groups for row in group[SHOWN:FOLDED]]
    if rest:
        held: list[Block] = [_changed_table("Heads gained and lost, the next", rest, changed.tests)]
        left = sum(len(group[FOLDED:]) for group in groups)
        if left:
            held.append(Prose(f"{plural(left, 'more row')} in probe/changes.parquet.", "note"))
        blocks.append(Fold(f"{plural(len(rest) + left, 'more head')} gained or lost", tuple(held)))
    return blocks


def _changed_table(caption: str, rows: list[HeadChange], tests: int) -> Table:
    axis = domain([_measure(row) for row in rows])
    cells = []
    for row in rows:
        where = f"probe/changes.parquet: {row.relation}, {row.direction}, layer {row.layer}, head {row.head}"
        word = "better" if row.verdict == "gained" else "worse"
        shown = interval(_measure(row), True, signed=True)
        cells.append(
            (
                text(head_name(row.layer, row.head), where),
                text(row.relation, where, f"{row.direction} attends"),
                numeric(count(row.n), where),
                numeric(percent(row.base), where),
                numeric(percent(row.adapted), where),
                drawn(shown, where, _measure(row), axis, word, "points"),
                numeric(p_value(row.q), where),
                Cell(row.verdict, "verdict", where, css=word),
            )
        )
    head = ("Head", "Relation", "n", "Base", "Adapted", "Adapted − base", "q", "Verdict")
    family = adjusted("heads gained and lost", tests, "every head on every relation and direction")
    return Table(caption, head, tuple(cells), f"probe/changes.parquet. {family}")


def _measure(row: HeadChange) -> Measure:
    return Measure(row.change, row.low, row.high)
