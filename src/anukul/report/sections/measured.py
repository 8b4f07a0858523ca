"""The data part's tables of what was measured: languages, copies, contamination, translation, doses."""

from anukul.report.blocks import Block, Cell, Fold, Prose, Table, numeric, text
from anukul.report.data import RunData
from anukul.report.format import count, percent
from anukul.report.loaddata import Clusters, DataPart, Looks
from anukul.report.rulewords import REPAIRS
from anukul.report.sections import leaks
from anukul.report.tables import share_bar

COLUMNS = 7  # languages that have a column of their own
LOOKS = (
    "Only paragraphs in the script of the language are identified. By their words first: one that holds no word of any "
    "of these languages counts as the language that is expected, so that names and headlines stay."
)
SAMPLES = 3  # of each rule


def measured(data: RunData, part: DataPart) -> list[Block]:
    """Return the blocks; what was not measured says so in one line."""
    blocks: list[Block] = []
    missing = []
    if part.looks:
        blocks += [languages_table(part, data), Prose(LOOKS, "term")]
    else:
        missing.append("languages")
    if part.clusters is not None:
        blocks += clusters_blocks(part.clusters)
    else:
        missing.append("duplicates")
    missing += [f"contamination of {leaks.READ[step]}" for step in leaks.unlooked(part.contamination, data)]
    blocks += leaks.blocks_of(part.contamination, data)
    if any(part.rules.values()):
        blocks.append(rules_table(part.rules))
    if part.translators:
        blocks.append(translators_table(part))
    if part.samples:
        blocks.append(Fold("Pairs to read: kept, and dropped by each rule", (pairs_table(part),)))
    if part.doses:
        blocks.append(doses_table(part))
    elif data.stages:
        missing.append("doses of the stages")
    if missing:
        blocks.append(Prose(f"Not measured in this run: {', '.join(missing)}.", "note"))
    return blocks


def languages_table(part: DataPart, data: RunData) -> Table:
    """Return the confusion table: an input a row, what its paragraphs look like a column.

    The languages that the run's language is confused with have a column, seen or not.
    """
    looks = part.looks
    totals: dict[str, int] = dict.fromkeys(part.confusables, 0)
    for one in looks:
        for code, amount in one.counts.items():
            totals[code] = totals.get(code, 0) + amount
    wanted = list(dict.fromkeys(one.expected for one in looks))
    codes = [code for code in wanted if code in totals]
    codes += sorted((c for c in totals if c not in codes), key=lambda c: -totals[c])
    shown, rest = codes[:COLUMNS], codes[COLUMNS:]
    rows = []
    for one in looks:
        cells = [
            numeric(
                count(one.counts.get(code, 0))
                if one.counts.get(code) or _could(one, code, part, data)
                else "–",
                f"{one.where}.{code}",
                percent(one.counts[code] / sum(one.counts.values())) if one.counts.get(code) else "",
            )
            for code in shown
        ]
        if rest:
            cells.append(numeric(count(sum(one.counts.get(code, 0) for code in rest)), one.where))
        rows.append((text(one.name, one.where, f"expected {data.language(one.expected)}"), *cells))
    head = ("Input", *(data.language(code) for code in shown), *(("Others",) if rest else ()))
    return Table("What the paragraphs look like", head, tuple(rows), "corpus/stats.json: inputs[].languages")


def _could(one: Looks, code: str, part: DataPart, data: RunData) -> bool:
    """Whether an input's paragraphs could have been taken for a language; else it is a dash, and not 0."""
    return one.expected == data.config.language and code in part.confusables


def clusters_blocks(found: Clusters) -> list[Block]:
    """Return the sizes of the clusters of copies, and the largest to read."""
    most = max(found.sizes.values(), default=1)
    sizes = tuple(
        (
            text(f"{size} documents"),
            numeric(count(amount), "corpus/clusters.parquet"),
            Cell("", "bar", svg=share_bar(amount / most, f"{amount:,} clusters")),
        )
        for size, amount in found.sizes.items()
    )
    blocks: list[Block] = []
    if sizes:
        head = ("Copies of one text", "Texts", "")
        blocks.append(
            Table("Duplicates: one of each cluster is kept", head, sizes, "corpus/clusters.parquet")
        )
        largest = tuple(
            (
                numeric(count(one.size), f"corpus/clusters.parquet: cluster {one.id}"),
                numeric(count(one.exact)),
                Cell(one.text, "sample", f"corpus/documents.parquet: id {one.id}"),
            )
            for one in found.largest
        )
        caption = "What is copied most may be boilerplate that no rule knows"
        head = ("Copies", "Word for word", "Text")
        blocks.append(
            Fold("The largest clusters", (Table(caption, head, largest, "corpus/clusters.parquet"),))
        )
    return blocks


def rules_table(rules: dict[str, dict[str, int]]) -> Table:
    """Return how many kept documents, pairs and instructions each rule of normalisation and masking changed."""
    total: dict[str, int] = {}
    for counts in rules.values():
        for name, amount in counts.items():
            total[name] = total.get(name, 0) + amount
    where = {"documents": "corpus/stats.json: total.corpus.normalized"}
    rows = tuple(
        (
            text(name.replace("_", " ")),
            *(
                numeric(count(counts.get(name, 0)), where.get(kind, f"synth/{kind}.parquet: rules"))
                for kind, counts in rules.items()
            ),
            text(REPAIRS.get(name)),
        )
        for name in sorted(total, key=lambda name: (-total[name], name))
    )
    head = ("Rule", *(f"{kind.capitalize()} changed" for kind in rules), "What it changes")
    source = "corpus/stats.json" + "".join(f", synth/{kind}.parquet" for kind in rules if kind not in where)
    return Table("What was repaired, of what is kept", head, rows, source)


def translators_table(part: DataPart) -> Table:
    """Return who translated, under which license, and how."""
    rows = []
    for place, one in enumerate(part.translators):
        where = f"synth/stats.json: translators[{place}]"
        how = {
            k: v
            for k, v in one.items()
            if k not in ("id", "model", "fingerprint", "license") and v not in (None, [], "")
        }
        said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in how.items())
        rows.append(
            (
                text(one.get("id") or one.get("model"), where, str(one.get("fingerprint", ""))[:16]),
                text(one.get("license"), f"{where}.license"),
                text(said, where),
            )
        )
    return Table("Translators", ("Model", "License", "How"), tuple(rows), "synth/stats.json: translators")


def pairs_table(part: DataPart) -> Table:
    """Return pairs drawn for reading, the kept ones first."""
    taken: dict[str, int] = {}
    rows = []
    for row in sorted(part.samples, key=lambda one: one.rule != ""):
        limit = 2 * SAMPLES if not row.rule else SAMPLES
        taken[row.rule] = taken.get(row.rule, 0) + 1
        if taken[row.rule] > limit:
            continue
        source, _, target = row.text.partition("\t")
        rows.append(
            (
                text(row.rule.replace("_", " ") or "kept", "synth/samples.parquet", row.detail),
                Cell(source, "sample", f"synth/samples.parquet: id {row.id}"),
                Cell(target, "sample", f"synth/samples.parquet: id {row.id}"),
            )
        )
    head = ("Rule", "Base language", "Language to learn")
    return Table("Drawn by the run's seed", head, tuple(rows), "synth/samples.parquet")


def doses_table(part: DataPart) -> Table:
    """Return what each stage really saw, by tokens."""
    rows = []
    for stage, saw in part.doses.items():
        where = f"train/{stage}/adapter/data.json"
        for one in saw:
            way = {"to_target": "into the language", "to_base": "out of it"}.get(one.get("direction", ""), "")
            share = float(one.get("share") or 0.0)
            rows.append(
                (
                    text(stage, where),
                    text(one.get("origin"), where, way),
                    text(one.get("source"), where),
                    numeric(count(one.get("tokens")), where, f"{count(one.get('loss_tokens'))} learnt"),
                    Cell(percent(share), "bar", where, share_bar(share, f"{percent(share)} of the stage")),
                )
            )
    head = ("Stage", "Dose", "Source", "Tokens", "Share of the stage")
    return Table("What each stage saw", head, tuple(rows), "train/<stage>/adapter/data.json")
