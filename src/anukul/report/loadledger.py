"""Read the forgetting ledger of each stage: train/<stage>/ledger.jsonl and ledger_cost.jsonl."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.report.data import Measure
from anukul.report.reading import finite, measure


@dataclass(frozen=True, slots=True)
class LedgerChange:
    """One probe in one reading; `where` names file and key."""

    where: str
    kind: str  # bits_per_byte | accuracy
    name: str  # of the language, or of the task
    language: str
    n: int | None
    base: float | None
    adapted: float | None
    difference: Measure


@dataclass(frozen=True, slots=True)
class LedgerReading:
    """One line of ledger.jsonl."""

    step: int
    changes: tuple[LedgerChange, ...]
    best: bool
    stop: str


@dataclass(frozen=True, slots=True)
class StageLedger:
    """The readings of one stage, never none of them, and the seconds that they took beside training."""

    stage: str
    readings: tuple[LedgerReading, ...]
    seconds: float
    trained_seconds: float
    bad_lines: int

    @property
    def steps(self) -> int:
        """Steps of the stage up to its last reading, which stands at its end."""
        return self.readings[-1].step


def load_ledgers(root: Path, stages: list[str]) -> list[StageLedger]:
    """Return the ledgers of the stages that have readings, in their order."""
    found = []
    for stage in stages:
        folder = root / "train" / stage
        bad: list[str] = []
        readings = [
            reading
            for number, line in enumerate(_lines(folder / "ledger.jsonl", bad))
            if (reading := _reading(line, f"train/{stage}/ledger.jsonl: line {number + 1}", bad))
        ]
        costs = list(_lines(folder / "ledger_cost.jsonl", bad))
        if readings:
            seconds, trained = (
                sum(finite(cost.get(key)) or 0.0 for cost in costs) for key in ("seconds", "trained_seconds")
            )
            found.append(StageLedger(stage, tuple(readings), seconds, trained, len(bad)))
    return found


def _lines(path: Path, bad: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSONL file; lines that are none, such as one torn by a kill, go to `bad`."""
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            line = None
        if isinstance(line, dict):
            yield line
        else:
            bad.append(text)


def _reading(line: dict[str, Any], where: str, bad: list[str]) -> LedgerReading | None:
    try:
        changes = tuple(
            _change(change, f"{where}, changes[{place}]") for place, change in enumerate(line["changes"])
        )
        return LedgerReading(int(line["step"]), changes, bool(line["best"]), str(line["stop"] or ""))
    except (KeyError, TypeError, ValueError, AttributeError):
        bad.append(where)
        return None


def _change(data: dict[str, Any], where: str) -> LedgerChange:
    return LedgerChange(
        where=where,
        kind=str(data["kind"]),
        name=str(data["name"]),
        language=str(data["language"]),
        n=int(data["n"]),
        base=finite(data["base"]),
        adapted=finite(data["adapted"]),
        difference=measure({"value": data["difference"], "low": data["low"], "high": data["high"]}),
    )
