"""The sentences of the summary: each claim with its number, n, interval, and a verdict that follows from them."""

from dataclasses import replace

from anukul.report.claims import Answer, Claim, not_run
from anukul.report.data import Evaluation, RunData, Score
from anukul.report.format import count, interval, listing, percent, plural
from anukul.report.headsummary import heads
from anukul.report.verdicts import (
    Word,
    doubt,
    doubtful,
    everything_at_chance,
    notes,
    verdict,
    verdict_of,
)


def tally(scores: list[Score]) -> str:
    """Return `Better on 2 of 6, worse on 1, no detectable change on 3`; words with no row are left out."""
    words = [verdict(score) for score in scores]
    order: tuple[Word, ...] = ("better", "worse", "no detectable change", "not measured")
    said = [f"{word} on {words.count(word)}" for word in order if word in words]
    if not said:
        return "Nothing measured"
    text = ", ".join([f"{said[0]} of {plural(len(words), 'measure')}", *said[1:]])
    return text[0].upper() + text[1:]


def metric_word(score: Score) -> str:
    """Return the metric's name for readers."""
    return {
        "bits_per_byte": "bits per byte",
        "accuracy": "accuracy",
        "accuracy_norm": "accuracy by log-likelihood per byte",
    }.get(score.metric, score.metric.replace("_", " "))


def sentence(score: Score, data: RunData, what: str) -> Claim:
    """Return `Base X [..], adapted Y [..]; difference D [..], n = N.` with the verdict that follows."""
    share = not score.lower_is_better
    unit = " points" if share else ""
    note = notes(score)
    text = (
        f"Base {interval(score.base, share)}, adapted {interval(score.adapted, share)}; difference "
        f"{interval(score.difference, share, signed=True)}{unit}, n = {count(score.n)}"
        + (f"; guessing gives {percent(score.chance)}" if score.chance is not None else "")
        + (f" ({note})" if note else "")
        + (f"; {doubt}" if (doubt := doubtful(score)) else "")
        + (_worse_than_random(score))
        + "."
    )
    return Claim(text, verdict(score), score.where, what)


def _worse_than_random(score: Score) -> str:
    value = score.adapted.value
    if score.metric != "bits_per_byte" or value is None or value <= 8:
        return ""
    return (
        "; a guess of random bytes would need 8, so neither model can write such text"
        if (score.base.value or 0) > 8
        else "; a guess of random bytes would need 8"
    )


def primary(scores: list[Score] | tuple[Score, ...]) -> list[Score]:
    """Return whole-task rows by plain accuracy or bits per byte: one row per task and shot count."""
    return [score for score in scores if score.pooled and score.metric != "accuracy_norm"]


def zero_shot(scores: list[Score]) -> list[Score]:
    """Return, for each task, the row with the fewest shots."""
    fewest: dict[tuple[str, str, str, str], Score] = {}
    for score in scores:
        key = (score.kind, score.task, score.language, score.metric)
        if key not in fewest or score.shots < fewest[key].shots:
            fewest[key] = score
    return list(fewest.values())


def answers(data: RunData) -> list[Answer]:
    """Return the four questions of the summary with their answers."""
    return [learned(data), forgot(data), shots(data), heads(data)]


def learned(data: RunData) -> Answer:
    """Answer what the adapted model learned: target-language text, facts, agreement and tasks."""
    question, anchor = "What did it learn?", "learned"
    if data.evaluation is None:
        return not_run(question, anchor, "evaluate")
    rows = primary(data.evaluation.scores)
    target = data.config.language
    text = [s for s in rows if s.kind == "bits_per_byte" and s.language == target]
    claims = [
        sentence(s, data, f"Held-out {data.language(target)} text, {s.task} (bits per byte)") for s in text
    ]
    claims += _fact_claims(data.evaluation, data)
    grammar = [s for s in rows if s.kind == "agreement"]
    claims += [sentence(s, data, f"Agreement minimal pairs in {data.language(s.language)}") for s in grammar]
    tasks = zero_shot([s for s in rows if s.kind == "multiple_choice" and s.role == "target"])
    claims += _group_claims(tasks, data, "target task")
    counted = [*text, *_new_facts(data.evaluation), *grammar, *tasks]
    headline = tally(counted) if counted else "Nothing measured"
    return Answer(
        question, anchor, headline, tuple(claims or [Claim("The evaluation holds no target-language row.")])
    )


def _new_facts(evaluation: Evaluation) -> list[Score]:
    facts = [
        s for s in evaluation.scores if s.kind == "knowledge" and not s.phenomenon and s.metric == "accuracy"
    ]
    split = [s for s in facts if s.split == "new"]
    return split or [s for s in facts if s.pooled]


def _fact_claims(evaluation: Evaluation, data: RunData) -> list[Claim]:
    claims = []
    for score in _new_facts(evaluation):
        kind = "Facts that only the new text states" if score.split == "new" else "Facts"
        claims.append(sentence(score, data, f"{kind}, asked in {data.language(score.language)}"))
    return claims


def _group_claims(rows: list[Score], data: RunData, what: str) -> list[Claim]:
    """Return one sentence per row for a few rows; for many, the tally and the rows with a verdict."""
    if not rows:
        return []
    if everything_at_chance(rows):
        widest = listing([f"{s.task} {interval(s.adapted, True)}, n = {count(s.n)}" for s in rows[:4]])
        return [
            Claim(
                f"On every {what} ({len(rows)}) both models are at chance: the interval of each holds what guessing "
                f"would give (adapted: {widest}{', …' if len(rows) > 4 else ''}). These tasks say nothing about a "
                "model of this strength; look at bits per byte instead.",
                "at chance",
                rows[0].where,
                f"{what[0].upper()}{what[1:]}s",
            )
        ]
    named = [
        sentence(s, data, f"{s.task} ({data.language(s.language)}, {plural(s.shots, 'shot')})") for s in rows
    ]
    if len(named) <= 4:
        return named
    decided = [claim for claim in named if claim.verdict in ("better", "worse")][:4]
    if not decided:
        most = max(range(len(rows)), key=lambda i: abs(rows[i].difference.value or 0))
        decided = [replace(named[most], subject=f"The largest difference: {named[most].subject}")]
    return [Claim(f"{tally(rows)}, over every {what}.", "", rows[0].where), *decided]


def forgot(data: RunData) -> Answer:
    """Answer what it forgot: base-language text, the forgetting tasks, old facts."""
    question, anchor = "What did it forget?", "forgot"
    if data.evaluation is None:
        return not_run(question, anchor, "evaluate")
    base = data.config.base_language
    rows = primary(data.evaluation.scores)
    text = [s for s in rows if s.kind == "bits_per_byte" and s.language == base]
    claims = [
        sentence(s, data, f"Held-out {data.language(base)} text, {s.task} (bits per byte)") for s in text
    ]
    old = [
        s
        for s in data.evaluation.scores
        if s.kind == "knowledge" and s.split == "base" and s.metric == "accuracy" and not s.phenomenon
    ]
    claims += [
        sentence(s, data, f"Facts that the base's own texts state, asked in {data.language(s.language)}")
        for s in old
    ]
    tasks = zero_shot([s for s in rows if s.kind == "multiple_choice" and s.role == "forgetting"])
    claims += _group_claims(tasks, data, "forgetting task")
    claims += _transfer_claims(data.evaluation)
    counted = [*text, *old, *tasks]
    if not counted:
        return Answer(
            question, anchor, "Not measured", (Claim("No base-language text, old fact or forgetting task."),)
        )
    worse = [s for s in counted if verdict(s) == "worse"]
    if not worse:
        claims.append(
            Claim(
                "No loss was detected. That is not proof of none: a loss smaller than the intervals would not show."
            )
        )
    return Answer(question, anchor, tally(counted), tuple(claims))


def _transfer_claims(evaluation: Evaluation) -> list[Claim]:
    """Return backward transfer at the fewest shots, where there are tasks to average."""
    rows = [row for row in evaluation.transfers if row.corrected and len(row.tasks) > 1 and row.value.bounded]
    if not rows:
        return []
    row = min(rows, key=lambda row: row.shots)
    word = verdict_of(row.value)
    warning = doubt(word, row.q)
    return [
        Claim(
            f"The mean of adapted minus base is {interval(row.value, True, signed=True)} points of chance-corrected "
            f"accuracy, n = {count(row.n)}" + (f"; {warning}" if warning else "") + ".",
            word,
            row.where,
            f"Backward transfer over {len(row.tasks)} forgetting tasks, {plural(row.shots, 'shot')}",
        )
    ]


def shots(data: RunData) -> Answer:
    """Answer whether examples in the prompt help the adapted model more than they help the base."""
    question, anchor = "Did more examples in the prompt help?", "shots"
    if data.evaluation is None:
        return not_run(question, anchor, "evaluate")
    rows = [s for s in primary(data.evaluation.scores) if s.kind == "multiple_choice" and s.shots > 0]
    if not rows:
        return Answer(
            question, anchor, "Not measured", (Claim("No task was scored with examples in the prompt."),)
        )
    most = max(s.shots for s in rows)
    last = [
        s
        for s in rows
        if s.shots == max(r.shots for r in rows if (r.task, r.language) == (s.task, s.language))
    ]
    bounded = [s for s in last if s.gain.bounded]
    claims = []
    for score in bounded[:4]:
        gain = interval(score.gain, True, signed=True)
        claims.append(
            Claim(
                f"The adapted model’s gain less the base’s is {gain} points of chance-corrected accuracy, "
                f"n = {count(score.n)}"
                + _increase(score)
                + (f"; {warning}" if (warning := doubt(verdict_of(score.gain), score.gain_q)) else "")
                + ".",
                verdict_of(score.gain),
                score.gain_where,
                f"{score.task}, from 0 to {plural(score.shots, 'shot')}",
            )
        )
    if not bounded:
        for score in last[:4]:
            claims.append(sentence(score, data, f"{score.task} at {plural(score.shots, 'shot')}"))
    if everything_at_chance(rows):
        claims.insert(
            0,
            Claim(
                "At every shot count both models are at chance, so a gain or a loss here is noise.",
                "at chance",
            ),
        )
    if len(last) > 4:
        claims.append(Claim(f"{len(last) - 4} more tasks stand in the section below."))
    words = [verdict_of(s.gain) for s in bounded]
    helped, hurt = words.count("better"), words.count("worse")
    headline = (
        f"Up to {plural(most, 'shot')}: more than the base on {helped} of {plural(len(bounded), 'task')}"
        + (f", less on {hurt}" if hurt else "")
        if bounded
        else f"Measured up to {plural(most, 'shot')}"
    )
    if everything_at_chance(rows):
        headline = f"No answer: both models are at chance, up to {plural(most, 'shot')}"
    return Answer(question, anchor, headline, tuple(claims))


def _increase(score: Score) -> str:
    if score.increase_base is None or score.increase_adapted is None:
        return ""
    return (
        f"; against 0 shots, base {percent(score.increase_base / 100, True)}, "
        f"adapted {percent(score.increase_adapted / 100, True)}"
    )
