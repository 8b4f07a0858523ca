"""Read what corpus and synth found of the evaluation in the training text: contamination.json of both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.report.reading import read_object

STEPS = ("corpus", "synth")


@dataclass(frozen=True, slots=True)
class Leak:
    """One evaluation set in one step: how many of its items stood in the text, and which."""

    where: str
    step: str
    name: str
    items: int  # that the set has
    touched: int
    dropped: int
    exact: int
    sides: dict[str, int]  # rows dropped by the side that held an item, such as pairs.source
    ids: tuple[str, ...]  # of the items touched; empty where the step did not write them
    samples: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Contamination:
    """contamination.json of one step as a whole."""

    step: str
    method: dict[str, Any]
    dropped: int  # rows, each once, however many sets it touches
    sets: tuple[Leak, ...]


def load_contamination(root: Path) -> tuple[Contamination, ...]:
    """Return what each step that looked has found; raise UserError where a file holds something else."""
    found = []
    for step in STEPS:
        name = f"{step}/contamination.json"
        data = read_object(root / name)
        if data is not None:
            sets = [
                _leak(f"{name}: sets.{key}", step, key, held)
                for key, held in (data.get("sets") or {}).items()
            ]
            ordered = tuple(sorted(sets, key=lambda one: (-one.dropped, one.name)))
            found.append(
                Contamination(step, dict(data.get("method") or {}), int(data.get("dropped") or 0), ordered)
            )
    return tuple(found)


def items_of(found: tuple[Contamination, ...]) -> int:
    """Return how many items were looked for: a set has the same items in both steps."""
    sizes: dict[str, int] = {}
    for step in found:
        for one in step.sets:
            sizes[one.name] = max(one.items, sizes.get(one.name, 0))
    return sum(sizes.values())


def touched_of(found: tuple[Contamination, ...]) -> int:
    """Return how many items stood in the text, those of both steps once."""
    by_name: dict[str, list[Leak]] = {}
    for step in found:
        for one in step.sets:
            by_name.setdefault(one.name, []).append(one)
    return sum(map(merged, by_name.values()))


def merged(leaks: list[Leak]) -> int:
    """Return how many items of one set were found in any step; where a step wrote no ids, at least so many."""
    known = {one for leak in leaks for one in leak.ids}
    return max(len(known), *(leak.touched for leak in leaks))


def _leak(where: str, step: str, name: str, held: dict[str, Any]) -> Leak:
    return Leak(
        where=where,
        step=step,
        name=name,
        items=int(held.get("items") or 0),
        touched=int(held.get("items_touched") or 0),
        dropped=int(held.get("rows_dropped") or 0),
        exact=int(held.get("exact") or 0),
        sides={str(side): int(rows) for side, rows in (held.get("sides") or {}).items()},
        ids=tuple(map(str, held.get("touched") or ())),
        samples=tuple(held.get("samples") or ()),
    )
