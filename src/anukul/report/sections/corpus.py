"""Data: whether to trust it, in six answers; then what was kept, what was dropped by which rule, and samples."""

from typing import Any

from anukul.licenses import Use, use_of
from anukul.report.blocks import Block, Cell, Fold, Prose, Section, Table, numeric, text
from anukul.report.data import DropRule, RunData
from anukul.report.format import count, percent, plural
from anukul.report.load import HELD
from anukul.report.loaddata import DataPart, load_data
from anukul.report.sections.measured import measured
from anukul.report.tables import share_bar

LEAD = (
    "What the model was trained on, and whether to trust it: how much there is, whether it is the language, whether it "
    "repeats itself or knows the tests, who wrote it, and what may be done with it."
)
TRUST = (
    "Fine: measured, and nothing to do. Look: measured, and something that a person should read before trusting the "
    "rest. Not measured: nobody looked, so it may be anything."
)
CSS = {"fine": "better", "look": "worse", "not measured": "at chance"}
USES = {"commercial": "commercial use", "noncommercial": "not for commercial use", "unknown": "not known"}
FOREIGN = 0.02  # of the paragraphs read: above, a person should look at what else is in the input
REPEATED = 0.3  # of the documents read that are copies
FEW_WORDS = 100_000  # fewer teach a base little beyond its script


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
            Fold("Samples of dropped rows", (samples_table(data.dropped),)),
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


def use(data: RunData, license_name: str) -> Use:
    """Return what a license allows, as far as this run knows."""
    return use_of(license_name, data.config.licenses)


def trust_table(data: RunData, part: DataPart) -> Table:
    """Return the answers that decide whether the corpus is trusted, each with its verdict and where it comes from."""
    rows = [
        _amount(data),
        _language(data, part),
        _repeats(data, part),
        _leaks(part),
        _machine(data),
        _allowed(data),
    ]
    cells = tuple(
        (text(question), Cell(word, "verdict", css=CSS[word].replace(" ", "-")), text(answer, source))
        for question, word, answer, source in rows
    )
    return Table("Can this corpus be trusted?", ("Question", "Verdict", "Answer"), cells)


Answer = tuple[str, str, str, str]


def _total(data: RunData, key: str) -> int | None:
    items = [item for item in (data.corpus or {}).get("inputs") or [] if item.get("kind") == "corpus"]
    held = [item.get(key) for item in items]
    return (
        sum(int(value) for value in held if value is not None) if any(v is not None for v in held) else None
    )


def _amount(data: RunData) -> Answer:
    question = "How much is there?"
    kept, read, words = (_total(data, key) for key in ("kept", "read", "words"))
    rows = {name: sum(h.rows for h in data.holdings if h.file == name) for name in HELD}
    if kept is None or not read:
        return question, "not measured", "The corpus step left no counts.", "corpus/stats.json"
    said = [f"{count(kept)} documents of {count(read)} read ({percent(kept / read)})"]
    said += [f"{count(words)} words"] if words is not None else []
    said += [
        plural(rows[name], HELD[name].removesuffix("s"))
        for name in ("synth/pairs.parquet", "synth/instructions.parquet")
        if rows[name]
    ]
    word = "look" if words is not None and words < FEW_WORDS else "fine"
    answer = ", ".join(said) + "."
    if word == "look":
        answer += " That is little: expect the script and frequent words, not the language."
    return question, word, answer, "corpus/stats.json: inputs"


def _language(data: RunData, part: DataPart) -> Answer:
    question = f"Is it {data.language(data.config.language)}?"
    own = [one for one in part.looks if one.expected == data.config.language]
    if not own:
        checked = data.config.corpus is not None and data.config.corpus.language_check
        dropped = sum(r.count for r in data.dropped if r.step == "corpus" and r.rule == "wrong_language")
        said = f"No table of what paragraphs look like; {plural(dropped, 'document')} dropped as another language."
        return (
            question,
            "not measured",
            said if checked else "The language check is off.",
            "corpus/stats.json",
        )
    total = sum(sum(one.counts.values()) for one in own)
    right = sum(one.counts.get(one.expected, 0) for one in own)
    others: dict[str, int] = {}
    for one in own:
        for name, amount in one.counts.items():
            if name != one.expected:
                others[name] = others.get(name, 0) + amount
    said = (
        f"{percent(right / total) if total else '–'} of {count(total)} paragraphs read were identified as it."
    )
    if others:
        name = max(others, key=lambda code: others[code])
        said += f" Most of the others: {data.language(name)} ({count(others[name])}); they are dropped."
    word = "look" if total and 1 - right / total > FOREIGN else "fine"
    return question, word, said, "corpus/stats.json: inputs[].languages"


def _repeats(data: RunData, part: DataPart) -> Answer:
    question = "Does it repeat itself?"
    if part.clusters is None:
        return (
            question,
            "not measured",
            "There is no clusters.parquet: copies were not looked for.",
            "corpus/clusters.parquet",
        )
    found, read = part.clusters, _total(data, "read") or 0
    said = (
        f"{plural(found.dropped, 'copy', 'copies')} dropped, {count(found.exact)} of them word for word, of "
        f"{plural(found.clusters, 'text')} that stood more than once."
    )
    near = data.config.corpus is None or data.config.corpus.dedup.near
    if not near:
        said += " Near copies were not looked for."
    heavy = bool(read) and found.dropped / read > REPEATED
    return question, "look" if heavy or not near else "fine", said, "corpus/clusters.parquet"


def _leaks(part: DataPart) -> Answer:
    question = "Does it hold the tests?"
    found = part.contamination
    if found is None:
        said = "Nobody looked: scores may be remembered answers."
        return question, "not measured", said, "corpus/contamination.json"
    items = sum(one.items for one in found.sets)
    touched = sum(one.touched for one in found.sets)
    said = (
        f"{plural(found.dropped, 'document')} dropped for holding {plural(touched, 'item')} of the {count(items)} that "
        f"this run evaluates on, in {plural(len(found.sets), 'set')}."
    )
    if not items:
        return (
            question,
            "not measured",
            "The run evaluates on no text that could be looked for.",
            "corpus/contamination.json",
        )
    return question, "look" if touched else "fine", said, "corpus/contamination.json"


def _machine(data: RunData) -> Answer:
    question = "Who wrote it?"
    pairs = [held for held in data.holdings if held.file == "synth/pairs.parquet"]
    if not pairs:
        return (
            question,
            "fine",
            "People, as far as the inputs say: there are no pairs.",
            "synth/pairs.parquet",
        )
    total, made = sum(h.rows for h in pairs), sum(h.rows for h in pairs if h.origin == "synthetic")
    share = f"{percent(made / total)} of {count(total)} pairs have a side made by machine translation"
    rules = sum(r.count for r in data.dropped if r.step == "synth")
    said = (
        f"{share}; {plural(rules, 'row')} dropped by the filters of pairs and instructions."
        if made
        else (f"People wrote both sides of all {count(total)} pairs, as far as the inputs say.")
    )
    return (
        question,
        "look" if made else "fine",
        said + (" Read some of them below." if made else ""),
        "synth/pairs.parquet: source_origin",
    )


def _allowed(data: RunData) -> Answer:
    question = "What may be done with it?"
    uses: dict[str, set[str]] = {}
    for held in data.holdings:
        uses.setdefault(use(data, held.license), set()).add(held.license or "unknown")
    if not uses:
        return question, "not measured", "No rows, no licenses.", "*.parquet: license"
    if "noncommercial" in uses:
        names = ", ".join(sorted(uses["noncommercial"]))
        said = f"Not to be used commercially: rows under {names}. The adapter inherits that."
    elif "unknown" in uses:
        said = "Nobody knows: rows whose license is not known. Find out before the adapter is shared."
    else:
        said = f"Commercial use is allowed, under the duties of {', '.join(sorted(uses['commercial']))}."
    return question, "fine" if set(uses) == {"commercial"} else "look", said, "*.parquet: license"


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
                text(item.get("source") or item.get("name"), f"{where}.source", path),
                text(item.get("kind"), f"{where}.kind"),
                text(item.get("license"), f"{where}.license"),
                numeric(count(read), f"{where}.read", lost),
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
