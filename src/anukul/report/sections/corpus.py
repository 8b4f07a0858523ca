"""Data: the inputs with their licenses, what was kept, what was dropped and by which rule."""

from typing import Any

from anukul.report.blocks import Block, Cell, Fold, Prose, Section, Table, numeric, text
from anukul.report.data import DropRule, RunData
from anukul.report.format import count, percent
from anukul.report.load import HELD
from anukul.report.tables import share_bar

LEAD = "What the model was trained on: which inputs, under which licenses, and what was thrown away and why."


def section(data: RunData) -> Section:
    """Return the section."""
    blocks: list[Block] = []
    for step, stats in (("corpus", data.corpus), ("synth", data.synth)):
        if not data.steps[step].done:
            blocks.append(Prose(f"The step '{step}' was not run in this run folder.", "note"))
        elif stats is None:
            blocks.append(Prose(f"{step}/stats.json is not there, so its inputs are not listed.", "warning"))
        else:
            blocks.append(inputs_table(step, stats))
    if data.holdings:
        blocks.append(holdings_table(data))
    unknown = sorted({held.source for held in data.holdings if held.license in ("", "unknown")})
    if unknown:
        shown = ", ".join(unknown)
        blocks.append(
            Prose(f"The license of some rows is not known: {shown}. Name it in run.yaml.", "warning")
        )
    if data.dropped:
        blocks += [
            dropped_table(data.dropped),
            Fold("Samples of dropped rows", (samples_table(data.dropped),)),
        ]
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
        rows.append(
            (
                text(item.get("source") or item.get("name"), f"{where}.source", path),
                text(item.get("kind"), f"{where}.kind"),
                text(item.get("license"), f"{where}.license"),
                numeric(count(read), f"{where}.read"),
                numeric(count(kept), f"{where}.kept", f"{count(words)} words" if words else ""),
                Cell(
                    percent(share),
                    "bar",
                    f"{where}.kept / {where}.read",
                    share_bar(share or 0.0, f"{percent(share)} kept"),
                ),
            )
        )
    title = {"corpus": "Text inputs", "synth": "Pairs and instructions: inputs"}[step]
    head = ("Input", "Kind", "License", "Read", "Kept", "Share kept")
    return Table(title, head, tuple(rows), f"{step}/stats.json")


def holdings_table(data: RunData) -> Table:
    """Return how many rows of each file come from which source under which license."""
    rows = [
        (
            text(HELD[held.file], held.file),
            text(held.source, f"{held.file}: source"),
            text(
                held.license,
                f"{held.file}: license",
                "machine-made side" if held.origin == "synthetic" else "",
            ),
            numeric(count(held.rows), f"{held.file}: rows"),
        )
        for held in data.holdings
    ]
    return Table(
        "Rows kept, by source and license", ("Rows of", "Source", "License", "Rows"), tuple(rows), "*.parquet"
    )


def dropped_table(rules: tuple[DropRule, ...]) -> Table:
    """Return how many rows each rule dropped."""
    most = max(rule.count for rule in rules)
    rows = [
        (
            text(rule.rule.replace("_", " "), f"{rule.step}/dropped.parquet: rule"),
            text(rule.step),
            numeric(count(rule.count), f"{rule.step}/dropped.parquet: rows of rule {rule.rule}"),
            Cell("", "bar", svg=share_bar(rule.count / most, f"{rule.count:,} rows")),
        )
        for rule in rules
    ]
    head = ("Rule", "Step", "Rows dropped", "")
    return Table("Dropped, by rule", head, tuple(rows), "corpus/dropped.parquet, synth/dropped.parquet")


def samples_table(rules: tuple[DropRule, ...]) -> Table:
    """Return a few rows that each rule dropped, as they were."""
    rows = [
        (
            text(rule.rule.replace("_", " ")),
            Cell(row.text, "sample", f"{rule.step}/dropped.parquet: id {row.id}"),
            text(row.detail, note=f"{row.source} · {row.id}"),
        )
        for rule in rules
        for row in rule.sample
    ]
    return Table("Drawn by the run's seed, the first 500 characters", ("Rule", "Text", "Reason"), tuple(rows))
