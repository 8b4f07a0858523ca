"""Verdicts: one word for a comparison, which follows from its intervals and from nothing else."""

from typing import Literal

from anukul.report.data import Measure, Score
from anukul.report.format import p_value
from anukul.report.probedata import Choice, Effect, Finding

Word = Literal["better", "worse", "no detectable change", "not measured"]
LossWord = Literal["loss beyond luck", "no loss beyond luck", "not measured"]
HarmWord = Literal["more than random", "no more than random", "no detectable harm"]
DISCOVERY_RATE = 0.05  # of q, above which a verdict may be a false alarm among many comparisons


def verdict(score: Score) -> Word:
    """Return what the interval of adapted minus base says; an interval that holds 0 shows no change."""
    return verdict_of(score.difference, score.lower_is_better)


def verdict_of(difference: Measure, lower_is_better: bool = False) -> Word:
    """Return the verdict for a difference; without an interval nothing is claimed."""
    if difference.value is None or difference.low is None or difference.high is None:
        return "not measured"
    if difference.low > 0:
        return "worse" if lower_is_better else "better"
    if difference.high < 0:
        return "better" if lower_is_better else "worse"
    return "no detectable change"


def loss_verdict(difference: Measure) -> LossWord:
    """Return whether fewer facts were kept than luck explains; that more were is no finding (guesses are alike)."""
    if not difference.bounded:
        return "not measured"
    return "loss beyond luck" if verdict_of(difference) == "worse" else "no loss beyond luck"


def chance_note(score: Score) -> str:
    """Return which models cannot be told from guessing: "both at chance", "base at chance", … or ""."""
    if score.chance is None:
        return ""
    notes = {
        name: "at chance" if measure.holds(score.chance) else "below chance"
        for name, measure in (("base", score.base), ("adapted", score.adapted))
        if measure.bounded and measure.low is not None and measure.low <= score.chance
    }
    if len(notes) == 2 and len(set(notes.values())) == 1:
        return f"both {notes['base']}"
    return ", ".join(f"{name} {note}" for name, note in notes.items())


def notes(score: Score) -> str:
    """Return what takes weight from a verdict: a model that guesses, or that gives one answer to all."""
    who = "both models give" if len(score.one_answer) == 2 else f"{''.join(score.one_answer)} gives"
    alike = f"{who} the same choice to every item" if score.one_answer else ""
    return " · ".join(filter(None, (chance_note(score), alike)))


def everything_at_chance(scores: list[Score]) -> bool:
    """Return whether both models are at chance on every row (and there is at least one)."""
    return bool(scores) and all(chance_note(score) == "both at chance" for score in scores)


def doubtful(score: Score) -> str:
    """Return a warning where a verdict does not outlive the correction for the number of comparisons, else ""."""
    return doubt(verdict(score), score.q)


def doubt(word: Word, q: float | None) -> str:
    """Return a warning where a verdict has a q that is too high for it, else ""."""
    if word not in ("better", "worse") or q is None or q <= DISCOVERY_RATE:
        return ""
    return f"q = {p_value(q)}: among so many comparisons this may be a false alarm"


def reads(choice: Choice) -> bool:
    """Return whether a head is above the best fixed offset, by its interval, on the sentences it was not chosen on."""
    return choice.over_offset.low is not None and choice.over_offset.low > 0


def certain_of(choice: Choice) -> bool:
    """Return whether a head's lead over the fixed offset outlives the correction for the number of relations."""
    return choice.q is not None and choice.q <= DISCOVERY_RATE


def head_verdict(finding: Finding) -> str:
    """Return what became of the best head: better, worse, moved, no detectable change, or not measured.

    Where base and adapted have different best heads, the change of one head alone would call a mere move of the work
    from head to head a gain: then "better" also needs the adapted model's best head to be above the base's own best,
    and "worse" the reverse, by the interval; a change without that is "moved".
    """
    base, adapted = finding.base, finding.adapted
    words = verdict_of(base.change), verdict_of(adapted.change)
    if (base.layer, base.head) == (adapted.layer, adapted.head) or "not measured" in words:
        return words[1]
    rose, fell = words[1] == "better", words[0] == "worse"
    best = base.accuracy.value
    if rose and best is not None and adapted.accuracy.low is not None and adapted.accuracy.low > best:
        return "better"
    if fell and best is not None and adapted.accuracy.high is not None and adapted.accuracy.high < best:
        return "worse"
    return "moved" if rose or fell else "no detectable change"


def harm_verdict(effect: Effect) -> HarmWord:
    """Return whether silencing heads did harm by its interval, and more than random sets by its rank among them."""
    if effect.harm.low is None or effect.harm.low <= 0:
        return "no detectable harm"
    # the q of the rank where it was corrected, else the rank itself
    rank = effect.rank_q if effect.rank_q is not None else effect.rank_p
    return "more than random" if rank is not None and rank <= DISCOVERY_RATE else "no more than random"
