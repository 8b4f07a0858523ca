"""What is scored as whole texts after BOS: facts against distractors, minimal pairs, held-out lines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from anukul.items.rows import check_finite, strictly_best
from anukul.records import Item
from anukul.scoring.scorer import Scorer


@dataclass(frozen=True, slots=True)
class Ranking:
    """Texts of which the one at `gold` should have the highest log-likelihood; -1 for a text by itself."""

    kind: str  # knowledge | agreement | bits_per_byte
    task: str
    language: str
    role: str
    id: str
    cluster: str
    split: str
    phenomenon: str
    texts: tuple[str, ...]
    gold: int


def score_rankings(
    scorer: Scorer, rankings: Sequence[Ranking], model: str, label: str | None = None
) -> list[Item]:
    """Score all texts in one call and return one item each; raise UserError for a score that is not finite."""
    texts = [text for ranking in rankings for text in ranking.texts]
    with scorer.showing(label, len(texts)):
        values = iter(scorer.score_texts(texts))
    return [_item(ranking, [next(values) for _ in ranking.texts], model) for ranking in rankings]


def _item(ranking: Ranking, values: list[float], model: str) -> Item:
    check_finite(values, ranking.task, ranking.id, model)
    alone = ranking.gold < 0
    prediction = -1 if alone else strictly_best(values)
    return Item(
        model=model,
        kind=ranking.kind,
        task=ranking.task,
        language=ranking.language,
        role=ranking.role,
        shots=0,
        seed=0,
        item=ranking.id,
        cluster=ranking.cluster,
        split=ranking.split,
        phenomenon=ranking.phenomenon,
        gold=ranking.gold,
        prediction=prediction,
        correct=math.nan if alone else float(prediction == ranking.gold),
        correct_norm=math.nan,
        chance=math.nan if alone else 1 / len(values),
        loglikelihoods=values,
        byte_counts=[len(text.encode("utf-8")) for text in ranking.texts],
    )
