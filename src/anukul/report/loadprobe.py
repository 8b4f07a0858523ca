"""Read probe/: every head on every relation, the heads chosen, gained and lost, the case studies."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from anukul.errors import UserError
from anukul.records import HeadChange, HeadScore, read_rows
from anukul.report.data import Measure
from anukul.report.loadchecks import load_knockout, load_pairs, load_pieces
from anukul.report.probedata import (
    MODELS,
    Case,
    CaseModel,
    Changed,
    Choice,
    Crossed,
    Finding,
    Knower,
    Matrix,
    MeanPieces,
    Permutation,
    Probe,
    Tested,
    Tree,
    head_name,
)
from anukul.report.reading import finite, measure, read_object

CASES = "cases"  # folder of the case studies that were asked for, in probe/
Made = TypeVar("Made")


def load_probe(folder: Path) -> Probe | None:
    """Return what probe/ holds; None without heads.parquet and selected.json. Raises UserError for a broken file."""
    selected = read_object(folder / "selected.json")
    if selected is None or not (folder / "heads.parquet").exists():
        return None
    scores: dict[tuple[str, str], list[HeadScore]] = {}
    for row in read_rows(folder / "heads.parquet", HeadScore):
        if row.half == "report" and row.model in MODELS:
            scores.setdefault((row.relation, row.direction), []).append(row)
    changes: dict[tuple[str, str], list[HeadChange]] = {}
    if (folder / "changes.parquet").exists():
        for change in read_rows(folder / "changes.parquet", HeadChange):
            changes.setdefault((change.relation, change.direction), []).append(change)
    return _whole(folder, partial(_probe, folder, selected, scores, changes))


def _whole(folder: Path, make: Callable[[], Made]) -> Made:
    try:
        return make()
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{folder}: a key is missing ({error}); redo it with --redo probe") from None


def _probe(
    folder: Path,
    selected: dict[str, Any],
    scores: dict[tuple[str, str], list[HeadScore]],
    changes: dict[tuple[str, str], list[HeadChange]],
) -> Probe:
    every = [row for rows in scores.values() for row in rows]
    sink = selected.get("sink") or {}
    found = {
        name: tuple(_finding(name, i, entry, sink) for i, entry in enumerate(selected.get(name) or []))
        for name in ("relations", "undirected")
    }
    case = read_object(folder / "case.json")
    alpha = finite(selected.get("alpha"))
    return Probe(
        layers=max((row.layer for row in every), default=-1) + 1,
        heads=max((row.head for row in every), default=-1) + 1,
        scores={key: tuple(rows) for key, rows in scores.items()},
        findings=tuple(sorted(found["relations"], key=lambda finding: (-finding.n, finding.key))),
        case=None if case is None else case_of(case, "probe/case.json"),
        rare=tuple(
            f"{item.get('relation')} ({item.get('direction')} attends): {item.get('n')} arcs, {item.get('reason')}"
            for item in selected.get("too_rare") or []
        ),
        treebank=Path(str(selected.get("treebank", ""))).name,
        language=str(selected.get("language", "")),
        sentences=dict(selected.get("sentences") or {}),
        sinks=_sinks(sink),
        changes={key: tuple(rows) for key, rows in changes.items()},
        undirected=tuple(sorted(found["undirected"], key=lambda finding: (-finding.n, finding.key))),
        knowers=_knowers(selected.get("resolvers") or {}),
        changed=_changed(selected, changes),
        tree=_tree(selected.get("tree")),
        alpha=0.05 if alpha is None else alpha,
        permutations=int(selected.get("permutations") or 0),
        random_models=int(selected.get("random_models") or 0),
        pairs=load_pairs(folder),
        knockout=load_knockout(folder),
        pieces=load_pieces(folder),
    )


def load_cases(folder: Path, adapter: str) -> tuple[tuple[Case, ...], int]:
    """Return the case studies asked for, by name, that are of this adapter (its digest), and how many are of others."""
    found, others = [], 0
    for path in sorted((folder / CASES).glob("*/case.json")):
        data = read_object(path) or {}
        if data.get("adapter") == adapter:
            where = f"probe/{path.relative_to(folder)}"
            found.append(_whole(path.parent, partial(case_of, data, where)))
        else:
            others += 1
    return tuple(found), others


def _finding(name: str, index: int, entry: dict[str, Any], sink: dict[str, Any]) -> Finding:
    where = f"probe/selected.json: {name}[{index}]"
    baseline = entry.get("baseline") or {}
    random = entry.get("random") or {}
    return Finding(
        where=where,
        relation=str(entry["relation"]),
        direction=str(entry["direction"]),
        n=int(entry["n_report"]),
        sentences=entry.get("sentences_report"),
        base=_choice(f"{where}.base", entry["base"], sink.get("base")),
        adapted=_choice(f"{where}.adapted", entry["adapted"], sink.get("adapted")),
        baseline=finite(baseline.get("accuracy")),
        offset=baseline.get("offset"),
        uniform=finite(entry.get("uniform")),
        random=measure(random),
        random_models=int(random.get("models") or 0),
    )


def _choice(where: str, data: dict[str, Any], sink: Any) -> Choice:
    layer, head = int(data["layer"]), int(data["head"])
    sinks = _matrix(sink)
    crossed, permuted = data.get("crossfit"), data.get("permutation")
    knowing = data.get("resolvers") or []
    return Choice(
        where=where,
        layer=layer,
        head=head,
        accuracy=_measure(data, "accuracy", "low", "high"),
        mass=finite(data.get("mass")),
        over_offset=_measure(data, "difference", "difference_low", "difference_high"),
        q=finite(data.get("q")),
        change=_measure(data.get("change") or {}, "accuracy", "low", "high"),
        sink=sinks[layer][head] if layer < len(sinks) and head < len(sinks[layer]) else None,
        crossed=_crossed(f"{where}.crossfit", crossed) if crossed else None,
        permutation=Permutation(
            finite(permuted.get("p")), finite(permuted.get("q")), int(permuted.get("heads") or 0)
        )
        if permuted
        else None,
        knowing=tuple(head_name(int(one["layer"]), int(one["head"])) for one in knowing),
    )


def _crossed(where: str, data: dict[str, Any]) -> Crossed:
    beyond = data.get("over_random")
    lead = _measure(data, "difference", "difference_low", "difference_high")
    heads = [head_name(int(layer), int(head)) for layer, head in data["heads"]]
    return Crossed(
        where=where,
        n=int(data["n"]),
        sentences=int(data["sentences"]),
        heads=tuple(dict.fromkeys(heads)),
        accuracy=_measure(data, "accuracy", "low", "high"),
        baseline=finite(data.get("baseline")),
        lead=Tested(lead, finite(data.get("p")), finite(data.get("q"))),
        over_random=_tested(beyond) if beyond else None,
    )


def _knowers(data: dict[str, Any]) -> dict[str, tuple[Knower, ...]]:
    return {
        model: tuple(
            knower_of(f"probe/selected.json: resolvers.{model}[{i}]", item)
            for i, item in enumerate(data[model])
        )
        for model in MODELS
        if model in data
    }


def knower_of(where: str, item: dict[str, Any]) -> Knower:
    """Return a head that knows a relation from its entry in selected.json or knockout.json."""
    name = head_name(int(item["layer"]), int(item["head"]))
    relations = tuple(str(relation) for relation in item.get("relations") or [])
    return Knower(where, name, bool(item.get("named")), relations, finite(item.get("lead")))


def _changed(selected: dict[str, Any], changes: dict[tuple[str, str], list[HeadChange]]) -> Changed | None:
    data = selected.get("changed")
    if not data:
        return None
    rows = [row for held in changes.values() for row in held]
    largest: list[HeadChange] = []
    for verdict in ("gained", "lost"):
        held = [row for row in rows if row.verdict == verdict]
        held.sort(key=lambda row: (-abs(row.change), row.relation, row.direction, row.layer, row.head))
        largest += held
    return Changed(
        tests=int(data["tests"]),
        alpha=finite(data.get("alpha")),
        gained=int(data["gained_count"]),
        lost=int(data["lost_count"]),
        largest=tuple(largest),
    )


def _tree(data: dict[str, Any] | None) -> Tree | None:
    if not data:
        return None
    known = ("offset", "random", "base", "adapted")
    values: dict[str, Measure] = {name: measure(data[name]) for name in known if name in data}
    names = ("adapted_minus_base", "base_minus_offset", "adapted_minus_offset")
    differences = {name: _tested(data[name]) for name in names}
    return Tree(int(data["arcs"]), int(data["sentences"]), values, differences)


def _tested(data: dict[str, Any]) -> Tested:
    return Tested(measure(data), finite(data.get("p")), finite(data.get("q")))


def _measure(data: dict[str, Any], value: str, low: str, high: str) -> Measure:
    return Measure(finite(data.get(value)), finite(data.get(low)), finite(data.get(high)))


def case_of(data: dict[str, Any], where: str) -> Case:
    """Return a case study from its file's content; raise KeyError, TypeError or AttributeError for a broken one."""
    words = tuple(str(word) for word in data["words"])
    head, mean = data["head"], data.get("mean")
    return Case(
        sentence=str(data.get("sentence") or " ".join(words)),
        words=words,
        query=int(data["query"]),
        key=int(data["key"]),
        swapped=bool(data.get("swapped")),
        layer=int(head["layer"]),
        head=int(head["head"]),
        change=finite(head.get("change")),
        base=_case_model(data["base"]),
        adapted=_case_model(data["adapted"]),
        why=str(head.get("why") or "changed"),
        mean=_mean_pieces(mean) if mean else None,
        where=where,
        also=tuple(str(line) for line in data.get("also") or []),
    )


def _case_model(data: dict[str, Any]) -> CaseModel:
    return CaseModel(
        attention=_matrix(data.get("attention")),
        share=_matrix(data.get("share")),
        words=_matrix(data.get("map")),
        sink=tuple(finite(value) or 0.0 for value in data.get("sink") or []),
        pieces=int(data.get("pieces") or 0),
        mean=_matrix(data.get("mean")),
    )


def _mean_pieces(data: dict[str, Any]) -> MeanPieces:
    return MeanPieces(
        int(data["layer"]), int(data["head"]), finite(data.get("change")), finite(data.get("shown")),
        bool(data["holds"]),
    )  # fmt: skip


def _matrix(data: Any) -> Matrix:
    if not isinstance(data, list):
        return ()
    return tuple(tuple(finite(cell) or 0.0 for cell in row) for row in data if isinstance(row, list))


def _sinks(data: dict[str, Any]) -> dict[str, float]:
    """The mean sink of every model; models with random weights are one, `random`."""
    held: dict[str, list[float]] = {}
    for model, values in data.items():
        name = model if model in MODELS else "random"
        held.setdefault(name, []).extend(cell for row in _matrix(values) for cell in row)
    return {name: sum(cells) / len(cells) for name, cells in held.items() if cells}
