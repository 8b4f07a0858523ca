"""What a stage writes down about its steps: metrics.jsonl, and the same for trackers."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from anukul.train.trackers import Trackers

TRACKED = ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "utilization", "memory_gib")


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One line of metrics.jsonl."""

    stage: str
    step: int  # finished steps, from 1
    steps: int
    tokens: int  # seen in this step, padding left out
    loss_tokens: int
    replay_loss_tokens: int
    learning_rate: float
    loss: float = 0.0  # nats per learnt token
    gradient_norm: float = 0.0
    skipped: bool = False  # the step was bad and changed no weight
    tokens_per_second: float = 0.0
    seconds: float = 0.0
    utilization: float | None = None  # as `gauge` defines it; None where it cannot be told
    memory_gib: float | None = None  # the peak of the stage so far, in this process


class LateReader:
    """Brings a step's figures to the host; from a GPU, while it works on the next step.

    Reading a number from a GPU waits for everything that it was given before; a copy into pinned memory that is looked
    at one step later waits for nothing that is not done anyhow. On a CPU the figures are there at once.
    """

    def __init__(self, seen: Callable[[StepMetrics], None]) -> None:
        self.seen = seen
        self.waiting: tuple[StepMetrics, Tensor, torch.cuda.Event] | None = None
        self.started = time.monotonic()

    def put(self, known: StepMetrics, figures: Tensor) -> None:
        """Take the step's loss, gradient norm and whether it was bad, `[3]`; hand on the step before."""
        if figures.device.type != "cuda":
            self._hand_on(known, figures)
            return
        host = torch.empty(figures.shape, dtype=figures.dtype, pin_memory=True)
        host.copy_(figures, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch ships it without annotations
        event.record()
        self.flush()
        self.waiting = known, host, event

    def flush(self) -> None:
        """Wait for the step that is still out and hand it on."""
        if self.waiting is not None:
            known, host, event = self.waiting
            self.waiting = None
            event.synchronize()
            self._hand_on(known, host)

    def restart_clock(self) -> None:
        """Leave what was done since the last step, such as a reading of the ledger, out of the next step's time."""
        self.started = time.monotonic()

    def _hand_on(self, known: StepMetrics, figures: Tensor) -> None:
        loss, norm, bad = figures.tolist()
        now = time.monotonic()
        seconds, self.started = now - self.started, now
        self.seen(
            replace(
                known,
                loss=loss,
                gradient_norm=norm,
                skipped=bool(bad),
                tokens_per_second=known.tokens / seconds,
                seconds=seconds,
            )
        )


def lines_until(path: Path, first: int) -> list[dict[str, Any]]:
    """Return the JSON lines of steps up to `first`; one torn by a kill is of a later step."""
    if not path.exists():
        return []
    found = []
    for text in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not text.endswith("}\n"):
            break
        line: dict[str, Any] = json.loads(text)
        if line["step"] <= first:
            found.append(line)
    return found


class MetricsLog:
    """metrics.jsonl and trackers; on resume, lines of steps after the checkpoint are forgotten."""

    def __init__(self, folder: Path, first: int, trackers: Trackers) -> None:
        path = folder / "metrics.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        kept = [json.dumps(line) + "\n" for line in lines_until(path, first)]
        self.file = path.open("w", encoding="utf-8")
        self.file.writelines(kept)
        self.trackers = trackers

    def write(self, metrics: StepMetrics, every: int) -> None:
        """Log every `every`-th step, the first and the last, and every step that was skipped."""
        if metrics.step % every and metrics.step not in (1, metrics.steps) and not metrics.skipped:
            return
        # a loss that is no number is null: JSON knows no NaN
        line = {k: None if v != v or v in (math.inf, -math.inf) else v for k, v in asdict(metrics).items()}
        self.file.write(json.dumps(line, allow_nan=False) + "\n")
        values = {name: getattr(metrics, name) for name in TRACKED}
        self.scalars({name: value for name, value in values.items() if value is not None}, metrics.step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Show numbers of a step in the trackers, such as a reading of the ledger."""
        self.trackers.log(values, step)

    def sync(self) -> None:
        """Bring what was logged to the disk."""
        self.file.flush()
        self.trackers.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
