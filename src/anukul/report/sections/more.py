"""Knowledge by what its answers show, translation, the corpus probe, and where the tasks come from."""

from collections.abc import Callable, Sequence

from anukul.report.blocks import Block, Cell, Prose, Section, Table, numeric, text
from anukul.report.data import RunData
from anukul.report.format import count, interval, p_value, percent, plural
from anukul.report.loadmore import Comparison, Kept, More, load_more
from anukul.report.tables import domain, drawn, source, verdict_cell
from anukul.report.verdicts import doubt, loss_verdict, verdict_of

LEAD = "What the model knows of the facts in its texts, and how it translates."
ASPECTS = (
    "Acquisition: the fact stands only in texts of the language to learn, and is asked in it. Retention: it stands "
    "only in texts of the base language, and is asked in it: what the base could have learned, whether or not it did. "
    "Transfer: it stands in one language and is asked in the other. Chance: it stands nowhere, so that anything above "
    "guessing would be a leak. As a ranking the whole true statement must be likelier than each false one; as a cloze "
    "the object alone, after the statement's beginning."
)
KEPT = (
    "What the base knew shows in its answers, not in its texts. Kept: of the facts that the base ranked right, those "
    "that the adapted model still ranks right. But who guesses is right by luck too, and luck does not last: so a kept "
    "share below 100 % is not yet forgetting."
)
LUCK = (
    "Lucky: how many of the base's right answers were guesses, if it either knows a fact or guesses evenly. With four "
    "choices three guesses of four are wrong, so three wrong answers tell of about one lucky hit. In general each "
    "wrong answer counts 1 / (choices − 1); their sum is divided by the number of right answers. “If nothing was "
    "forgotten” is the share that would be kept if every known fact still is and every guess is made anew: 1 − (wrong "
    "answers / choices) / right answers. Only where clearly fewer were kept is there a loss beyond luck. That more "
    "were kept proves nothing: the two models guess alike, since they share their weights."
)
GAINED = (
    "Gained: of the facts that the base ranked wrong, those that the adapted model ranks right, beside what guessing "
    "anew would give. Where nothing taught the facts and about as many were gained as lost, answers changed places and "
    "no knowledge went. Facts that the new texts do not state tell most about forgetting: nothing refreshed them."
)
UNTESTED = {
    "guessing": "the base is not above guessing: nothing that it surely knew",
    "few": "too few facts that the base ranked right",
}
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
    if found.kept:
        terms = [Prose(said, "term") for said in (KEPT, LUCK, GAINED)]
        blocks += [*terms, kept_table(found.kept, data)]
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
        stated = f"in {data.language(row.labels['stated'])}" if row.labels["stated"] else "nowhere"
        note = f"stated {stated}, asked in {data.language(row.labels['language'])}"
        return text(f"{row.labels['aspect']}, {row.labels['form']}", row.where, note)

    where = source("knowledge", data)
    return [*blocks, _table("Knowledge by what the texts state", found.aspects, named, where, share=True)]


def kept_table(rows: Sequence[Kept], data: RunData) -> Table:
    """Return what was kept of the facts that the base ranked right, beside luck, and what was gained."""
    axis = domain([row.difference for row in rows])
    head = (
        "Facts", "The base was right", "Lucky, of these", "Kept, of these", "If nothing was forgotten",
        "Kept − that", "Verdict", "q", "Gained, of the others",
    )  # fmt: skip
    caption = "Facts that the base ranked right: kept or lost"
    cells = tuple(_kept_row(row, data, axis) for row in rows)
    return Table(caption, head, cells, source("kept_facts", data))


def _kept_row(row: Kept, data: RunData, axis: tuple[float, float]) -> tuple[Cell, ...]:
    word = loss_verdict(row.difference)
    color = {"loss beyond luck": "worse", "no loss beyond luck": "no detectable change"}
    css = color.get(word, word)
    note = f"asked in {data.language(row.language)}" + (
        "" if row.facts == "all" else ", not in the new texts"
    )
    doubtful = doubt("worse", row.q) if css == "worse" else ""
    return (
        text(f"{row.form}, {'all' if row.facts == 'all' else 'not refreshed'}", row.where, note),
        numeric(
            f"{count(row.right)} of {count(row.n)}", f"{row.where}.right", f"guessing: {percent(row.chance)}"
        ),
        numeric(interval(row.lucky_share, True), f"{row.where}.lucky_share"),
        numeric(
            interval(row.kept_share, True),
            f"{row.where}.kept_share",
            f"{count(row.kept)} kept, {count(row.right - row.kept)} lost",
        ),
        numeric(percent(row.expected_share), f"{row.where}.expected_share"),
        drawn(
            interval(row.difference, True, signed=True),
            f"{row.where}.difference",
            row.difference,
            axis,
            css,
            "points",
        ),
        Cell(word, "verdict", f"{row.where}.difference", note=UNTESTED.get(row.untested, doubtful), css=css),
        numeric(p_value(row.q), f"{row.where}.q"),
        numeric(
            interval(row.gained_share, True),
            f"{row.where}.gained_share",
            f"{count(row.gained)} of {count(row.wrong)}; guessing: {percent(row.gained_by_guessing)}",
        ),
    )


def _translation(found: More, data: RunData) -> list[Block]:
    def named(row: Comparison) -> Cell:
        source, target = (data.language(row.labels[side]) for side in ("source", "target"))
        note = f"empty translations: {row.labels['empty']}"
        if row.labels["cut"] != "0":
            note += f"; {row.labels['cut']} prompts lost their start"
        return text(f"{source} to {target}, {plural(int(row.labels['shots']), 'shot')}", row.where, note)

    where = source("translation", data)
    table = _table("Translation, chrF++", found.translations, named, where, share=False)
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
    where = source("scores", data)
    table = _table("Hidden numbers and names of held-out text", rows, named, where, share=True)
    return [Prose(PROBE.format(often=often), "term"), table]


def _table(
    caption: str, rows: Sequence[Comparison], named: Callable[[Comparison], Cell], where: str, share: bool
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
    return Table(caption, head, tuple(cells), where)
