"""From scored items to scores.json: every score with its n, its interval and the paired test of base and adapted."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anukul import stats
from anukul.records import Item

SCHEMA = 2
ALL = "all"
MIN_ONE_ANSWER = 20  # items; fewer may be answered alike by luck
# A family is corrected on its own (Benjamini & Hochberg 1995): each answers one question of the reader, who is told
# these words and the number of tests beside every q.
FAMILIES = {
    "scores": "comparisons of adapted and base: every task, language, split, phenomenon, shot count and metric, seeds "
    "pooled; the rows of single seeds repeat these and are not counted again",
    "retention": "differences in differences: every task and shot count, seeds pooled",
    "backward_transfer": "means over the forgetting tasks: every shot count, with and without chance correction",
    "knowledge": "comparisons of facts by the languages that state them: every aspect, form, and language stated and "
    "asked",
    "kept_facts": "tests for forgotten facts among those that the base ranked right: every form, language asked and "
    "part of the facts with enough of them",
    "translation": "comparisons of translations: every direction and shot count",
    "generation": "comparisons of generated texts: every measure, way of generating and length of the beginning",
    "judge": "comparisons by the judge: every criterion, way of generating and length of the beginning",
}


@dataclass(frozen=True, slots=True)
class Method:
    """How intervals are made."""

    resamples: int
    confidence: float
    seed: int


@dataclass(slots=True)
class Paired:
    """Items that both models answered, seeds averaged; all arrays `[items]`."""

    names: list[str]
    base: stats.Floats
    adapted: stats.Floats
    weights: stats.Floats  # 1, or bytes where the score is per byte
    chance: stats.Floats
    clusters: list[str]


@dataclass(slots=True)
class Scores:
    """The parts of scores.json that are made from items, each a list of rows."""

    scores: list[dict[str, Any]] = field(default_factory=list)
    retention: list[dict[str, Any]] = field(default_factory=list)
    backward_transfer: list[dict[str, Any]] = field(default_factory=list)
    seed_scores: list[dict[str, Any]] = field(default_factory=list)  # one seed each; whole tasks only
    seed_retention: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the rows under their keys in scores.json."""
        tables = {
            "scores": self.scores,
            "retention": self.retention,
            "backward_transfer": self.backward_transfer,
        }
        families = {name: _family(name, rows) for name, rows in tables.items()}
        return {
            **tables,
            "by_seed": {"scores": self.seed_scores, "retention": self.seed_retention},
            "families": families,
        }


Key = tuple[str, str, str, str]  # kind, task, language, role


def make_scores(items: list[Item], method: Method) -> Scores:
    """Return the rows of scores.json: seeds pooled, and where a task has several seeds each seed by itself."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault((item.kind, item.task, item.language, item.role), []).append(item)
    made = Scores()
    for key, members in groups.items():
        rows = [score for part in _parts(members) for score in _score_part(key, *part, method)]
        _add_increases(rows)
        made.scores += rows
        made.retention += _retention(key, members, method)
        _add_seeds(made, key, members, method)
    made.backward_transfer = _backward_transfer(groups, method)
    for table in (made.scores, made.retention, made.backward_transfer):
        add_q(table)
    return made


def add_q(rows: list[dict[str, Any]]) -> None:
    """Fill in `q` over the family that the rows are, from their `p`; a row without p was not tested and gets none."""
    tested = [row for row in rows if row["p"] is not None]
    for row, q in zip(tested, stats.benjamini_hochberg([row["p"] for row in tested]), strict=True):
        row["q"] = q


def more_families(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the families of the tables that stand in scores.json beside the scores, for those that are there."""
    knowledge, generation = report.get("knowledge") or {}, report.get("generation") or {}
    tables = {
        "knowledge": knowledge.get("aspects"),
        "kept_facts": knowledge.get("kept_facts"),
        "translation": report.get("translation"),
        "generation": generation.get("rows"),
        "judge": (generation.get("judge") or {}).get("rows"),
    }
    return {name: _family(name, rows) for name, rows in tables.items() if rows}


def _family(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"comparisons": sum(row["p"] is not None for row in rows), "rows": FAMILIES[name]}


def _add_seeds(made: Scores, key: Key, items: list[Item], method: Method) -> None:
    """Add the rows of each seed where there are several; they are no tests of their own, so they get no q."""
    seeds = sorted({item.seed for item in items})
    for seed in seeds if len(seeds) > 1 else []:
        held = [item for item in items if item.seed == seed]
        whole = [part for part in _parts(held) if part[0] == ALL and part[1] in ("", ALL)]
        rows = [score for part in whole for score in _score_part(key, *part, method)]
        _add_increases(rows)
        made.seed_scores += [{**row, "seed": seed} for row in rows]
        made.seed_retention += [{**row, "seed": seed} for row in _retention(key, held, method)]


def _parts(items: list[Item]) -> Iterable[tuple[str, str, int, list[Item]]]:
    """Yield (split, phenomenon, shots, items): pooled first, then each split, then each phenomenon."""
    for shots in sorted({item.shots for item in items}):
        held = [item for item in items if item.shots == shots]
        pooled = ALL if any(item.phenomenon for item in held) else ""
        yield ALL, pooled, shots, held
        for split in sorted({item.split for item in held} - {""}):
            yield split, pooled, shots, [item for item in held if item.split == split]
        for phenomenon in sorted({item.phenomenon for item in held} - {""}):
            yield ALL, phenomenon, shots, [item for item in held if item.phenomenon == phenomenon]


def _score_part(
    key: Key, split: str, phenomenon: str, shots: int, items: list[Item], method: Method
) -> list[dict[str, Any]]:
    """Return one row for each metric that the items have."""
    kind, task, language, role = key
    head: dict[str, Any] = {"kind": kind, "task": task, "language": language, "role": role}
    head |= {"split": split, "phenomenon": phenomenon, "shots": shots}
    if kind == "bits_per_byte":
        return [{**head, **_row("bits_per_byte", _pair(items, _bits), method)}]
    rows = [{**head, **_row("accuracy", _pair(items, _correct), method), "one_answer": _one_answer(items)}]
    if not any(math.isnan(item.correct_norm) for item in items):
        rows.append({**head, **_row("accuracy_norm", _pair(items, lambda item: item.correct_norm), method)})
    return rows


def _one_answer(items: list[Item]) -> list[str]:
    """Return the models that give the same choice to every item, though the right one is not always the same.

    Its accuracy is then how often that choice is right, and no skill.
    """
    models: dict[str, set[int]] = {}
    for item in items:
        models.setdefault(item.model, set()).add(item.prediction)
    varied = len({item.gold for item in items}) > 1 and len({item.item for item in items}) >= MIN_ONE_ANSWER
    return [model for model, given in models.items() if varied and len(given) == 1]


def _bits(item: Item) -> float:
    return -item.loglikelihoods[0] / math.log(2)


def _correct(item: Item) -> float:
    return item.correct


def _pair(items: list[Item], value: Callable[[Item], float]) -> Paired:
    """Match base and adapted by item and average each over its seeds, items in the order of the base's rows."""
    found: dict[str, dict[str, list[float]]] = {"base": {}, "adapted": {}}
    first: dict[str, Item] = {}
    for item in items:
        found[item.model].setdefault(item.item, []).append(value(item))
        first.setdefault(item.item, item)
    if {name: len(values) for name, values in found["base"].items()} != {
        name: len(values) for name, values in found["adapted"].items()
    }:
        raise ValueError("base and adapted were not scored on the same items")
    per_byte = items[0].kind == "bits_per_byte"
    names = list(found["base"])
    return Paired(
        names,
        np.array([np.mean(values) for values in found["base"].values()]),
        np.array([np.mean(found["adapted"][name]) for name in names]),
        np.array([first[name].byte_counts[0] if per_byte else 1.0 for name in names], dtype=np.float64),
        np.array([first[name].chance for name in names]),
        [first[name].cluster for name in names],
    )


def _row(metric: str, paired: Paired, method: Method) -> dict[str, Any]:
    """Return metric, n, chance, values with intervals, and the test."""
    columns = np.stack([paired.base, paired.adapted, paired.adapted - paired.base], axis=1)
    values = columns.sum(axis=0) / paired.weights.sum()
    drawn = stats.bootstrap_ratios(columns, paired.weights, method.seed, method.resamples, paired.clusters)
    n, clusters = len(paired.base), len(set(paired.clusters))
    intervals = [stats.interval(values[i], drawn[:, i], method.confidence, clusters) for i in range(3)]
    p = stats.bootstrap_p(drawn[:, 2], clusters)
    lost = gained = None
    chance = None
    if metric != "bits_per_byte":
        if clusters == n:  # a plain proportion: Wilson's interval is right at 0 and 1 too
            intervals[:2] = [stats.wilson(float(side.sum()), n, method.confidence) for side in columns.T[:2]]
        lost = int((columns[:, 2] < -stats.ROUNDING).sum())
        gained = int((columns[:, 2] > stats.ROUNDING).sum())
        p = stats.mcnemar_clustered(columns[:, 2], paired.clusters)
        chance = float(paired.chance.mean())
    base, adapted, difference = (_interval(interval) for interval in intervals)
    return {
        "metric": metric,
        "n": n,
        "clusters": clusters,
        "chance": chance,
        "base": base,
        "adapted": adapted,
        "difference": difference,
        "p": p,
        "q": None,
        "lost": lost,
        "gained": gained,
        "percent_increase": None,
    }


def _interval(interval: stats.Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _add_increases(scores: list[dict[str, Any]]) -> None:
    """Fill in the percent increase over 0 shots where both are there."""
    zero = {(s["split"], s["phenomenon"], s["metric"]): s for s in scores if s["shots"] == 0}
    for score in scores:
        start = zero.get((score["split"], score["phenomenon"], score["metric"]))
        if score["shots"] > 0 and start is not None:
            score["percent_increase"] = {
                model: stats.percent_increase(start[model]["value"], score[model]["value"])
                for model in ("base", "adapted")
            }


def _retention(key: Key, items: list[Item], method: Method) -> list[dict[str, Any]]:
    """Return (A_k - A_0) - (B_k - B_0) of chance-corrected accuracy for each k above 0."""
    counts = sorted({item.shots for item in items})
    if key[0] == "bits_per_byte" or counts[0] != 0:
        return []
    at = {k: _pair([item for item in items if item.shots == k], _correct) for k in counts}
    rows = []
    for k in counts[1:]:
        if at[k].names != at[0].names:
            raise ValueError(f"task {key[1]}: the items at {k} shots are not those at 0 shots")
        found = stats.difference_in_differences(
            at[0].base,
            at[k].base,
            at[0].adapted,
            at[k].adapted,
            at[0].chance,
            method.seed,
            method.resamples,
            method.confidence,
            at[0].clusters,
        )
        kind, task, language, role = key
        head = {"kind": kind, "task": task, "language": language, "role": role, "k": k}
        size = {"n": len(at[0].base), "clusters": len(set(at[0].clusters))}
        rows.append({**head, **size, "difference_in_differences": _interval(found), "p": found.p, "q": None})
    return rows


def _backward_transfer(groups: dict[Key, list[Item]], method: Method) -> list[dict[str, Any]]:
    """Return the mean over forgetting tasks of adapted minus base at each shot count, plain and chance-corrected."""
    tasks = {
        key: items for key, items in groups.items() if key[3] == "forgetting" and key[0] != "bits_per_byte"
    }
    rows = []
    for k in sorted({item.shots for items in tasks.values() for item in items}):
        at = {key: [item for item in items if item.shots == k] for key, items in tasks.items()}
        paired = {key: _pair(items, _correct) for key, items in at.items() if items}
        for corrected in (False, True):
            changes = [
                stats.TaskChanges(_changes(pair, corrected), pair.clusters) for pair in paired.values()
            ]
            found = stats.backward_transfer(changes, method.seed, method.resamples, method.confidence)
            rows.append(
                {
                    "k": k,
                    "chance_corrected": corrected,
                    "tasks": [f"{task} ({language})" for _, task, language, _ in paired],
                    "n": sum(len(pair.base) for pair in paired.values()),
                    "transfer": _interval(found),
                    "p": found.p,
                    "q": None,
                }
            )
    return rows


def _changes(pair: Paired, corrected: bool) -> stats.Floats:
    chance = pair.chance if corrected else np.zeros(len(pair.chance))
    return stats.correct_for_chance(pair.adapted, chance) - stats.correct_for_chance(pair.base, chance)
