"""Exemplars that are nested in k: those of one shot are among those of two."""

import random
from collections.abc import Iterable, Iterator, Sequence

from anukul.errors import UserError
from anukul.items.load import SUBJECT, TaskItem

SEPARATOR = "\n\n"


def draw_exemplars(
    pool: Sequence[TaskItem],
    items: Sequence[TaskItem],
    seed: int,
    count: int,
    task: str,
    per_item: bool = False,
) -> list[list[TaskItem]]:
    """Return for each item its `count` exemplars in their order; the first k of them are the exemplars for k shots.

    One permutation of the pool is drawn from the seed and shared by all items, so that their prompts share a prefix;
    with `per_item` each item has its own, drawn from seed and id. An item never gets itself, a row of its cluster or
    a row with one of its contexts. Raise UserError where the pool is too small.
    """
    shared = _permuted(pool, f"{seed}")
    drawn = []
    for item in items:
        order: Iterable[TaskItem] = _own_order(pool, f"{seed}:{item.id}") if per_item else shared
        chosen: list[TaskItem] = []
        for candidate in order:
            if len(chosen) == count:
                break
            if not _related(candidate, item):
                chosen.append(candidate)
        if len(chosen) < count:
            raise UserError(
                f"task '{task}', item '{item.id}': {count} shots are asked for but only {len(chosen)} exemplars "
                "are there; add rows or ask for fewer shots"
            )
        drawn.append(chosen)
    return drawn


def prompt(exemplars: Sequence[TaskItem], context: str) -> str:
    """Join solved exemplars and the context to be continued with an empty line between."""
    return SEPARATOR.join([*(exemplar.solved for exemplar in exemplars), context])


def _permuted(pool: Sequence[TaskItem], key: str) -> list[TaskItem]:
    order = list(pool)
    random.Random(key).shuffle(order)  # a text seed goes through sha512: the same on every platform
    return order


def _own_order(pool: Sequence[TaskItem], key: str) -> Iterator[TaskItem]:
    """Yield the pool permuted, as far as it is asked for: a few of many thousand rows, for each of many items."""
    draw = random.Random(key)
    moved: dict[int, int] = {}
    for place in range(len(pool)):
        other = draw.randrange(place, len(pool))
        yield pool[moved.get(other, other)]
        moved[other] = moved.get(place, place)


def _related(candidate: TaskItem, item: TaskItem) -> bool:
    same = candidate.id == item.id and candidate.split == item.split
    of_one_text = candidate.cluster == item.cluster and not item.cluster.startswith(SUBJECT)
    return same or of_one_text or bool(set(candidate.contexts) & set(item.contexts))
