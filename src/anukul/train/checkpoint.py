"""Checkpoints that resume to the same bits: adapter, optimizer, random state, step, what the spike guard has seen."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anukul.errors import UserError
from anukul.model.adapter import trainable_parameters
from anukul.model.loaded import Loaded
from anukul.rundir import atomic_folder, read_json, write_json
from anukul.train.limits import writing

KEEP = 2


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a stage stands: all that is needed to go on beside weights, optimizer and random state.

    The plan of a stage depends on seed and data only, so the number of finished steps is the data cursor too.
    """

    step: int = 0  # finished steps
    skipped: int = 0  # of them, those that changed no weight
    stopped: str | None = None  # why the ledger ended the stage here


def checkpoints(folder: Path) -> list[Path]:
    """Return the stage's finished checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").exists())


def save_checkpoint(
    folder: Path,
    cursor: Cursor,
    loaded: Loaded,
    optimizer: torch.optim.Optimizer,
    guard: dict[str, Tensor],
    save_weights: Callable[[Loaded, Path], None],
) -> Path:
    """Write `step-NNNNNN` atomically (weights, optimizer.pt, state.json) and delete all but the last two."""
    target = folder / f"step-{cursor.step:06d}"
    state: dict[str, Any] = {"optimizer": optimizer.state_dict(), "guard": guard}
    state["random"] = torch.random.get_rng_state()
    if loaded.device.type == "cuda":
        state["random_cuda"] = torch.cuda.get_rng_state(loaded.device)
    with writing(target), atomic_folder(target) as temporary:
        save_weights(loaded, temporary / "adapter")
        torch.save(state, temporary / "optimizer.pt")
        write_json(
            temporary / "state.json",
            {"step": cursor.step, "skipped": cursor.skipped, "stopped": cursor.stopped},
        )
    for old in checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)
    return target


def read_cursor(folder: Path) -> Cursor:
    """Where the stage's newest checkpoint stands; the beginning where there is none."""
    kept = checkpoints(folder)
    return Cursor(**read_json(kept[-1] / "state.json")) if kept else Cursor()


def restore(folder: Path, loaded: Loaded, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Restore optimizer and random state from the newest checkpoint; return the spike guard's state."""
    path = checkpoints(folder)[-1] / "optimizer.pt"
    state = torch.load(path, map_location="cpu", weights_only=True)
    optimizer.load_state_dict(state["optimizer"])
    torch.random.set_rng_state(state["random"])
    if "random_cuda" in state and loaded.device.type == "cuda":
        torch.cuda.set_rng_state(state["random_cuda"], loaded.device)
    guard: dict[str, Tensor] = state["guard"]
    return guard


def save_best(folder: Path, loaded: Loaded, step: int) -> None:
    """Keep a copy of the trained weights in `best/step-NNNNNN`; earlier ones stay until `forget_others`."""
    target = _best(folder, step)
    with writing(target), atomic_folder(target) as temporary:
        weights = {name: p.detach().cpu() for name, p in trainable_parameters(loaded).items()}
        torch.save(weights, temporary / "weights.pt")


def load_best(folder: Path, loaded: Loaded, step: int) -> None:
    """Put the copy of step `step` back into the model."""
    weights = torch.load(_best(folder, step) / "weights.pt", map_location="cpu", weights_only=True)
    with torch.no_grad():
        for name, parameter in trainable_parameters(loaded).items():
            parameter.copy_(weights[name])


def forget_others(folder: Path, best: int | None) -> None:
    """Delete every copy in `best/` but that of step `best`.

    Only at a checkpoint: a run that goes on from the one before may yet find the earlier copy to be the best.
    """
    for copy in (folder / "best").glob("step-*"):
        if best is None or copy != _best(folder, best):
            shutil.rmtree(copy)


def _best(folder: Path, step: int) -> Path:
    return folder / "best" / f"step-{step:06d}"


def require_finite(loaded: Loaded, step: int, folder: Path) -> None:
    """Raise UserError when a trained weight is no longer finite, before it could be saved over a good one."""
    for name, parameter in trainable_parameters(loaded).items():
        if not bool(torch.isfinite(parameter).all()):
            raise diverged(f"weight {name} is not finite after step {step}", folder)


def diverged(what: str, folder: Path, first_bad: int | None = None) -> UserError:
    """The error for a run that went off: what, where, the last good checkpoint, what to do.

    A checkpoint whose very next step was the first bad one holds the weights that made it bad: it is not good.
    """
    kept = [path for path in checkpoints(folder) if first_bad is None or _step(path) < first_bad - 1]
    good = f"the last good checkpoint is {kept[-1]}" if kept else "no good checkpoint had been written yet"
    return UserError(
        f"{folder}: training diverged: {what}; {good}; lower train.learning_rate and --redo train"
    )


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))
