"""From the judge's votes to win rates: ties where the order decides, intervals, and how often it does."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from anukul import stats
from anukul.config import JudgeSettings
from anukul.evaluate.generation.prompt_set import LENGTHS
from anukul.evaluate.generation.scores import ALL, as_json, rate
from anukul.evaluate.judge.compare import Duel, Judged, price
from anukul.evaluate.judge.prompt import OVERALL
from anukul.evaluate.scores import Method, add_q


def summarize_judge(judged: Judged, settings: JudgeSettings, method: Method) -> dict[str, Any]:
    """Return the `judge` of scores.json: what was asked, what it cost, and a row for each mode x length x criterion."""
    rows = []
    for mode in settings.modes:
        of_mode = [duel for duel in judged.duels if duel.mode == mode]
        for length in (ALL, *LENGTHS):
            part = [duel for duel in of_mode if length in (ALL, duel.length)]
            if part:
                for criterion in (OVERALL, *settings.criteria):
                    head = {"mode": mode, "length": length, "criterion": criterion}
                    rows.append({**head, **_row(part, criterion, method)})
    add_q(rows)
    return {
        "model": settings.model,
        "pairs": len(judged.duels),
        "identical": sum(duel.identical for duel in judged.duels),
        "answers": len(judged.lines),
        "input_tokens": judged.input_tokens,
        "output_tokens": judged.output_tokens,
        "tokens_counted_by": "endpoint" if judged.counted else "estimate",
        "usd": round(price(settings, judged.input_tokens, judged.output_tokens), 4),
        "first_place": _first_place(judged.duels, method),
        "rows": rows,
    }


def outcome(duel: Duel, criterion: str) -> str:
    """Return base, adapted or tie: a winner must win in both orders; identical texts and missing verdicts are ties."""
    votes = {vote[criterion] if vote else "tie" for vote in duel.votes}
    return votes.pop() if len(votes) == 1 else "tie"


def _flipped(duel: Duel, criterion: str) -> bool | None:
    """Return whether the order changed the verdict; None where not both orders have one."""
    found = [vote[criterion] for vote in duel.votes if vote]
    return found[0] != found[1] if len(found) == 2 else None


def _row(duels: Sequence[Duel], criterion: str, method: Method) -> dict[str, Any]:
    results = [outcome(duel, criterion) for duel in duels]
    points = np.array([{"adapted": 1.0, "tie": 0.5, "base": 0.0}[result] for result in results])
    clusters = [duel.prompt_id for duel in duels]
    flips = [
        (duel.prompt_id, float(flip)) for duel in duels if (flip := _flipped(duel, criterion)) is not None
    ]
    return {
        "n": len(duels),
        "prompts": len(set(clusters)),
        "wins": results.count("adapted"),
        "ties": results.count("tie"),
        "losses": results.count("base"),
        "no_verdict": sum(None in duel.votes for duel in duels),
        "win_rate": as_json(rate(points, clusters, method)),
        "p": stats.mcnemar_clustered(2 * points - 1, clusters),
        "q": None,
        "both_orders": len(flips),
        "flip_rate": as_json(
            rate(np.array([flip for _, flip in flips]), [prompt for prompt, _ in flips], method)
        )
        if flips
        else None,
    }


def _first_place(duels: Sequence[Duel], method: Method) -> dict[str, Any] | None:
    """Return how often a single overall verdict that is no tie goes to the text shown first; .5 is no bias."""
    values, clusters = [], []
    for duel in duels:
        for vote, first in zip(duel.votes, ("base", "adapted"), strict=False):
            if vote and vote[OVERALL] != "tie":
                values.append(float(vote[OVERALL] == first))
                clusters.append(duel.prompt_id)
    if not values:
        return None
    return {"n": len(values), **as_json(rate(np.array(values), clusters, method))}
