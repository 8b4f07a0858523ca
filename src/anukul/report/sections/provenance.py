"""Provenance: versions, times, digests, the config as resolved, and how to make it all again."""

import json
import shlex
from typing import Any

from anukul.report.blocks import Block, Code, Fold, Prose, Section, Table, numeric, text
from anukul.report.data import RunData
from anukul.report.format import count, duration

LEAD = "Where these numbers come from, and how to make them again."


def section(data: RunData) -> Section:
    """Return the section."""
    blocks: list[Block] = [run_table(data), steps_table(data)]
    files = digest_table(data)
    if files.rows:
        blocks.append(Fold(f"SHA-256 of {len(files.rows)} outputs", (files,)))
    for name in ("config.requested.yaml", "config.resolved.json"):
        path = data.root / name
        if path.exists():
            content = path.read_text(encoding="utf-8", errors="replace")
            title = (
                "The config as requested"
                if name.endswith("yaml")
                else "The config as resolved, with every default"
            )
            blocks.append(Fold(title, (Code(title, content, name),)))
    blocks.append(Code("To make it again", reproduce(data), "run.json: command"))
    if not data.run:
        blocks.append(
            Prose("run.json is not there: command, commit and package versions are not known.", "warning")
        )
    return Section("provenance", "Provenance", LEAD, tuple(blocks))


def reproduce(data: RunData) -> str:
    """Return the commands that make the run again."""
    command = data.run.get("command")
    typed = (
        shlex.join(map(str, command)) if isinstance(command, list) else str(command or "anukul run run.yaml")
    )
    lines = []
    commit = str(data.run.get("git_commit") or "")
    if commit:
        lines.append(f"git checkout {commit}")
    lines += [typed, f"anukul verify runs/{data.config.name}"]
    return "\n".join(lines)


def run_table(data: RunData) -> Table:
    """Return run.json as rows, nested values flattened."""
    rows = [(text(key), text(value, f"run.json: {key}")) for key, value in flat(data.run)]
    rows.append((text("seed"), text(data.config.seed, "config.resolved.json: seed")))
    if data.evaluation:
        signature = text(data.evaluation.signature, "evaluate/scores.json: signature")
        rows.append((text("evaluation signature"), signature))
    return Table("The run", ("What", "Value"), tuple(rows), "run.json")


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return the leaves of nested plain data as (dotted key, text)."""
    if isinstance(value, dict):
        return [
            leaf
            for key, part in value.items()
            for leaf in flat(part, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list):
        return [(prefix, " ".join(str(part) for part in value))]
    if value is None:
        return [(prefix, "")]
    return [(prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]


def steps_table(data: RunData) -> Table:
    """Return what each step did and when."""
    rows = []
    for name, state in data.steps.items():
        if name == "train" and data.stages:
            continue
        counted = " · ".join(f"{count(n)} {key.replace('_', ' ')}" for key, n in state.rows.items())
        rows.append(_step(name, state.done, state.seconds, state.finished, counted))
    for stage in data.stages:
        counted = " · ".join(f"{count(n)} {key.replace('_', ' ')}" for key, n in stage.rows.items())
        rows.append(_step(f"train/{stage.name}", stage.done, stage.seconds, "", counted))
    return Table("Steps", ("Step", "State", "Took", "Made"), tuple(rows), "<step>/done.json")


def _step(name: str, done: bool, seconds: float | None, finished: str, counted: str) -> tuple[Any, ...]:
    state = text("done" if done else "not run", f"{name}/done.json", finished)
    return text(name), state, numeric(duration(seconds), f"{name}/done.json: seconds"), text(counted)


def digest_table(data: RunData) -> Table:
    """Return the digest of every output of every step."""
    rows = [
        (text(f"{name}/{file}"), text(value, f"{name}/done.json: outputs"))
        for name, state in data.steps.items()
        for file, value in state.outputs.items()
    ]
    rows += [
        (text(f"train/{stage.name}/{file}"), text(value, f"train/{stage.name}/done.json: outputs"))
        for stage in data.stages
        for file, value in stage.outputs.items()
    ]
    return Table("Digests", ("File", "SHA-256"), tuple(rows), "<step>/done.json: outputs")
