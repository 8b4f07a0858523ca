"""The forgetting ledger: at a fixed cadence, frozen probes with the adapter on against the base, scored once.

A reading is one line of ledger.jsonl, adapted minus base with a paired interval. It is scored between two steps and
leaves no trace in training: a run with a ledger that neither stops nor keeps the best ends with the same bits as one
without. The loop calls `resume` once, then `check` after each finished step for which `due` says so, before it writes
that step's checkpoint. Times stand in a file of their own, so that ledger.jsonl does not depend on the clock.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anukul.config import LedgerSettings, RunConfig
from anukul.digests import digest, hash_model
from anukul.model.loaded import Loaded
from anukul.progress import say
from anukul.rundir import read_json, write_atomic, write_json
from anukul.scoring.scorer import Scorer
from anukul.train.distributed import joined
from anukul.train.metrics import lines_until
from anukul.train.plan import StagePlan
from anukul.train.probes import Floats, ProbeSet, load_probes, overlaps
from anukul.train.readings import (
    Change,
    Reading,
    cadence,
    compare,
    ends,
    judge,
    predicted_share,
    signed,
    unit,
)

READINGS, COST, BASE = OUTPUTS = ["ledger.jsonl", "ledger_cost.jsonl", "ledger_base.json"]


class Ledger:
    """The readings of one stage, and what follows from them."""

    def __init__(
        self, settings: LedgerSettings, probes: ProbeSet, base: "Base", folder: Path, every: int, seed: int
    ) -> None:
        self.settings = settings
        self.probes = probes
        self.base = base
        self.folder = folder
        self.every = every
        self.seed = seed
        self.readings: list[Reading] = []
        self._scorer: Scorer | None = None
        self._costs: list[dict[str, float]] = []
        self._since = time.monotonic()

    @property
    def stopped(self) -> str | None:
        """Why the stage has been stopped; a resumed run whose last reading stopped it takes no further step."""
        return self.readings[-1].stop if self.readings else None

    @property
    def best_step(self) -> int | None:
        """The step whose weights the stage ends with; None where it ends with its last."""
        if self.settings.keep_best is None:
            return None
        return next((reading.step for reading in reversed(self.readings) if reading.best), None)

    @property
    def last_word(self) -> str:
        """The last reading in a few words, for the progress line."""
        if not self.readings:
            return ""
        return "ledger " + ", ".join(f"{c.name} {signed(c)}" for c in self.readings[-1].changes)

    @property
    def scalars(self) -> dict[str, float]:
        """Adapted minus base of the last reading by probe, for trackers."""
        last = self.readings[-1].changes if self.readings else ()
        return {f"ledger/{c.kind}/{c.name}": c.difference for c in last}

    def resume(self, first: int) -> None:
        """Take up the readings up to step `first`, the checkpoint that training goes on from; forget later ones."""
        self.readings = [_reading(line) for line in lines_until(self.folder / READINGS, first)]
        self._costs = lines_until(self.folder / COST, first)
        if self.base.seconds is not None:  # scored by this very process
            scored = {"step": 0, "seconds": self.base.seconds, "trained_seconds": 0.0}
            self._costs = [scored, *(cost for cost in self._costs if cost["step"] > 0)]
        if joined().is_main:
            for name, lines in ((READINGS, [_line(r) for r in self.readings]), (COST, self._costs)):
                write_atomic(self.folder / name, "".join(json.dumps(line) + "\n" for line in lines))
        self._since = time.monotonic()

    def due(self, step: int, last: bool) -> bool:
        """Whether there is a reading after `step` finished steps; there is one after the last."""
        return last or step % self.every == 0

    def check(self, loaded: Loaded, step: int) -> Reading:
        """Take a reading after `step` finished steps and log it."""
        started = time.monotonic()
        trained = started - self._since
        if self._scorer is None:
            self._scorer = Scorer(loaded, self.base.token_budget)
            # whether attention follows a trie does not change in training
            self._scorer.follows = self.base.follows
        adapted = self.probes.score(self._scorer, "adapted")
        pairs = zip(self.probes.probes, self.base.values, adapted, strict=True)
        changes = tuple(
            compare(probe, before, after, self.seed, self.settings.confidence)
            for probe, before, after in pairs
        )
        reading: Reading = joined().agree(judge(step, changes, self.readings, self.settings))
        self.readings.append(reading)
        self._since = time.monotonic()
        cost = {
            "step": step,
            "seconds": round(self._since - started, 3),
            "trained_seconds": round(trained, 3),
        }
        self._costs.append(cost)
        if joined().is_main:
            _append(self.folder / READINGS, _line(reading))
            _append(self.folder / COST, cost)
            self._say(reading)
        return reading

    def cost(self) -> tuple[float, float]:
        """Seconds spent on the ledger, the base's scores included, and on training beside it."""
        return sum(c["seconds"] for c in self._costs), sum(c["trained_seconds"] for c in self._costs)

    def _say(self, reading: Reading) -> None:
        shown = "; ".join(f"{c.name} {signed(c)} {ends(c)}{unit(c)}" for c in reading.changes)
        spent, trained = self.cost()
        share = (
            f"{spent:.1f} s of ledger beside {trained:.1f} s of training, {spent / max(trained, 1e-9):.1%}"
        )
        say(f"  ledger, step {reading.step:,}: adapted − base: {shown}; {share}")
        if reading.stop:
            say(f"  ledger: the stage stops: {reading.stop}")


@dataclass(frozen=True, slots=True)
class Base:
    """What the base scores on the probes, once."""

    values: list[Floats]  # of each probe, [items]
    follows: bool  # whether the model's attention follows a trie
    token_budget: int
    seconds: float | None  # None where it had been scored before


def make_ledger(config: RunConfig, root: Path, index: int, loaded: Loaded, plan: StagePlan) -> Ledger | None:
    """Return the ledger of stage `index`, the base scored; None where the config asks for none.

    `loaded` has its adapter; call this before the first step and after `plan_stage`. Raises UserError for a probe that
    cannot be scored.
    """
    settings = config.train
    assert settings is not None
    asked = settings.ledger
    if asked is None:
        return None
    stage = settings.stages[index]
    folder = root / "train" / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    probes = of_base = load_probes(asked.probes, loaded)
    if loaded.vocabulary is not None:  # the base cuts the same lines with its own tokenizer
        with loaded.base_only():
            of_base = load_probes(asked.probes, loaded)
    # A forward of a micro-batch fits in memory where its backward pass did; a budget by trial would follow the clock.
    budget = settings.micro_batch_tokens or settings.context
    before = [root / "train" / earlier.name for earlier in settings.stages[:index]]
    base = _base(config, [folder, *before], loaded, of_base, budget)
    tokens = plan.steps * plan.rows_per_step * settings.context
    once = probes.tokens(loaded.max_positions)
    every = cadence(asked.every_steps, plan.steps, once, tokens, asked.max_cost_share)
    if joined().is_main:
        _announce(asked, plan.steps, every, once, tokens, len(probes.requests))
        _warn(config, asked)
    return Ledger(asked, probes, base, folder, every, config.seed)


def _base(config: RunConfig, folders: Sequence[Path], loaded: Loaded, probes: ProbeSet, budget: int) -> Base:
    """Return what the base scores: as it stands in the stage's folder or an earlier stage's, else scored now."""
    key = digest([hash_model(config.model), probes.digest(), budget])
    held = joined().agree(_held(folders, key))
    seconds = None
    if held is None:
        started = time.monotonic()
        scorer = Scorer(loaded, budget, adapter=False)
        values = probes.score(scorer, "base")
        held = {"key": key, "follows": bool(scorer.follows), "values": [found.tolist() for found in values]}
        seconds = round(time.monotonic() - started, 3)
    if joined().is_main:
        write_json(folders[0] / BASE, held)
    return Base([np.array(found) for found in held["values"]], held["follows"], budget, seconds)


def _held(folders: Sequence[Path], key: str) -> dict[str, Any] | None:
    for folder in folders:
        if (folder / BASE).exists():
            found: dict[str, Any] = read_json(folder / BASE)
            if found["key"] == key:
                return found
    return None


def _announce(asked: LedgerSettings, steps: int, every: int, once: int, tokens: int, requests: int) -> None:
    share = predicted_share(steps, every, once, tokens)
    stretched = ""
    if every > asked.every_steps:
        stretched = (
            f" (every {asked.every_steps:,} asked, which would cost more than {asked.max_cost_share:.0%})"
        )
    say(
        f"  ledger: {requests:,} requests of {once:,} tokens in all, every {every:,} steps and at the end{stretched}: "
        f"about {share:.1%} of training, predicted"
    )
    if share > asked.max_cost_share:
        say(
            f"  ledger: the stage is so short that even one reading at its end costs more than "
            f"{asked.max_cost_share:.0%} of it; lower `limit` of train.ledger.probes"
        )


def _warn(config: RunConfig, asked: LedgerSettings) -> None:
    if asked.stop_when is None and asked.keep_best is None:
        return
    for name in overlaps(config, asked.probes):
        say(
            f"  ledger: evaluate scores lines of '{name}' too: after a choice by them its scores are flattered"
        )


def _line(reading: Reading) -> dict[str, Any]:
    return asdict(reading)


def _reading(line: dict[str, Any]) -> Reading:
    changes = tuple(Change(**change) for change in line["changes"])
    return Reading(line["step"], changes, line["within"], line["best"], line["stop"])


def _append(path: Path, line: dict[str, Any]) -> None:
    """Append a line and bring it to the disk: a checkpoint after it must not outlive it."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
