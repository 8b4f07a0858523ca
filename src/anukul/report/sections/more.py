"""Knowledge by what its answers show, translation, the corpus probe, and where the tasks come from."""

from collections.abc import Callable, Sequence

from anukul.report.blocks import Block, Cell, Prose, Section, Table, numeric, text
from anukul.report.data import RunData
from anukul.report.format import count, interval, p_value, percent, plural
from anukul.report.loadmore import Comparison, More, load_more
from anukul.report.tables import domain, drawn, verdict_cell
from anukul.report.verdicts import verdict_of

LEAD = "What the model knows of the facts in its texts, and how it translates."
ASPECTS = (
    "Acquisition: the fact stands only in texts of the language to learn, and is asked in it. Retention: it stands "
    "only in texts of the base language, and is asked in it. Transfer: it stands in one language and is asked in the "
    "other. Chance: it stands nowhere, so that anything above guessing would be a leak. As a ranking the whole true "
    "statement must be likelier than each false one; as a cloze the object alone, after the statement's beginning."
)
TRANSLATION = (
    "chrF++ (0 to 100) compares characters and words of the translation with the reference; the model answers greedily "
    "after the words that its training used. Intervals resample lines; p is sacrebleu's paired bootstrap test. An "
    "untrained base may copy or say nothing, so a difference says more than a value."
)
PROBE = (
    "A number or a name of held-out text is hidden where the corpus states the same value among the same words; the "
    "wrong answers are other values of the corpus. Guessing what the corpus names most often would be right in "
    "{often}. Read evaluate/corpus_probe.sample.txt before you trust it."
)
WEAKNESS = "What is known to be weak about the tasks that presets bring."


def section(data: RunData) -> Section | None:
    """Return the section; None where the evaluation holds none of it."""
    found = load_more(data.root) if data.evaluation is not None else None
    if found is None:
        return None
    blocks: list[Block] = []
    if found.aspects:
        blocks += _knowledge(found, data)
    if found.translations:
        blocks += _translation(found, data)
    blocks += _probe(found, data)
    weak = [task for task in found.tasks if task["weakness"]]
    if weak:
        rows = tuple(
            (text(task["task"], note=task["source"]), Cell(task["weakness"], "sample")) for task in weak
        )
        blocks += [
            Prose(WEAKNESS, "term"),
            Table("Tasks and their weakness", ("Task", "Known weakness"), rows),
        ]
    return Section("knows", "Knowledge and translation", LEAD, tuple(blocks)) if blocks else None


def _knowledge(found: More, data: RunData) -> list[Block]:
    blocks: list[Block] = [Prose(ASPECTS, "term")]
    if found.object_first:
        said = plural(found.object_first, "statement")
        blocks.append(
            Prose(f"{said} begin with the object: as clozes they are ranked as whole statements.", "note")
        )

    def named(row: Comparison) -> Cell:
        stated = data.language(row.labels["stated"]) if row.labels["stated"] else "nowhere"
        note = f"stated in {stated}, asked in {data.language(row.labels['language'])}"
        return text(f"{row.labels['aspect']}, {row.labels['form']}", row.where, note)

    return [*blocks, _table("Knowledge by aspect", found.aspects, named, share=True)]


def _translation(found: More, data: RunData) -> list[Block]:
    def named(row: Comparison) -> Cell:
        source, target = (data.language(row.labels[side]) for side in ("source", "target"))
        note = f"empty translations: {row.labels['empty']}"
        if row.labels["cut"] != "0":
            note += f"; {row.labels['cut']} prompts lost their start"
        return text(f"{source} to {target}, {plural(int(row.labels['shots']), 'shot')}", row.where, note)

    table = _table("Translation, chrF++", found.translations, named, share=False)
    return [Prose(TRANSLATION, "term"), table, Prose(f"sacrebleu: {found.signature}", "note")]


def _probe(found: More, data: RunData) -> list[Block]:
    scores = data.evaluation.scores if data.evaluation else ()
    rows = [
        Comparison(s.where, {"kind": s.split}, s.n or 0, s.chance, s.base, s.adapted, s.difference, s.p, s.q)
        for s in scores
        if s.kind == "cloze" and s.task == "corpus-probe" and s.metric == "accuracy"
    ]
    if not rows or not found.probe:
        return []

    def named(row: Comparison) -> Cell:
        return text({"all": "numbers and names"}.get(row.labels["kind"], f"{row.labels['kind']}s"), row.where)

    often = percent(found.probe.get("by_frequency"))
    table = _table("Hidden numbers and names of held-out text", rows, named, share=True)
    return [Prose(PROBE.format(often=often), "term"), table]


def _table(
    caption: str, rows: Sequence[Comparison], named: Callable[[Comparison], Cell], share: bool
) -> Table:
    """Return base, adapted, difference and verdict of each row; chrF++ is no share."""
    axis = domain([row.difference for row in rows])
    cells = []
    for row in rows:
        word = verdict_of(row.difference)
        shown = interval(row.difference, share, signed=True)
        guess = f"guessing: {percent(row.chance)}" if row.chance is not None else ""
        cells.append(
            (
                named(row),
                numeric(count(row.n), f"{row.where}.n", guess),
                numeric(interval(row.base, share), f"{row.where}.base"),
                numeric(interval(row.adapted, share), f"{row.where}.adapted"),
                drawn(shown, f"{row.where}.difference", row.difference, axis, word),
                verdict_cell(word, f"{row.where}.difference"),
                numeric(p_value(row.p), f"{row.where}.p", f"q {p_value(row.q)}" if row.q is not None else ""),
            )
        )
    head = ("What", "n", "Base", "Adapted", "Adapted − base", "Verdict", "p")
    return Table(caption, head, tuple(cells), "evaluate/scores.json")
