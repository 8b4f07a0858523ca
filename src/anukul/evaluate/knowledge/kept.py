"""Facts that the base ranked right: how many the adapted model still ranks right, and how many luck alone would lose.

Facts chosen because the base was right fall back when they are asked again (regression to the mean): some of its right
answers were guesses. Where a model knows a fact, or else guesses evenly among its choices (the high-threshold model
behind correction for guessing), a fact that it does not know is right with probability c = 1 / choices and wrong with
1 - c. So each fact ranked wrong stands for c / (1 - c) others that were ranked right by luck, in expectation, and
redrawing all guesses turns c right answers into wrong ones for each fact ranked wrong:

    lucky right answers                            = sum over wrong facts of c / (1 - c)
    right answers lost where nothing was forgotten = sum over wrong facts of c

Loss is tested against the second. Two models of the same weights guess more alike than that, and then lose fewer, so
that the test can miss forgetting. Facts half known, which are right more often than c but not always, lose more: then
about as many facts are gained, which is why gains stand beside the losses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anukul import stats
from anukul.evaluate.scores import Method, add_q
from anukul.records import Item

ALL = "all"
NOT_REPEATED = "not_in_target_texts"  # what the language to learn did not state, so that no text refreshed it
EMPTY = {"value": None, "low": None, "high": None}


@dataclass(frozen=True, slots=True)
class Answers:
    """Facts asked in one form and language: right (1) or wrong (0) `[facts]`, and what guessing gives `[facts]`."""

    base: stats.Floats
    adapted: stats.Floats
    chance: stats.Floats


def kept_rows(
    items: Sequence[Item],
    forms: Mapping[str, str],
    stated_in: Mapping[str, tuple[str, ...]],
    language: str,
    method: Method,
) -> list[dict[str, Any]]:
    """Return a row for each form (by task) and language asked, of all facts and of those that nothing repeated.

    The second row is left out where it would hold no fact or all of them; `q` is over the rows that could be tested.
    """
    rows = []
    for task, asked in sorted({(item.task, item.language) for item in items}, key=lambda key: key[::-1]):
        held = [item for item in items if (item.task, item.language) == (task, asked)]
        part = [item for item in held if language not in stated_in.get(item.item, (language,))]
        for facts, members in ((ALL, held), (NOT_REPEATED, part)):
            if facts == ALL or 0 < len(members) < len(held):
                head = {"form": forms[task], "language": asked, "facts": facts}
                rows.append({**head, **kept_row(_answers(members), method)})
    add_q(rows)
    return rows


def _answers(items: Sequence[Item]) -> Answers:
    by_model = {
        model: {item.item: item for item in items if item.model == model} for model in ("base", "adapted")
    }
    base, adapted = by_model["base"], by_model["adapted"]
    if base.keys() != adapted.keys():
        raise ValueError("base and adapted were not asked the same facts")
    return Answers(
        np.array([item.correct for item in base.values()]),
        np.array([adapted[name].correct for name in base]),
        np.array([item.chance for item in base.values()]),
    )


def kept_row(answers: Answers, method: Method) -> dict[str, Any]:
    """Return what was kept of the facts ranked right, what of it was luck, the test for loss, and what was gained.

    `untested` says why a row has no test: the base is not above guessing by its interval ("guessing"), or ranked fewer
    than `stats.FEW_CLUSTERS` facts right ("few").
    """
    n, right = len(answers.base), int(answers.base.sum())
    wrong = n - right
    kept = int((answers.base * answers.adapted).sum())
    gained = int(((1 - answers.base) * answers.adapted).sum())
    guesses = float(((1 - answers.base) * answers.chance).sum())
    accuracy = stats.wilson(right, n, method.confidence)
    untested = "guessing" if accuracy.low <= answers.chance.mean() else ""
    untested = untested or ("few" if right < stats.FEW_CLUSTERS else "")
    loss = None if untested else excess_loss(answers, method)
    return {
        "n": n,
        "chance": float(answers.chance.mean()),
        "right": right,
        "lucky_share": _ends(lucky_share(answers, method.confidence)),
        "kept": kept,
        "kept_share": _share(kept, right, method),
        "expected_share": None if loss is None else 1 - guesses / right,
        "difference": _ends(loss),
        "p": None if loss is None else loss.p,
        "q": None,
        "untested": untested,
        "wrong": wrong,
        "gained": gained,
        "gained_share": _share(gained, wrong, method),
        "gained_by_guessing": guesses / wrong if wrong else None,
    }


def lucky_share(answers: Answers, confidence: float) -> stats.Interval | None:
    """Return the expected share of lucky hits among the right answers, None where none is right.

    With the same c for all it is c (1 - a) / ((1 - c) a) of the accuracy a, at most 1; its ends are those of Wilson's
    interval of a put through the same formula.
    """
    n, right = len(answers.base), float(answers.base.sum())
    if right == 0:
        return None
    odds = answers.chance / (1 - answers.chance)
    wrong = answers.base == 0
    each = float(odds[wrong].mean() if wrong.any() else odds.mean())

    def share(accuracy: float) -> float:
        return 1.0 if accuracy <= 0 else min(1.0, each * (1 - accuracy) / accuracy)

    found = stats.wilson(right, n, confidence)
    return stats.Interval(share(found.value), share(found.high), share(found.low))


def excess_loss(answers: Answers, method: Method) -> stats.Estimate:
    """Return the share kept minus the share that is kept where nothing was forgotten, its interval, and p of a loss.

    A fact adds -1 where it was lost, and c where the base ranked it wrong: the sum is 0 in expectation where nothing
    was forgotten. Facts are resampled, the ratio to the right answers linearized. p is two-sided for a loss, as the
    interval is, and 1 for the other side, which is no finding.
    """
    base, n = answers.base, len(answers.base)
    balance = (1 - base) * answers.chance - base * (1 - answers.adapted)
    value = float(balance.sum() / base.sum())
    rest = (balance - value * base) / base.mean()
    drawn = value + stats.bootstrap_ratios(rest, np.ones(n), method.seed, method.resamples)[:, 0]
    ends = stats.interval(value, drawn, method.confidence, n)
    p = stats.bootstrap_p(drawn, n) if value < 0 else 1.0
    return stats.Estimate(ends.value, ends.low, ends.high, p)


def _share(count: int, total: int, method: Method) -> dict[str, float | None]:
    return _ends(stats.wilson(count, total, method.confidence) if total else None)


def _ends(found: stats.Interval | None) -> dict[str, float | None]:
    return dict(EMPTY) if found is None else {"value": found.value, "low": found.low, "high": found.high}
