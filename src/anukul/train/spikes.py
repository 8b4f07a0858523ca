"""Steps that must not change the weights: a loss or gradient that is no number, a loss that jumps.

A step is bad when its loss or gradient norm is not finite, or when its loss lies more than `DEVIATIONS` robust
standard deviations, and at least `LEAST` nats, above the median of the last `WINDOW` good losses. The deviation is
1.4826 times the median distance from the median, which a single outlier cannot inflate; normal noise goes six of them
up once in a thousand million steps, and a jump of less than half a nat is what clipping the gradient is there for.
OLMo-core skips by the same rule with mean and standard deviation over 128 steps (optim/skip_step_optimizer.py).

Bad steps are skipped where they are found, on the device, so that nothing depends on when the host looks.
"""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from anukul.train.checkpoint import diverged

WINDOW = 32  # short, so that the fall of the loss at the start of a stage does not pass for noise
LEAST_SEEN = 16  # good losses before a spike can be told
DEVIATIONS = 6.0
LEAST = 0.5
# A skipped step leaves the weights as they are and takes other data next: what stays bad is the weights' fault.
IN_A_ROW = 3


class SpikeGuard:
    """Judges every step on the device from the losses before it; its state goes into the checkpoints."""

    def __init__(self, device: torch.device) -> None:
        self.losses = torch.full((WINDOW,), torch.nan, dtype=torch.float64, device=device)
        self.good = torch.zeros((), dtype=torch.int64, device=device)
        self.slots = torch.arange(WINDOW, device=device)

    def judge(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Return whether the step is bad, a boolean on the device; a good loss is remembered."""
        middle = self._median(self.losses)
        deviation = 1.4826 * self._median((self.losses - middle).abs())
        limit = middle + (DEVIATIONS * deviation).clamp(min=LEAST)
        spike = (self.good >= LEAST_SEEN) & (loss > limit)
        bad = spike | ~torch.isfinite(loss) | ~torch.isfinite(norm)
        here = (self.slots == self.good % WINDOW) & ~bad
        self.losses = torch.where(here, loss.double(), self.losses)
        self.good = self.good + (~bad).long()
        return bad

    def _median(self, values: Tensor) -> Tensor:
        """The lower median of the slots that are filled; torch's own looks on the host for where the NaN begin."""
        place = (self.good.clamp(max=WINDOW) - 1).clamp(min=0) // 2
        return values.sort().values.gather(0, place.view(1)).squeeze(0)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"losses": self.losses.cpu(), "good": self.good.cpu()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self.losses = state["losses"].to(self.slots.device)
        self.good = state["good"].to(self.slots.device)


@dataclass(slots=True)
class Skipped:
    """How many steps of the stage were skipped, and since when, as far as the host has heard."""

    budget: int
    folder: Path
    total: int = 0
    first_bad: int | None = None  # of the run of bad steps that goes on now
    seen: str = ""  # the newest bad step in words
    finite: bool = True  # whether its figures are numbers

    def count(self, step: int, bad: bool, loss: float, norm: float) -> bool:
        """Count finished step `step`; return whether it was skipped.

        Raises UserError, which names the last good checkpoint, when the budget is spent or the weights are at fault.
        """
        if not bad:
            self.first_bad = None
            return False
        self.total += 1
        self.first_bad = self.first_bad or step
        in_a_row = step - self.first_bad + 1
        self.seen = f"loss {loss:.4g} with gradient norm {norm:.4g} at step {step}"
        if in_a_row >= IN_A_ROW:
            self._stop(f"{in_a_row} bad steps in a row from step {self.first_bad}, {self.seen}")
        if self.total > self.budget:
            allowed = f"{self.total} bad steps where train.max_skipped_steps allows {self.budget}"
            self._stop(f"{allowed}, the last: {self.seen}")
        self.finite = isfinite(loss) and isfinite(norm)
        return True

    def end(self) -> None:
        """Raise UserError where the stage's last step gave no number: the weights before it may be the reason."""
        if self.first_bad is not None and not self.finite:
            self._stop(f"{self.seen}, the last step")

    def _stop(self, what: str) -> None:
        raise diverged(what, self.folder, self.first_bad)
