"""The items whose answer changed: what the counts of lost and gained in scores.json are made of."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from anukul.evaluate.whole_texts import Ranking
from anukul.items.load import LoadedTask
from anukul.records import Flip, Item
from anukul.stats import ROUNDING

POOLED = -1  # stands for "all seeds" in the column seed

ItemKey = tuple[str, str, str, str]  # kind, task, language, item


@dataclass(frozen=True, slots=True)
class Shown:
    """An item as people read it."""

    question: str
    choices: list[str]


@dataclass(slots=True)
class _Answers:
    """One model's answers to one item at one shot count, one entry for each seed."""

    correct: list[float]
    margins: list[float]
    choices: list[int]


def shown_items(tasks: Iterable[LoadedTask], rankings: Iterable[Ranking]) -> dict[ItemKey, Shown]:
    """Return the texts of all items that were read from local files."""
    shown: dict[ItemKey, Shown] = {}
    for task in tasks:
        settings = task.settings
        for item in task.items:
            schema = len(item.contexts) > 1
            text, choices = (
                (item.continuations[0], item.contexts) if schema else (item.contexts[0], item.continuations)
            )
            key = ("multiple_choice", settings.name, settings.language, item.id)
            shown[key] = Shown(text, list(choices))
    for ranking in rankings:
        key = (ranking.kind, ranking.task, ranking.language, ranking.id)
        shown[key] = Shown("", list(ranking.texts))
    return shown


def find_flips(items: Sequence[Item], shown: Mapping[ItemKey, Shown]) -> list[Flip]:
    """Return the items lost and gained at each shot count, by each metric, seeds pooled and (of several) each alone.

    Pooled, an item is lost where the adapted model is right on fewer seeds than the base. Within task, shots, metric
    and seed the clearest come first: those whose margin moved most in the flip's direction.
    """
    groups: dict[tuple[str, str, str, int], list[Item]] = {}
    for item in items:
        if not math.isnan(item.correct):
            groups.setdefault((item.kind, item.task, item.language, item.shots), []).append(item)
    flips: list[Flip] = []
    for members in groups.values():
        seeds = sorted({item.seed for item in members})
        normed = not any(math.isnan(item.correct_norm) for item in members)
        for metric in ("accuracy", "accuracy_norm") if normed else ("accuracy",):
            for seed in (POOLED, *(seeds if len(seeds) > 1 else ())):
                held = [item for item in members if seed in (POOLED, item.seed)]
                found = _flips_of(held, metric, seed, shown)
                flips += sorted(found, key=_clarity, reverse=True)
    return flips


def _clarity(flip: Flip) -> float:
    """How far the lead of the right choice moved in the flip's direction."""
    change = flip.adapted_margin - flip.base_margin
    return change if flip.direction == "gained" else -change


def _flips_of(items: list[Item], metric: str, seed: int, shown: Mapping[ItemKey, Shown]) -> list[Flip]:
    answers: dict[str, dict[str, _Answers]] = {}
    first: dict[str, Item] = {}
    for item in items:
        first.setdefault(item.item, item)
        held = answers.setdefault(item.item, {}).setdefault(item.model, _Answers([], [], []))
        margin, choice = _answer(item, metric)
        held.correct.append(item.correct if metric == "accuracy" else item.correct_norm)
        held.margins.append(margin)
        held.choices.append(choice)
    flips = []
    for name, models in answers.items():
        base, adapted = models["base"], models["adapted"]
        change = _mean(adapted.correct) - _mean(base.correct)
        if abs(change) > ROUNDING:
            direction = "gained" if change > 0 else "lost"
            flips.append(_flip(direction, first[name], metric, seed, base, adapted, shown))
    return flips


def _flip(
    direction: str,
    item: Item,
    metric: str,
    seed: int,
    base: _Answers,
    adapted: _Answers,
    shown: Mapping[ItemKey, Shown],
) -> Flip:
    text = shown.get((item.kind, item.task, item.language, item.item), Shown("", []))
    return Flip(
        direction=direction,
        kind=item.kind,
        task=item.task,
        language=item.language,
        role=item.role,
        split=item.split,
        phenomenon=item.phenomenon,
        shots=item.shots,
        metric=metric,
        seed=seed,
        item=item.item,
        cluster=item.cluster,
        base=_mean(base.correct),
        adapted=_mean(adapted.correct),
        base_margin=_mean(base.margins),
        adapted_margin=_mean(adapted.margins),
        gold=item.gold,
        base_choice=_most(base.choices),
        adapted_choice=_most(adapted.choices),
        question=text.question,
        choices=text.choices,
    )


def _answer(item: Item, metric: str) -> tuple[float, int]:
    """Return by how much the right choice leads, and the choice that is predicted."""
    values = item.loglikelihoods
    if len(values) == 1 or item.gold < 0:
        return values[0], item.prediction
    if metric == "accuracy":
        choice = item.prediction
    else:
        values = [value / size for value, size in zip(values, item.byte_counts, strict=True)]
        choice = values.index(max(values))
    wrong = max(value for place, value in enumerate(values) if place != item.gold)
    return values[item.gold] - wrong, choice


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _most(choices: Sequence[int]) -> int:
    return Counter(choices).most_common(1)[0][0]
