"""Whether to trust the data: seven questions, each with a verdict, an answer, and where it comes from."""

from anukul.licenses import Use, use_of
from anukul.report.blocks import Cell, Table, text
from anukul.report.data import Holding, RunData
from anukul.report.format import count, listing, percent, plural
from anukul.report.load import HELD
from anukul.report.loaddata import DataPart
from anukul.report.sections import leaks

TRUST = (
    "Fine: measured, and nothing to do. Look: measured, and something that a person should read before trusting the "
    "rest. Not measured: nobody looked, so it may be anything."
)
CSS = {"fine": "better", "look": "at chance", "not measured": "worse"}
FOREIGN = 0.02  # of the paragraphs read: above, a person should look at what else is in the input
REPEATED = 0.3  # of the documents read that are copies
GIVEN, MASKS = ("pairs", "instructions"), ("mask_email", "mask_phone")
FEW_WORDS = 100_000  # fewer teach a base little beyond its script


def use(data: RunData, license_name: str) -> Use:
    """Return what a license allows, as far as this run knows."""
    return use_of(license_name, data.config.licenses)


Answer = tuple[str, str, str, str]


def answers(data: RunData, part: DataPart) -> list[Answer]:
    """Return the questions that decide whether the corpus is trusted: (question, verdict, answer, source)."""
    return [
        _amount(data),
        _language(data, part),
        _repeats(data, part),
        ("Does it hold the tests?", *leaks.answer(part.contamination, data)),
        _machine(data),
        _personal(data, part),
        _allowed(data),
    ]


def trust_table(data: RunData, part: DataPart) -> Table:
    """Return the answers as the report shows them."""
    cells = tuple(
        (text(question), Cell(word, "verdict", css=CSS[word].replace(" ", "-")), text(answer, source))
        for question, word, answer, source in answers(data, part)
    )
    return Table("Can this corpus be trusted?", ("Question", "Verdict", "Answer"), cells)


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
    others: dict[str, int] = dict.fromkeys(part.confusables, 0)
    for one in own:
        for name, amount in one.counts.items():
            if name != one.expected:
                others[name] = others.get(name, 0) + amount
    ordered = sorted(others, key=lambda code: -others[code])
    said = (
        f"{percent(right / total) if total else '–'} of {count(total)} paragraphs read were identified as it."
    )
    if ordered:
        shown = listing([f"{data.language(code)} ({count(others[code])})" for code in ordered])
        said += f" Taken for another, and dropped: {shown}."
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


def _machine(data: RunData) -> Answer:
    question = "Who wrote it?"
    source = "synth/pairs.parquet: source_origin, synth/instructions.parquet: origin"
    said = []
    made = 0
    for name, how in (
        ("pairs", "have a side made by machine translation"),
        ("instructions", "are translated"),
    ):
        held = [one for one in data.holdings if one.file == f"synth/{name}.parquet"]
        total, machine = _rows(held), _rows([one for one in held if one.origin == "synthetic"])
        made += machine
        if machine:
            said.append(f"{count(machine)} of {count(total)} {name} ({percent(machine / total)}) {how}")
        elif total:
            said.append(f"people wrote all {count(total)} {name}, as far as the inputs say")
    if not said:
        return question, "fine", "People, as far as the inputs say: there are no pairs.", source
    rules = sum(rule.count for rule in data.dropped if rule.step == "synth")
    answer = "; ".join(said)
    answer = f"{answer[0].upper()}{answer[1:]}."
    if made:
        answer += f" The filters dropped {plural(rules, 'row')}. Read some of both below."
    return question, "look" if made else "fine", answer, source


def _rows(held: list[Holding]) -> int:
    return sum(one.rows for one in held)


def _personal(data: RunData, part: DataPart) -> Answer:
    question = "Does it hold personal data?"
    source = "corpus/stats.json: inputs[].masked"
    inputs = (data.corpus or {}).get("inputs") or []
    asked = data.config.corpus
    if asked is None or not asked.mask_pii or not any("masked" in item for item in inputs):
        off = asked is not None and not asked.mask_pii
        return question, "not measured", "corpus.mask_pii is off." if off else "Nobody looked.", source
    found: dict[str, int] = {}
    for item in inputs:
        for name, amount in (item.get("masked") or {}).items():
            found[name] = found.get(name, 0) + int(amount)
    shown = [f"{plural(found.pop('email', 0), 'e-mail address', 'e-mail addresses')}"]
    shown.append(plural(found.pop("phone", 0), "phone number"))
    shown += [f"{count(amount)} {name}" for name, amount in sorted(found.items())]
    said = f"{listing(shown)} masked in the documents read"
    rows = sum(amount for kind in GIVEN for rule, amount in part.rules.get(kind, {}).items() if rule in MASKS)
    said += (
        f", and some in {plural(rows, 'pair or instruction', 'pairs and instructions')}. " if rows else ". "
    )
    said += "Names and postal addresses are not looked for."
    return question, "look", said, source


def _allowed(data: RunData) -> Answer:
    question = "What may be done with it?"
    uses: dict[str, dict[str, int]] = {}
    for held in data.holdings:
        names = uses.setdefault(use(data, held.license), {})
        names[held.license or "unknown"] = names.get(held.license or "unknown", 0) + held.rows
    if not uses:
        return question, "not measured", "No rows, no licenses.", "*.parquet: license"
    rows = {name: plural(sum(found.values()), "row") for name, found in uses.items()}
    under = {name: listing(sorted(found)) for name, found in uses.items()}
    said = []
    if "noncommercial" in uses:
        said.append(
            f"Not to be used commercially: {rows['noncommercial']} under {under['noncommercial']}, which the adapter "
            "inherits."
        )
    if "unknown" in uses:
        said.append(f"Of {rows['unknown']} no license is known: find out before the adapter is shared.")
    if "commercial" in uses:
        of = "the others" if said else f"all {rows['commercial']}"
        said.append(f"Commercial use is allowed of {of}, under the duties of {under['commercial']}.")
    word = "fine" if set(uses) == {"commercial"} else "look"
    return question, word, " ".join(said), "*.parquet: license"
