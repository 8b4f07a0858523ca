"""Data: whether to trust it, in seven answers; then what was kept, what was dropped by which rule, and samples."""

from typing import Any

from anukul.report.blocks import Block, Cell, Fold, Prose, Section, Table, numeric, text
from anukul.report.data import DropRule, RunData
from anukul.report.format import count, percent, plural
from anukul.report.load import HELD
from anukul.report.loaddata import beginnings, load_data, name_of
from anukul.report.rulewords import meaning
from anukul.report.sections.measured import measured
from anukul.report.sections.trust import TRUST, trust_table, use
from anukul.report.tables import share_bar

LEAD = (
    "What the model was trained on, and whether to trust it: how much there is, whether it is the language, whether it "
    "repeats itself or knows the tests, who wrote it, whose data it holds, and what may be done with it."
)
COPY = "near_duplicate"  # a rule whose reason ends with the document that is copied
FALLEN = 3  # rules that are named of an input
USES = {"commercial": "commercial use", "noncommercial": "not for commercial use", "unknown": "not known"}


def section(data: RunData) -> Section:
    """Return the section."""
    part = load_data(data.root, tuple(stage.name for stage in data.stages))
    blocks: list[Block] = [trust_table(data, part), Prose(TRUST, "term")]
    for step, stats in (("corpus", data.corpus), ("synth", data.synth)):
        if not data.steps[step].done:
            blocks.append(Prose(f"The step '{step}' was not run in this run folder.", "note"))
        elif stats is None:
            blocks.append(Prose(f"{step}/stats.json is not there, so its inputs are not listed.", "warning"))
        else:
            blocks.append(inputs_table(step, stats))
    if data.dropped:
        blocks += [
            dropped_table(data.dropped),
            Fold("Samples of dropped rows", (samples_table(data),)),
        ]
    blocks += measured(data, part)
    if data.holdings:
        blocks.append(holdings_table(data))
    unknown = sorted({held.source for held in data.holdings if use(data, held.license) == "unknown"})
    if unknown:
        shown = ", ".join(unknown)
        blocks.append(
            Prose(f"The license of some rows is not known: {shown}. Name it in run.yaml.", "warning")
        )
    return Section("data", "Data", LEAD, tuple(blocks))


def inputs_table(step: str, stats: dict[str, Any]) -> Table:
    """Return read and kept counts of each input of corpus/stats.json or synth/stats.json."""
    rows = []
    for index, item in enumerate(stats.get("inputs") or []):
        where = f"{step}/stats.json: inputs[{index}]"
        read, kept = item.get("read"), item.get("kept")
        share = kept / read if read and isinstance(kept, int) else None
        words = item.get("words")
        path = str(item.get("path", ""))
        bad = item.get("bad_files")
        lost = (
            f"{plural(len(bad), 'file')} could not be read" if isinstance(bad, (list, dict)) and bad else ""
        )
        rows.append(
            (
                text(name_of(item), f"{where}.source", f"{item.get('kind', '')}: {path}"),
                text(item.get("license"), f"{where}.license"),
                numeric(count(read), f"{where}.read", lost),
                numeric(count(kept), f"{where}.kept", f"{count(words)} words" if words else ""),
                Cell(
                    percent(share),
                    "bar",
                    f"{where}.kept / {where}.read",
                    share_bar(share or 0.0, f"{percent(share)} kept"),
                ),
                text(_fallen(item.get("dropped") or {}), f"{where}.dropped"),
            )
        )
    title = {"corpus": "Text inputs", "synth": "Pairs and instructions: inputs"}[step]
    head = ("Input", "License", "Read", "Kept", "Share kept", "Dropped for")
    return Table(title, head, tuple(rows), f"{step}/stats.json")


def _fallen(dropped: dict[str, int]) -> str:
    """Say for which rules most rows of an input were dropped."""
    ordered = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{rule.replace('_', ' ')} {count(rows)}" for rule, rows in ordered[:FALLEN]]
    rest = sum(rows for _, rows in ordered[FALLEN:])
    return ", ".join([*shown, *([f"others {count(rest)}"] if rest else [])])


def holdings_table(data: RunData) -> Table:
    """Return how many rows of each file come from which source under which license, and what that allows."""
    rows = [
        (
            text(HELD[held.file], held.file),
            text(held.source, f"{held.file}: source"),
            text(
                held.license,
                f"{held.file}: license",
                "machine-made side" if held.origin == "synthetic" else "",
            ),
            text(USES[use(data, held.license)], "anukul/licenses.py"),
            numeric(count(held.rows), f"{held.file}: rows"),
        )
        for held in data.holdings
    ]
    return Table(
        "Rows kept, by source and license",
        ("Rows of", "Source", "License", "Allows", "Rows"),
        tuple(rows),
        "*.parquet",
    )


def dropped_table(rules: tuple[DropRule, ...]) -> Table:
    """Return how many rows each rule dropped, and what the rule is for."""
    most = max(rule.count for rule in rules)
    rows = [
        (
            text(rule.rule.replace("_", " "), f"{rule.step}/dropped.parquet: rule"),
            text(rule.step),
            Cell(
                count(rule.count),
                "bar",
                f"{rule.step}/dropped.parquet: rows of rule {rule.rule}",
                share_bar(rule.count / most, f"{rule.count:,} rows"),
            ),
            text(meaning(rule.rule)),
        )
        for rule in rules
    ]
    head = ("Rule", "Step", "Rows dropped", "What it drops")
    return Table("Dropped, by rule", head, tuple(rows), "corpus/dropped.parquet, synth/dropped.parquet")


def samples_table(data: RunData) -> Table:
    """Return a few rows that each rule dropped, as they were; a near copy beside what it is a copy of."""
    samples = [(rule, row) for rule in data.dropped for row in rule.sample]
    heads = {_head(row.detail) for rule, row in samples if rule.rule == COPY}
    originals = beginnings(data.root, heads)
    rows = [
        (
            text(rule.rule.replace("_", " "), note=rule.step),
            Cell(row.text, "sample", f"{rule.step}/dropped.parquet: id {row.id}"),
            Cell(
                _reason(rule.rule, row.detail, originals),
                "sample",
                f"{rule.step}/dropped.parquet: detail",
                note=f"{row.source} · {row.id}",
            ),
        )
        for rule, row in samples
    ]
    return Table("Drawn by the run's seed, the first 500 characters", ("Rule", "Text", "Reason"), tuple(rows))


def _head(detail: str) -> str:
    """Return the document that a near copy's reason names."""
    return detail.rpartition(" ")[2]


def _reason(rule: str, detail: str, originals: dict[str, str]) -> str:
    original = originals.get(_head(detail)) if rule == COPY else None
    return detail if original is None else f"{detail}: {original}"
