"""Read a run folder into `RunData`: whatever is there, nothing assumed to be there, nothing guessed."""

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from anukul import languages
from anukul.config import RunConfig, resolve
from anukul.errors import UserError
from anukul.records import Dropped, read_rows
from anukul.report.data import (
    STEPS,
    DropRule,
    Holding,
    Point,
    RunData,
    StageLog,
    StepState,
    Variant,
)
from anukul.report.loadgeneration import load_generation
from anukul.report.loadprobe import load_cases, load_probe
from anukul.report.loadscores import load_evaluation, load_flips
from anukul.report.reading import finite, read_object

SAMPLES = 3  # dropped rows shown per rule
HELD = {
    "corpus/documents.parquet": "documents",
    "corpus/replay.parquet": "replay documents",
    "synth/pairs.parquet": "pairs",
    "synth/instructions.parquet": "instructions",
}


def load_run(config: RunConfig, root: Path) -> RunData:
    """Return what the run folder holds; raise UserError when no step is done or a file cannot be read."""
    steps = {name: _step_state(root, name) for name in STEPS}
    stages = _stages(config, root)
    if not any(state.done for state in steps.values()) and not any(stage.done for stage in stages):
        raise UserError(
            f"{root}: no step is done, so there is nothing to report; run `anukul run run.yaml` first"
        )
    corpus = read_object(root / "corpus" / "stats.json") if steps["corpus"].done else None
    synth = read_object(root / "synth" / "stats.json") if steps["synth"].done else None
    finished = [name for name in ("corpus", "synth") if steps[name].done]
    cases, old_cases = load_cases(root / "probe", stages[-1].outputs.get("adapter", "") if stages else "")
    return RunData(
        root=root,
        config=config,
        run=read_object(root / "run.json") or {},
        steps=steps,
        corpus=corpus,
        synth=synth,
        dropped=tuple(rule for name in finished for rule in _dropped(root, name, config.seed)),
        holdings=tuple(held for name in finished for held in _holdings(root, name)),
        stages=stages,
        evaluation=load_evaluation(root) if steps["evaluate"].done else None,
        probe=load_probe(root / "probe") if steps["probe"].done else None,
        variants=tuple(_variant(path) for path in config.report.compare),
        names=_names(),
        flips=load_flips(root) if steps["evaluate"].done else (),
        generation=load_generation(root) if steps["evaluate"].done else None,
        cases=cases,
        old_cases=old_cases,
    )


def _step_state(root: Path, name: str) -> StepState:
    record = read_object(root / name / "done.json")
    if record is None:
        return StepState(name, False)
    return StepState(
        name=name,
        done=True,
        seconds=finite(record.get("seconds")),
        finished=str(record.get("finished", "")),
        rows=dict(record.get("rows") or {}),
        outputs={key: str(value) for key, value in (record.get("outputs") or {}).items()},
        inputs={key: str(value) for key, value in (record.get("inputs") or {}).items()},
    )


def _names() -> dict[str, str]:
    """Return the names of the languages that the project has a file for."""
    return {code: languages.load(code).name for code in languages.available()}


def _dropped(root: Path, step: str, seed: int) -> list[DropRule]:
    path = root / step / "dropped.parquet"
    if not path.exists():
        return []
    groups: dict[str, list[Dropped]] = defaultdict(list)
    for row in read_rows(path, Dropped):
        groups[row.rule].append(row)

    def shuffled(row: Dropped) -> str:
        return hashlib.sha256(f"{seed}\t{row.source}\t{row.id}".encode()).hexdigest()

    rules = [
        DropRule(step, rule, len(rows), tuple(sorted(rows, key=shuffled)[:SAMPLES]))
        for rule, rows in groups.items()
    ]
    return sorted(rules, key=lambda rule: (-rule.count, rule.rule))


def _holdings(root: Path, step: str) -> list[Holding]:
    import pyarrow.parquet as pq

    found: list[Holding] = []
    for name in HELD:
        path = root / name
        if not name.startswith(f"{step}/") or not path.exists():
            continue
        origins = {"source_origin", "origin"} & set(pq.read_schema(path).names)
        columns = ["source", "license", *origins]
        held = pq.read_table(path, columns=columns).to_pydict()
        counts = Counter(zip(*(held[column] for column in columns), strict=True))
        for key, rows in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            found.append(Holding(name, key[0], key[1], key[2] if origins else "", rows))
    return found


def _stages(config: RunConfig, root: Path) -> tuple[StageLog, ...]:
    if config.train is None:
        return ()
    logs, before = [], 0.0
    for stage in config.train.stages:
        folder = root / "train" / stage.name
        record = read_object(folder / "done.json")
        rows = dict((record or {}).get("rows") or {})
        points, bad = _points(folder / "metrics.jsonl", before, finite(rows.get("tokens")))
        before = points[-1].tokens if points else before
        asked = config.train.of(stage).replay_share
        seconds = finite((record or {}).get("seconds"))
        outputs = {key: str(value) for key, value in ((record or {}).get("outputs") or {}).items()}
        log = StageLog(
            stage.name, stage.format, asked, points, rows, seconds, record is not None, bad, outputs
        )
        logs.append(log)
    return tuple(logs)


def _points(path: Path, before: float, total: float | None) -> tuple[tuple[Point, ...], int]:
    """Return a stage's log and how many of its lines cannot be read (a killed run may leave half a line).

    Only every few steps are logged, each with the tokens of that step alone; the place on the axis of tokens is
    therefore the step's share of the stage's `total`, or of steps times the mean where the stage is not done.
    """
    lines: dict[int, dict[str, Any]] = {}
    bad = 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
            # a resumed run may log a step again: the last line of a step counts
            lines[int(line["step"])] = {**line, "tokens": float(line["tokens"])}
        except (json.JSONDecodeError, KeyError, TypeError, ValueError):
            bad += 1
    if not lines:
        return (), bad
    mean = sum(line["tokens"] for line in lines.values()) / len(lines)
    per_step = total / max(lines) if total else mean
    return tuple(_point(step, before + per_step * step, lines[step]) for step in sorted(lines)), bad


def _point(step: int, tokens: float, line: dict[str, Any]) -> Point:
    learnt, replayed = finite(line.get("loss_tokens")), finite(line.get("replay_loss_tokens"))
    share = replayed / learnt if learnt and replayed is not None else finite(line.get("replay_loss_share"))
    return Point(
        step=step,
        tokens=tokens,
        loss=finite(line.get("loss")),
        learning_rate=finite(line.get("learning_rate")),
        gradient_norm=finite(line.get("gradient_norm")),
        tokens_per_second=finite(line.get("tokens_per_second")),
        replay_loss_share=share,
    )


def _variant(path: str) -> Variant:
    """Read another run folder's scores; a folder that cannot be used is reported, not fatal."""
    root = resolve(path)
    settings: dict[str, Any] = {}
    try:
        settings = read_object(root / "config.resolved.json") or {}
        evaluation = load_evaluation(root)
        problem = (
            "" if evaluation else f"{root}/evaluate/scores.json is not there; run its evaluate step first"
        )
    except UserError as error:
        evaluation, problem = None, str(error)
    train = settings.get("train") or {}
    shares = {
        stage["replay_share"] if stage.get("replay_share") is not None else train.get("replay_share")
        for stage in train.get("stages") or []
    }
    numbers = sorted(share for share in shares if isinstance(share, (int, float)))
    replay = " / ".join(f"{100 * share:g} %" for share in numbers)
    return Variant(str(settings.get("name") or root.name), str(path), replay, evaluation, problem)
