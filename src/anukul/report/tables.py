"""Tables of scores: base, adapted, difference with its interval drawn, and the verdict that follows."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from anukul.report.blocks import Cell, Table, numeric, text
from anukul.report.data import Measure, RunData, Score, Variant
from anukul.report.format import NOTHING, count, interval, number, p_value, percent, plural
from anukul.report.summary import metric_word, primary
from anukul.report.svg import whisker
from anukul.report.verdicts import notes, verdict, verdict_of

CSS = {
    "better": "good",
    "worse": "bad",
    "at chance": "flat",
    "moved": "flat",
    "no detectable change": "flat",
    "not measured": "none",
}
SCORE_HEAD = ("What", "n", "Base", "Adapted", "Adapted − base", "Verdict", "q")


def source(table: str, data: RunData, where: str = "evaluate/scores.json") -> str:
    """Return where a table's numbers stand, and over which family of how many tests its q was adjusted."""
    family = data.evaluation.families.get(table) if data.evaluation else None
    return where if family is None else f"{where}. {adjusted(table, family.comparisons, family.rows)}"


def adjusted(name: str, tests: int, rows: str) -> str:
    """Return the words that say over what a q was adjusted."""
    if tests == 0:
        return f"No row could be tested, so that the family “{name.replace('_', ' ')}” has no q"
    return (
        f"q: Benjamini–Hochberg over the family “{name.replace('_', ' ')}” of {plural(tests, 'test')}: {rows}"
    )


def verdict_cell(word: str, source: str = "", note: str = "") -> Cell:
    """Return a cell with a verdict word."""
    return Cell(word, "verdict", source, note=note)


def domain(measures: Sequence[Measure]) -> tuple[float, float]:
    """Return the axis that holds zero and every interval, with a little room."""
    ends = [end for m in measures for end in (m.low, m.high) if end is not None] + [0.0]
    low, high = min(ends), max(ends)
    room = (high - low) * 0.05 or 1.0
    return low - room, high + room


def drawn(
    shown: str, source: str, measure: Measure, axis: tuple[float, float], word: str, note: str = ""
) -> Cell:
    """Return a cell with a number and its interval drawn on `axis`."""
    return Cell(
        shown, "number", source, whisker(measure, *axis, CSS.get(word, "none"), f"{shown} {note}"), note
    )


def score_table(
    caption: str, scores: Sequence[Score], data: RunData, name: Callable[[Score], Cell] | None = None
) -> Table:
    """Return a table of comparisons; rows keep their order, bits per byte and shares have an axis each."""
    bits = domain([s.difference for s in scores if s.lower_is_better])
    shares = domain([s.difference for s in scores if not s.lower_is_better])
    named = name or (lambda score: label(score, data))
    rows = [score_row(score, bits if score.lower_is_better else shares, named(score)) for score in scores]
    return Table(caption, SCORE_HEAD, tuple(rows), source("scores", data))


def score_row(score: Score, axis: tuple[float, float], name: Cell) -> tuple[Cell, ...]:
    """Return the cells of one comparison."""
    share = not score.lower_is_better
    word = verdict(score)
    shown = interval(score.difference, share, signed=True)
    missing = "no value in the file" if shown == NOTHING else ""
    unit = "points" if share else "bits per byte"
    chance = f"guessing: {percent(score.chance)}" if score.chance is not None else ""
    return (
        name,
        numeric(count(score.n), f"{score.where}.n", _clusters(score)),
        numeric(interval(score.base, share), f"{score.where}.base", chance),
        numeric(interval(score.adapted, share), f"{score.where}.adapted"),
        drawn(shown, f"{score.where}.difference", score.difference, axis, word, missing or unit),
        verdict_cell(
            word,
            f"{score.where}.difference",
            " · ".join(filter(None, (notes(score), _discordant(score)))),
        ),
        numeric(p_value(score.q), f"{score.where}.q"),
    )


def _clusters(score: Score) -> str:
    if score.clusters is None or score.clusters == score.n:
        return ""
    return f"in {plural(score.clusters, 'cluster')}"


def _discordant(score: Score) -> str:
    if score.lost is None or score.gained is None:
        return ""
    return f"{count(score.gained)} won, {count(score.lost)} lost"


def label(score: Score, data: RunData) -> Cell:
    """Return what a row is: task, then language, shots, metric, split or phenomenon in small print."""
    part = score.phenomenon or ("" if score.split in ("all", "") else f"split: {score.split}")
    shots = plural(score.shots, "shot") if score.kind == "multiple_choice" else ""
    small = [data.language(score.language) if score.language else "", shots, metric_word(score), part]
    return text(score.task, f"{score.where}.task", " · ".join(piece for piece in small if piece))


def increase_table(rows: Sequence[Score], data: RunData) -> Table:
    """Return the percent increases over 0 shots and the differences in differences, one row per task and count."""
    axis = domain([score.gain for score in rows])
    cells = []
    for score in rows:
        word = verdict_of(score.gain)
        shown = interval(score.gain, True, signed=True)
        cells.append(
            (
                text(
                    score.task,
                    f"{score.where}.task",
                    f"{data.language(score.language)} · {plural(score.shots, 'shot')}",
                ),
                numeric(count(score.n), f"{score.where}.n"),
                numeric(increase(score.increase_base), f"{score.where}.percent_increase.base"),
                numeric(increase(score.increase_adapted), f"{score.where}.percent_increase.adapted"),
                drawn(shown, score.gain_where, score.gain, axis, word, "points"),
                verdict_cell(word, score.gain_where),
                numeric(p_value(score.gain_q), score.gain_where.removesuffix(".difference_in_differences")),
            )
        )
    head = (
        "Task",
        "n",
        "Base: increase over 0 shots",
        "Adapted: increase over 0 shots",
        "Difference in differences",
        "Verdict",
        "q",
    )
    return Table("What examples in the prompt bought", head, tuple(cells), source("retention", data))


def increase(value: float | None) -> str:
    """Return a percent increase, which the file holds in percent."""
    return NOTHING if value is None else f"{number(value, signed=True)} %"


def variant_table(data: RunData, variants: Sequence[Variant]) -> Table:
    """Return what each run lost on forgetting tasks and base-language text, the runs beside each other."""
    runs = [(variant, variant.evaluation) for variant in variants if variant.evaluation is not None]
    rows = []
    chosen = [(v, s) for v, e in runs for s in ends([s for s in primary(e.scores) if watched(s, data)])]
    bits = domain([s.difference for _, s in chosen if s.lower_is_better])
    shares = domain([s.difference for _, s in chosen if not s.lower_is_better])
    keys = list(dict.fromkeys((s.kind, s.task, s.language, s.shots, s.metric) for _, s in chosen))
    for key in keys:
        for variant, score in chosen:
            if (score.kind, score.task, score.language, score.shots, score.metric) == key:
                cells = score_row(score, bits if score.lower_is_better else shares, label(score, data))
                replay = text(
                    variant.name, f"{variant.path}: {score.where}", f"replay {variant.replay or NOTHING}"
                )
                rows.append((cells[0], replay, *cells[1:6]))
    head = ("What", "Run", "n", "Base", "Adapted", "Adapted − base", "Verdict")
    return Table("What replay bought", head, tuple(rows), "evaluate/scores.json of each run")


def ends(scores: Sequence[Score]) -> list[Score]:
    """Return, for each task, its rows with the fewest and with the most shots, in their order."""
    counts: dict[tuple[str, str, str], list[int]] = {}
    for score in scores:
        counts.setdefault((score.kind, score.task, score.language), []).append(score.shots)
    return [
        score
        for score in scores
        if score.shots in (min(of := counts[score.kind, score.task, score.language]), max(of))
    ]


def watched(score: Score, data: RunData) -> bool:
    """Return whether a row is there to show forgetting."""
    text_of_base = score.kind == "bits_per_byte" and score.language == data.config.base_language
    return text_of_base or score.role == "forgetting"


def share_bar(share: float, label_text: str) -> Markup:
    """Return a bar of a share of 1."""
    width = 100 * min(1.0, max(0.0, share))
    bar = Markup('<span class="meter" title="{}"><span style="width:{:.1f}%"></span></span>')
    return bar.format(label_text, width)
