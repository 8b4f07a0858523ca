"""The probe's statistics put together: heads.parquet, heads.csv, changes.parquet and selected.json."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from anukul.config import ProbeSettings
from anukul.probe import choose, permute, resample
from anukul.probe.changes import SHOWN, head_changes, judge, summary
from anukul.probe.choose import MODELS, Permuted
from anukul.probe.heads import ArcTable, Group, Scores, groups_of
from anukul.probe.prepare import Work
from anukul.probe.scores import head_rows
from anukul.probe.tree import tree_scores
from anukul.records import HeadChange, HeadScore, write_rows
from anukul.rundir import write_atomic, write_json

FILES = ("heads.parquet", "heads.csv", "changes.parquet", "selected.json")


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that was observed: `models` by name in the order of the passes, `sink` `[layers][heads]` of each."""

    table: ArcTable
    groups: list[Group]
    rare: list[dict[str, Any]]
    models: Mapping[str, Scores]
    sink: Mapping[str, list[list[float]]]

    @property
    def compared(self) -> dict[str, Scores]:
        """Base and adapted."""
        return {name: self.models[name] for name in MODELS}

    @property
    def randoms(self) -> tuple[Scores, ...]:
        """The models with random weights."""
        return tuple(scores for name, scores in self.models.items() if name not in MODELS)


def write_results(
    settings: ProbeSettings, folder: Path, seen: Seen, work: Work, seed: int
) -> tuple[dict[str, Any], int]:
    """Write the files; return selected.json and the number of rows in heads.parquet."""
    tests = {name: permutation_tests(seen, name, seed, settings.alpha) for name in MODELS}
    undirected, _ = groups_of(seen.table, settings.min_arcs, settings.relations, pooled=True)
    rows: list[HeadScore] = []
    for name, scores in seen.models.items():
        for number, group in enumerate([*seen.groups, *undirected]):
            test = tests[name][number] if name in tests and number < len(seen.groups) else None
            level = test.level if test and test.found else 0.0
            rows += head_rows(seen.table, group, name, scores, seed, test.p if test else None, level)
    entries = entries_of(seen, tests, seed, settings.alpha)
    changes = [
        row
        for group in seen.groups
        for row in head_changes(seen.table, group, seen.models["base"], seen.models["adapted"], seed)
    ]
    judge(changes, settings.alpha)
    selected = {
        **_about(settings, seen, work, seed),
        "relations": entries,
        "undirected": [
            choose.select(seen.table, group, seen.compared, seed, seen.randoms) for group in undirected
        ],
        "too_rare": seen.rare,
        "resolvers": {name: choose.resolving_heads(entries, name) for name in MODELS},
        "changed": summary(changes, settings.alpha),
        "tree": tree_scores(seen.table, seen.compared, seed, seen.randoms),
        "sink": dict(seen.sink),
    }
    write_rows(folder / "changes.parquet", changes, HeadChange)
    count = write_rows(folder / "heads.parquet", rows, HeadScore)
    write_atomic(folder / "heads.csv", _csv(rows))
    write_json(folder / "selected.json", selected)
    return selected, count


def permutation_tests(seen: Seen, name: str, seed: int, alpha: float) -> list[Permuted]:
    """Return the max-statistic test of every group for one model, corrected over the groups."""
    from anukul.stats import benjamini_hochberg

    scores = seen.models[name]
    shape = scores.correct.shape[1:]
    values = []
    for group in seen.groups:
        table = permute.looked(scores.found[group.index], group.query, group.distance)
        rng = resample.generator(seed, group.name, "permute", name)
        values.append(permute.max_statistic(table, seen.table.sentence[group.index], rng).reshape(shape))
    smallest = [float(p.min()) for p in values]
    found, level = permute.chosen_families(smallest, alpha)
    return [
        Permuted(p, q, chosen, level)
        for p, q, chosen in zip(values, benjamini_hochberg(smallest), found, strict=True)
    ]


def entries_of(
    seen: Seen, tests: Mapping[str, Sequence[Permuted]], seed: int, alpha: float
) -> list[dict[str, Any]]:
    """Return `relations` of selected.json."""
    entries = [choose.select(seen.table, group, seen.compared, seed, seen.randoms) for group in seen.groups]
    choose.add_q_values(entries, MODELS)
    for name in MODELS:
        for entry, group, test in zip(entries, seen.groups, tests[name], strict=True):
            accuracy = seen.models[name].correct[group.index].mean(0)
            choose.add_permutations(entry, name, test, accuracy, alpha)
    return entries


def _about(settings: ProbeSettings, seen: Seen, work: Work, seed: int) -> dict[str, Any]:
    """What was scored and how."""
    in_report = len({int(s) for s in seen.table.sentence[seen.table.half == 1]})
    return {
        "treebank": settings.treebank,
        "language": settings.language,
        "seed": seed,
        "min_arcs": settings.min_arcs,
        "resamples": resample.RESAMPLES,
        "confidence": resample.CONFIDENCE,
        "alpha": settings.alpha,
        "permutations": permute.PERMUTATIONS,
        "random_models": len(seen.randoms),
        "listed": SHOWN,
        "sentences": {
            "scored": len(work.items),
            "selection": len(work.items) - in_report,
            "report": in_report,
            "too_long": work.too_long,
        },
        "arcs": {"scored": len(seen.table.arcs), "unaligned": work.unaligned},
    }


def _csv(rows: Sequence[HeadScore]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([field.name for field in fields(HeadScore)])
    writer.writerows(astuple(row) for row in rows)
    return buffer.getvalue()
