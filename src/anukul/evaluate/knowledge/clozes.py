"""Texts cut before what is asked: which of several continuations is the likeliest after the prefix?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anukul.evaluate.flips import ItemKey, Shown
from anukul.items.rows import check_finite, strictly_best
from anukul.records import Item
from anukul.scoring.harness import AnukulLM

from lm_eval.api.instance import Instance  # isort: skip  # after scoring.harness, which quiets lm-eval

KIND = "cloze"


@dataclass(frozen=True, slots=True)
class Cloze:
    """A prefix and its continuations, of which the one at `gold` is true; an empty prefix means whole texts."""

    task: str
    language: str
    role: str
    id: str
    cluster: str
    split: str
    prefix: str
    choices: tuple[str, ...]
    gold: int


def score_clozes(lm: AnukulLM, clozes: Sequence[Cloze], model: str) -> list[Item]:
    """Score all continuations in one call and return one item each; raise UserError for a score that is not finite."""
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=(cloze.prefix, choice), idx=place)
        for cloze in clozes
        for place, choice in enumerate(cloze.choices)
    ]
    values = iter(lm.loglikelihood(requests))
    return [_item(cloze, [next(values)[0] for _ in cloze.choices], model) for cloze in clozes]


def shown_clozes(clozes: Iterable[Cloze]) -> dict[ItemKey, Shown]:
    """Return the texts of clozes as people read them."""
    return {
        (KIND, cloze.task, cloze.language, cloze.id): Shown(cloze.prefix, list(cloze.choices))
        for cloze in clozes
    }


def _item(cloze: Cloze, values: list[float], model: str) -> Item:
    check_finite(values, cloze.task, cloze.id, model)
    sizes = [len(choice.encode("utf-8")) for choice in cloze.choices]
    prediction = strictly_best(values)
    norm = strictly_best([value / size for value, size in zip(values, sizes, strict=True)])
    return Item(
        model=model,
        kind=KIND,
        task=cloze.task,
        language=cloze.language,
        role=cloze.role,
        shots=0,
        seed=0,
        item=cloze.id,
        cluster=cloze.cluster,
        split=cloze.split,
        phenomenon="",
        gold=cloze.gold,
        prediction=prediction,
        correct=float(prediction == cloze.gold),
        correct_norm=float(norm == cloze.gold),
        chance=1 / len(values),
        loglikelihoods=values,
        byte_counts=sizes,
    )
