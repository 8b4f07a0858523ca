"""Learned, Forgot and Shots: the comparisons of evaluate/scores.json."""

from collections.abc import Sequence

from anukul.report.blocks import Block, Cell, Figure, Fold, Grid, Prose, Section, text
from anukul.report.changes import flip_fold, seed_fold, transfer_blocks
from anukul.report.data import Measure, RunData, Score, Variant
from anukul.report.format import count, interval, percent, plural
from anukul.report.summary import metric_word, primary
from anukul.report.svg import Axes, Dot, Line, chart
from anukul.report.tables import ends, increase_table, score_table, variant_table, watched
from anukul.report.verdicts import everything_at_chance, verdict

LEARNED = "Base and adapted model on the same items, with the adapter off and on, compared item by item."
FORGOT = "What the base model could do before, measured again after the adaptation."
SHOTS = "A shot is a solved example in the prompt. Do examples help the adapted model more than they help the base?"
NOT_RUN = Prose("The step 'evaluate' was not run in this run folder.", "note")
BITS = (
    "Bits per byte: how many bits the model needs, on average, to guess the next byte of a text that it was not "
    "trained on. Lower is better; it compares across tokenizers and says something about every model."
)
INTERVAL = (
    "Numbers in brackets are {confidence:g} % confidence intervals. The verdict follows from the interval of the "
    "difference alone: better or worse when it leaves out 0, else no detectable change. Items are resampled in whole "
    "clusters, such as a passage with its questions. q is the p value after correction for the number of comparisons "
    "(exact McNemar for accuracy, else bootstrap; false discovery rate of Benjamini and Hochberg): the line under each "
    "table says over which family of how many tests. Be careful where a verdict has q above .05."
)
CHANCE = "At chance: the model's interval holds the accuracy that guessing would give. A point is one percentage point."


def learned(data: RunData) -> Section:
    """Return what the adapted model learned."""
    if data.evaluation is None:
        return Section("learned", "Learned", LEARNED, (NOT_RUN,))
    evaluation = data.evaluation
    rows = primary(evaluation.scores)
    blocks: list[Block] = [Prose(INTERVAL.format(confidence=100 * evaluation.confidence), "term")]
    text_rows = [s for s in rows if s.kind == "bits_per_byte"]
    if text_rows:
        blocks += [
            Prose(BITS, "term"),
            score_table("Held-out text", text_rows, data, lambda s: _named(s, data, s.task)),
        ]
    facts = [
        s for s in evaluation.scores if s.kind == "knowledge" and not s.phenomenon and s.metric == "accuracy"
    ]
    if facts:
        blocks.append(Prose(_FACTS, "term"))
        blocks.append(
            score_table(
                "Knowledge, by what the texts said", facts, data, lambda s: _named(s, data, _split(s))
            )
        )
    grammar = [s for s in evaluation.scores if s.kind == "agreement" and s.metric == "accuracy"]
    if grammar:
        blocks.append(Prose(_AGREEMENT, "term"))
        table = score_table(
            "Agreement", grammar, data, lambda s: _named(s, data, s.phenomenon or "all phenomena")
        )
        blocks.append(table)
    tasks = [s for s in rows if s.kind == "multiple_choice" and s.role == "target"]
    if tasks:
        blocks.append(Prose(CHANCE, "term"))
        if everything_at_chance(tasks):
            blocks.append(Prose(_ALL_AT_CHANCE, "warning"))
        blocks.append(
            score_table("Tasks in what was to be learned, fewest and most shots", ends(tasks), data)
        )
    blocks += flip_fold(data, [*(s for s in (*facts, *grammar) if s.pooled), *ends(tasks)])
    everything = score_table("Every row of the file", list(evaluation.scores), data)
    blocks.append(
        Fold(f"All {plural(len(evaluation.scores), 'comparison')}, every metric and split", (everything,))
    )
    return Section("learned", "Learned", LEARNED, tuple(blocks))


_FACTS = (
    "Knowledge: a true statement must be likelier than false ones. “base” facts stand in the base's own texts, “new” "
    "facts only in the texts that it was adapted on, “never” facts in neither: those should stay at chance."
)
_AGREEMENT = (
    "Agreement: of two sentences that differ in one ending, the grammatical one must be the likelier."
)
_ALL_AT_CHANCE = (
    "On all of these tasks both models are at chance: their intervals hold what guessing would give. The tasks are too "
    "hard for models of this strength, and say nothing about what was learned."
)


def _split(score: Score) -> str:
    return {"all": "all facts", "base": "base facts", "new": "new facts", "never": "never stated"}.get(
        score.split, score.split
    )


def _named(score: Score, data: RunData, name: str) -> Cell:
    small = data.language(score.language)
    if score.kind in ("knowledge", "agreement") and score.task != score.kind:
        small += f" · {score.task}"
    return text(name, f"{score.where}.task", small)


def forgot(data: RunData) -> Section:
    """Return what was forgotten, beside variants such as a run without replay."""
    if data.evaluation is None:
        return Section("forgot", "Forgot", FORGOT, (NOT_RUN,))
    rows = [s for s in primary(data.evaluation.scores) if watched(s, data)]
    blocks: list[Block] = []
    if rows:
        if everything_at_chance([s for s in rows if not s.lower_is_better]):
            blocks.append(Prose(_ALL_AT_CHANCE.replace("learned.", "forgotten."), "warning"))
        blocks.append(
            score_table("Base-language text and forgetting tasks, fewest and most shots", ends(rows), data)
        )
    else:
        blocks.append(
            Prose("No base-language text and no task with the role “forgetting” was scored.", "note")
        )
    blocks += transfer_blocks(data)
    blocks += flip_fold(data, ends([s for s in rows if not s.lower_is_better]))
    blocks += _variants(data)
    return Section("forgot", "Forgot", FORGOT, tuple(blocks))


def _variants(data: RunData) -> list[Block]:
    if not data.variants:
        return [
            Prose(
                "No variant to compare with: name run folders in report.compare, such as one without replay.",
                "note",
            )
        ]
    blocks: list[Block] = [
        Prose(f"{variant.name}: cannot be compared: {variant.problem}.", "warning")
        for variant in data.variants
        if variant.evaluation is None
    ]
    others = [variant for variant in data.variants if variant.evaluation is not None]
    if not others or data.evaluation is None:
        return blocks
    blocks.append(variant_table(data, (this_run(data), *others)))
    different = [
        v.name for v in others if v.evaluation and v.evaluation.signature != data.evaluation.signature
    ]
    if different:
        blocks.append(
            Prose(
                f"Scored with other settings or items than this run (the signatures differ): {', '.join(different)}. "
                "Compare with care.",
                "warning",
            )
        )
    blocks.append(
        Prose(
            "Each row compares a run's adapted model with its own base. Runs whose intervals overlap "
            "are not shown to differ.",
            "term",
        )
    )
    return blocks


def this_run(data: RunData) -> Variant:
    """Return this run in the shape of a variant."""
    shares = sorted({stage.replay_asked for stage in data.stages})
    replay = " / ".join(f"{100 * share:g} %" for share in shares)
    return Variant(f"{data.config.name} (this run)", str(data.root.name), replay, data.evaluation)


def shots(data: RunData) -> Section:
    """Return the shot curves and what the shots bought."""
    if data.evaluation is None:
        return Section("shots", "Shots", SHOTS, (NOT_RUN,))
    rows = [s for s in primary(data.evaluation.scores) if s.kind == "multiple_choice"]
    curves: dict[tuple[str, str], list[Score]] = {}
    for score in rows:
        curves.setdefault((score.task, score.language), []).append(score)
    several = {key: sorted(part, key=lambda s: s.shots) for key, part in curves.items() if len(part) > 1}
    if not several:
        note = Prose("No task was scored at more than one shot count.", "note")
        return Section("shots", "Shots", SHOTS, (note,))
    blocks: list[Block] = []
    if everything_at_chance([s for part in several.values() for s in part]):
        blocks.append(
            Prose("At every shot count both models are at chance, so the curves show noise.", "warning")
        )
    blocks.append(Grid(tuple(shot_curve(part, data) for part in several.values())))
    more = [s for part in several.values() for s in part if s.shots > 0]
    blocks.append(Prose(_GAIN, "term"))
    blocks.append(increase_table(more, data))
    blocks += seed_fold(data)
    return Section("shots", "Shots", SHOTS, tuple(blocks))


_GAIN = (
    "Increase over 0 shots is the paper's number (arXiv 2412.13860), in percent of the model's own score without "
    "examples: it flatters a model that starts low. The difference in differences is what the adapted model gained, "
    "less what the base gained, on the same items, in points of chance-corrected accuracy: 0 is guessing, "
    "100 is all right. Above 0 examples bring out more of the adapted model than of the base (latent retention)."
)


def shot_curve(rows: Sequence[Score], data: RunData) -> Figure:
    """Return accuracy over shots of one task, both models with intervals, and the chance line."""
    lines = []
    for name, pick in (("base", _base), ("adapted", _adapted)):
        dots = []
        for place, score in enumerate(rows):
            measure = pick(score)
            if measure.value is not None:
                dots.append(
                    Dot(float(place), measure.value, measure.low, measure.high, _tip(name, score, measure))
                )
        lines.append(Line(name, tuple(dots)))
    chance = rows[0].chance
    title = f"{rows[0].task} ({data.language(rows[0].language)})"
    last = rows[-1]
    axes = Axes(
        label=f"{title}: accuracy at {', '.join(str(s.shots) for s in rows)} shots; at {last.shots} shots base "
        f"{interval(last.base, True)}, adapted {interval(last.adapted, True)}",
        x_title="shots",
        y_title=metric_word(rows[0]),
        width=360,
        height=230,
        labels=tuple((float(place), str(score.shots)) for place, score in enumerate(rows)),
        level=(chance, "chance") if chance is not None else None,
        percent=True,
    )
    role = "forgetting task" if rows[0].role == "forgetting" else "target task"
    caption = f"n = {count(rows[0].n)} items, {role}; at {plural(last.shots, 'shot')}: {verdict(last)}."
    legend = (("base", "base"), ("adapted", "adapted"))
    return Figure(title, chart(lines, axes), caption, f"{rows[0].where} …", legend)


def _base(score: Score) -> Measure:
    return score.base


def _adapted(score: Score) -> Measure:
    return score.adapted


def _tip(name: str, score: Score, measure: Measure) -> str:
    chance = f", guessing {percent(score.chance)}" if score.chance is not None else ""
    return (
        f"{name}, {plural(score.shots, 'shot')}: {interval(measure, True)}\nn = {count(score.n)}{chance}\n"
        f"adapted − base {interval(score.difference, True, signed=True)} points: {verdict(score)}\n{score.where}"
    )
