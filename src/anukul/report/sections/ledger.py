"""The forgetting ledger: what was learned and forgotten while the model was trained, and what followed from it."""

from anukul.report.blocks import Block, Figure, Grid, Prose, Section, Table, numeric, text
from anukul.report.data import RunData
from anukul.report.format import count, duration, interval, number, percent, plural
from anukul.report.loadledger import LedgerChange, LedgerReading, StageLedger, load_ledgers
from anukul.report.svg import Axes, Dot, Line, chart
from anukul.report.tables import domain, drawn, verdict_cell
from anukul.report.verdicts import verdict_of

LEAD = (
    "What the model learned and forgot on the way: while it trained, small sets of held-out lines and questions that "
    "never change were put to it again and again, and compared with the base on the same items."
)
READ = (
    "Each point is adapted minus base, with its interval (of the paired difference; the band). At 0 the model is as "
    "good as the base. In bits per byte below 0 is better, above 0 is worse: in the base's own language that is "
    "forgetting. The sets are small, so that they can be asked often: the sections below, on more items, decide."
)
EVIDENCE = {
    "interval": "as soon as the interval's lower end is above the budget, so that noise of a small set stops nothing",
    "estimate": "as soon as the estimate is above the budget, whatever its interval",
}


def section(data: RunData) -> Section | None:
    """Return the section; None where no stage has a reading."""
    stages = load_ledgers(data.root, [stage.name for stage in data.stages])
    if not stages:
        return None
    blocks: list[Block] = [Prose(READ, "term")]
    blocks += _outcome(data, stages)
    keys = list(dict.fromkeys((c.kind, c.name) for s in stages for r in s.readings for c in r.changes))
    for kind in ("bits_per_byte", "accuracy"):
        figures = tuple(figure(data, stages, key) for key in keys if key[0] == kind)
        if figures:
            blocks.append(Grid(figures))
    blocks.append(end_table(data, stages))
    blocks.append(_cost(stages))
    bad = sum(stage.bad_lines for stage in stages)
    if bad:
        blocks.append(
            Prose(f"{plural(bad, 'line')} of the ledger could not be read and were left out.", "warning")
        )
    return Section("ledger", "While training", LEAD, tuple(blocks))


def kept(data: RunData, stage: StageLedger) -> LedgerReading:
    """Return the reading whose weights the stage ended with: the best where that is kept, else the last."""
    settings = data.config.train.ledger if data.config.train else None
    if settings is None or settings.keep_best is None:
        return stage.readings[-1]
    return next((reading for reading in reversed(stage.readings) if reading.best), stage.readings[-1])


def _outcome(data: RunData, stages: list[StageLedger]) -> list[Block]:
    """Say what the ledger could do, and what it did."""
    settings = data.config.train.ledger if data.config.train else None
    if settings is None:
        return []
    blocks: list[Block] = []
    budget, keep = settings.stop_when, settings.keep_best
    if budget:
        blocks.append(
            Prose(
                f"Budget of forgetting: {data.language(budget.language)} may rise by {budget.bits_per_byte_rise:g} "
                f"bits per byte over the base. A stage stops {EVIDENCE[budget.evidence]}.",
                "term",
            )
        )
    stopped = [stage for stage in stages if stage.readings[-1].stop]
    for stage in stopped:
        blocks.append(Prose(f"Stage {stage.stage} was stopped: {stage.readings[-1].stop}.", "warning"))
    if budget and not stopped:
        blocks.append(Prose("No stage was stopped.", "plain"))
    if keep:
        within = ", of the readings within the budget" if budget else ""
        ended = ", ".join(f"{stage.stage} with step {kept(data, stage).step:,}" for stage in stages)
        blocks.append(
            Prose(
                f"A stage ends with the weights of its best reading: the lowest bits per byte of "
                f"{data.language(keep.language)}{within}. So ended: {ended}.",
                "term",
            )
        )
    return blocks


def figure(data: RunData, stages: list[StageLedger], key: tuple[str, str]) -> Figure:
    """Return adapted minus base of one probe over the steps of all stages, with the budget where it has one."""
    settings = data.config.train.ledger if data.config.train else None
    bits = key[0] == "bits_per_byte"
    name = data.language(key[1]) if bits else key[1]
    lines: list[Line] = []
    regions: list[tuple[float, float, str]] = []
    start = 0
    for stage in stages:
        dots = tuple(
            _dot(stage, reading, change, start)
            for reading in stage.readings
            for change in reading.changes
            if (change.kind, change.name) == key and change.difference.value is not None
        )
        if dots:
            lines.append(Line("adapted", dots))
        regions.append((start, start + stage.steps, stage.stage))
        start += stage.steps
    base = Line(
        "base", (Dot(0.0, 0.0, None, None, "the base"), Dot(float(start), 0.0, None, None, "the base"))
    )
    level = None
    if bits and settings and settings.stop_when and settings.stop_when.language == key[1]:
        level = (settings.stop_when.bits_per_byte_rise, "budget")
    unit = "bits per byte, less is better" if bits else "accuracy, more is better"
    axes = Axes(
        label=f"{name}: adapted minus base over steps, {unit}",
        x_title="steps, all stages",
        y_title="adapted − base",
        width=470,
        height=230,
        regions=tuple(regions),
        level=level,
        percent=not bits,
        markers=False,
        margins=(22.0, 12.0, 40.0, 60.0),
    )
    legend = (("base", "the base"), ("adapted", "adapted − base"))
    caption = f"{'Bits per byte' if bits else 'Accuracy without examples'}, adapted minus base."
    return Figure(name, chart([base, *lines], axes), caption, "train/<stage>/ledger.jsonl: changes", legend)


def _dot(stage: StageLedger, reading: LedgerReading, change: LedgerChange, start: int) -> Dot:
    share = change.kind == "accuracy"
    shown = percent if share else number
    notes = [note for note, holds in (("best so far", reading.best), ("stopped here", reading.stop)) if holds]
    tip = (
        f"{stage.stage}, step {reading.step:,}\n{interval(change.difference, share, signed=True)}\n"
        f"base {shown(change.base)}, adapted {shown(change.adapted)}, n {count(change.n)}"
    )
    value = change.difference.value
    assert value is not None
    tip = "\n".join([tip, *notes])
    return Dot(float(start + reading.step), value, change.difference.low, change.difference.high, tip)


def end_table(data: RunData, stages: list[StageLedger]) -> Table:
    """Return where each stage ended, probe by probe."""
    rows = []
    ended = [(stage, kept(data, stage)) for stage in stages]
    axes = {
        kind: domain([c.difference for _, reading in ended for c in reading.changes if c.kind == kind])
        for kind in ("bits_per_byte", "accuracy")
    }
    for stage, reading in ended:
        for change in reading.changes:
            share = change.kind == "accuracy"
            shown = percent if share else number
            word = verdict_of(change.difference, lower_is_better=not share)
            name = change.name if share else f"{data.language(change.language)}, bits per byte"
            rows.append(
                (
                    text(stage.stage, change.where, f"step {reading.step:,}"),
                    text(name, change.where),
                    numeric(count(change.n), change.where),
                    numeric(shown(change.base), change.where),
                    numeric(shown(change.adapted), change.where),
                    drawn(
                        interval(change.difference, share, signed=True),
                        change.where,
                        change.difference,
                        axes[change.kind],
                        word,
                        "points" if share else "bits per byte",
                    ),
                    verdict_cell(word, change.where),
                )
            )
    head = ("Stage", "Probe", "n", "Base", "Adapted", "Adapted − base", "Verdict")
    return Table("Where each stage ended", head, tuple(rows), "train/<stage>/ledger.jsonl")


def _cost(stages: list[StageLedger]) -> Prose:
    spent, trained = sum(s.seconds for s in stages), sum(s.trained_seconds for s in stages)
    readings = sum(len(stage.readings) for stage in stages)
    share = f", {percent(spent / trained)} of it" if trained else ""
    return Prose(
        f"Cost: {plural(readings, 'reading')} and the base's scores took {duration(spent)} beside "
        f"{duration(trained)} of training{share} (train/<stage>/ledger_cost.jsonl).",
        "note",
    )
