"""Read probe/: every head on every relation, the heads chosen on one half of the sentences, the case study."""

from pathlib import Path
from typing import Any

from anukul.errors import UserError
from anukul.records import HeadScore, read_rows
from anukul.report.data import Case, CaseModel, Choice, Finding, Measure, Probe
from anukul.report.reading import finite, read_object

Matrix = tuple[tuple[float, ...], ...]


def load_probe(folder: Path) -> Probe | None:
    """Return what probe/ holds; None without heads.parquet and selected.json. Raises UserError for a broken file."""
    selected = read_object(folder / "selected.json")
    if selected is None or not (folder / "heads.parquet").exists():
        return None
    scores: dict[tuple[str, str], list[HeadScore]] = {}
    for row in read_rows(folder / "heads.parquet", HeadScore):
        if row.half == "report":
            scores.setdefault((row.relation, row.direction), []).append(row)
    every = [row for rows in scores.values() for row in rows]
    sink = selected.get("sink") or {}
    try:
        findings = [_finding(i, entry, sink) for i, entry in enumerate(selected.get("relations") or [])]
        case = read_object(folder / "case.json")
        study = None if case is None else _case(case)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}: a key is missing ({error}); redo it with --redo probe") from None
    return Probe(
        layers=max((row.layer for row in every), default=-1) + 1,
        heads=max((row.head for row in every), default=-1) + 1,
        scores={key: tuple(rows) for key, rows in scores.items()},
        findings=tuple(sorted(findings, key=lambda finding: (-finding.n, finding.key))),
        case=study,
        rare=tuple(
            f"{item.get('relation')} ({item.get('direction')} attends): {item.get('n')} arcs, {item.get('reason')}"
            for item in selected.get("too_rare") or []
        ),
        treebank=str(selected.get("treebank", "")),
        language=str(selected.get("language", "")),
        sentences=dict(selected.get("sentences") or {}),
        sink_base=_mean(_matrix(sink.get("base"))),
        sink_adapted=_mean(_matrix(sink.get("adapted"))),
    )


def _finding(index: int, entry: dict[str, Any], sink: dict[str, Any]) -> Finding:
    where = f"probe/selected.json: relations[{index}]"
    baseline = entry.get("baseline") or {}
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
    )


def _choice(where: str, data: dict[str, Any], sink: Any) -> Choice:
    layer, head = int(data["layer"]), int(data["head"])
    change = data.get("change") or {}
    sinks = _matrix(sink)
    return Choice(
        where=where,
        layer=layer,
        head=head,
        accuracy=_measure(data, "accuracy", "low", "high"),
        mass=finite(data.get("mass")),
        over_offset=_measure(data, "difference", "difference_low", "difference_high"),
        q=finite(data.get("q")),
        change=_measure(change, "accuracy", "low", "high"),
        sink=sinks[layer][head] if layer < len(sinks) and head < len(sinks[layer]) else None,
    )


def _measure(data: dict[str, Any], value: str, low: str, high: str) -> Measure:
    return Measure(finite(data.get(value)), finite(data.get(low)), finite(data.get(high)))


def _case(data: dict[str, Any]) -> Case:
    words = tuple(str(word) for word in data["words"])
    head = data["head"]
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
    )


def _case_model(data: dict[str, Any]) -> CaseModel:
    return CaseModel(
        attention=_matrix(data.get("attention")),
        share=_matrix(data.get("share")),
        words=_matrix(data.get("map")),
        sink=tuple(finite(value) or 0.0 for value in data.get("sink") or []),
    )


def _matrix(data: Any) -> Matrix:
    if not isinstance(data, list):
        return ()
    return tuple(tuple(finite(cell) or 0.0 for cell in row) for row in data if isinstance(row, list))


def _mean(matrix: Matrix) -> float | None:
    cells = [cell for row in matrix for cell in row]
    return sum(cells) / len(cells) if cells else None
