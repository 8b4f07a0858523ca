"""What stands behind the pooled rows: backward transfer, single seeds, and the items lost and gained."""

from collections.abc import Sequence

from anukul.records import Flip
from anukul.report.blocks import Block, Cell, Fold, Prose, Table, numeric, text
from anukul.report.data import Measure, RunData, Score, Transfer
from anukul.report.format import count, interval, number, p_value, plural
from anukul.report.tables import domain, drawn, increase, label, source, verdict_cell
from anukul.report.verdicts import verdict_of

SHOWN = 10  # items of a task, half of them lost and half gained where there are as many
LONGEST = 220  # characters of a question or choice that are shown

TRANSFER = (
    "Backward transfer (arXiv 1706.08840): the mean over all forgetting tasks of adapted minus base; below 0 is "
    "forgetting. Each task counts the same, and its items are resampled inside it. Corrected for chance, guessing "
    "counts 0 and all right 100, so that tasks with two and with four choices can be averaged."
)
SEEDS = (
    "Each seed draws other examples for the prompt. The rows above average an item's answers over the seeds and "
    "resample the items, so their intervals speak of items, for these draws; how far the seeds lie apart shows here. "
    "These rows repeat the pooled ones and have no q of their own."
)
FLIPS = (
    "Up to ten items of each task that only one of the two models got right, the clearest first: those whose lead of "
    "the right choice over the best wrong one changed most. The lead is a difference of log-likelihoods in nats. "
    "evaluate/flips.parquet holds all of them, at every shot count, by both metrics and for each seed."
)


def transfer_blocks(data: RunData) -> list[Block]:
    """Return the table of backward transfer with its explanation; nothing where no forgetting task was scored."""
    rows = data.evaluation.transfers if data.evaluation else ()
    pairs = {shots: _pair(rows, shots) for shots in sorted({row.shots for row in rows})}
    if not pairs:
        return []
    axis = domain([row.value for row in rows])
    head = ("Examples", "Tasks", "n", "Plain accuracy", "q", "Corrected for chance", "Verdict", "q")
    cells = [_transfer_row(plain, corrected, axis) for plain, corrected in pairs.values()]
    caption = "Backward transfer: mean over the forgetting tasks of adapted − base"
    return [Prose(TRANSFER, "term"), Table(caption, head, tuple(cells), source("backward_transfer", data))]


def _pair(rows: Sequence[Transfer], shots: int) -> tuple[Transfer, Transfer]:
    plain, corrected = sorted((row for row in rows if row.shots == shots), key=lambda row: row.corrected)
    return plain, corrected


def _transfer_row(plain: Transfer, corrected: Transfer, axis: tuple[float, float]) -> tuple[Cell, ...]:
    word = verdict_of(corrected.value)
    return (
        text(plural(plain.shots, "shot"), plain.where),
        numeric(count(len(plain.tasks)), f"{plain.where}.tasks: {', '.join(plain.tasks)}"),
        numeric(count(plain.n), f"{plain.where}.n"),
        _points(plain.value, f"{plain.where}.transfer", axis),
        numeric(p_value(plain.q), f"{plain.where}.q"),
        _points(corrected.value, f"{corrected.where}.transfer", axis),
        verdict_cell(word, f"{corrected.where}.transfer"),
        numeric(p_value(corrected.q), f"{corrected.where}.q"),
    )


def _points(value: Measure, where: str, axis: tuple[float, float], note: str = "points") -> Cell:
    return drawn(interval(value, True, signed=True), where, value, axis, verdict_of(value), note)


def seed_fold(data: RunData) -> list[Block]:
    """Return the rows of each seed behind a fold; nothing where there is one seed."""
    rows = data.evaluation.by_seed if data.evaluation else ()
    if not rows:
        return []
    rows = tuple(sorted(rows, key=lambda s: (s.kind, s.task, s.language, s.metric, s.shots)))
    axis = domain([row.difference for row in rows])
    head = (
        "What", "Seed", "n", "Base", "Adapted", "Adapted − base", "Won, lost",
        "Difference in differences; increases of base, adapted",
    )  # fmt: skip
    cells = [_seed_row(row, data, axis) for row in rows]
    seeds = len({row.seed for row in rows})
    where = "evaluate/scores.json: by_seed. p is not adjusted: the pooled rows, which these repeat, have a q"
    table = Table("Each seed by itself", head, tuple(cells), where)
    return [Fold(f"Each of {plural(seeds, 'seed')} by itself", (Prose(SEEDS, "term"), table))]


def _seed_row(row: Score, data: RunData, axis: tuple[float, float]) -> tuple[Cell, ...]:
    known = row.increase_base is not None or row.increase_adapted is not None
    gains = f"{increase(row.increase_base)}, {increase(row.increase_adapted)}" if known else ""
    share = not row.lower_is_better
    return (
        label(row, data),
        numeric(str(row.seed), f"{row.where}.seed"),
        numeric(count(row.n), f"{row.where}.n"),
        numeric(interval(row.base, share), f"{row.where}.base"),
        numeric(interval(row.adapted, share), f"{row.where}.adapted"),
        _points(row.difference, f"{row.where}.difference", axis, ""),
        numeric(f"{count(row.gained)}, {count(row.lost)}", f"{row.where}.p", f"p {p_value(row.p)}"),
        numeric(interval(row.gain, True, signed=True), row.gain_where, gains),
    )


def flip_fold(data: RunData, scores: Sequence[Score]) -> list[Block]:
    """Return the items lost and gained behind the given rows, a table for each; nothing where there is none."""
    blocks: list[Block] = []
    for score in scores:
        found = [flip for flip in data.flips if _behind(flip, score)]
        if found:
            blocks.append(_flip_table(score, found, data))
    return [Fold("The items that were lost and gained", (Prose(FLIPS, "term"), *blocks))] if blocks else []


def _behind(flip: Flip, score: Score) -> bool:
    same = (flip.kind, flip.task, flip.language, flip.shots) == (
        score.kind, score.task, score.language, score.shots,
    )  # fmt: skip
    return same and score.metric == "accuracy" and score.split in ("all", flip.split)


def clearest(flips: Sequence[Flip], shown: int = SHOWN) -> list[Flip]:
    """Return at most `shown` flips, lost ones first, each direction half unless the other has fewer."""
    sides = [[flip for flip in flips if flip.direction == word] for word in ("lost", "gained")]
    half = shown // 2
    lost = min(len(sides[0]), max(half, shown - len(sides[1])))
    return [*sides[0][:lost], *sides[1][: shown - lost]]


def _flip_table(score: Score, flips: Sequence[Flip], data: RunData) -> Table:
    pieces = [score.task, data.language(score.language)]
    pieces += [plural(score.shots, "shot")] if score.kind == "multiple_choice" else []
    caption = f"{', '.join(pieces)}: {count(score.lost)} lost, {count(score.gained)} gained"
    head = ("Item", "Change", "Question, right choice, and what the other model chose instead")
    rows = tuple(_flip_row(flip) for flip in clearest(flips))
    return Table(caption, head, rows, "evaluate/flips.parquet")


def _flip_row(flip: Flip) -> tuple[Cell, ...]:
    group = f"cluster {flip.cluster}" if flip.cluster != flip.item else ""
    word, wrong = ("worse", flip.adapted_choice) if flip.direction == "lost" else ("better", flip.base_choice)
    seeds = (
        ""
        if {flip.base, flip.adapted} <= {0.0, 1.0}
        else f"right on {flip.base:.0%} → {flip.adapted:.0%} of seeds"
    )
    lead = f"lead {number(flip.base_margin, signed=True)} → {number(flip.adapted_margin, signed=True)}"
    lines = [_clip(flip.question), f"right: {_choice(flip, flip.gold)}"]
    if wrong != flip.gold:
        lines.append(f"instead: {_choice(flip, wrong)}")
    return (
        text(flip.item, "", " · ".join(filter(None, (group, flip.split, flip.phenomenon)))),
        Cell(flip.direction, "verdict", css=word, note=" · ".join(filter(None, (seeds, lead)))),
        Cell("\n".join(filter(None, lines)), "sample"),
    )


def _choice(flip: Flip, place: int) -> str:
    if place < 0:
        return "none" if len(flip.choices) != 1 else "other words"
    return _clip(flip.choices[place]) if place < len(flip.choices) else f"choice {place + 1}"


def _clip(shown: str) -> str:
    """Return the end of a long text: what is asked stands last."""
    return shown if len(shown) <= LONGEST else f"… {shown[-LONGEST:].split(' ', 1)[-1]}"
