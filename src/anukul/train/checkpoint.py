"""Checkpoints that resume to the same bits: adapter, optimizer, random state, step."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from anukul.errors import UserError
from anukul.model.loaded import Loaded
from anukul.rundir import atomic_folder, read_json, write_json

KEEP = 2


def checkpoints(folder: Path) -> list[Path]:
    """Return the stage's finished checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").exists())


def save_checkpoint(
    folder: Path,
    step: int,
    loaded: Loaded,
    optimizer: torch.optim.Optimizer,
    save_weights: Callable[[Loaded, Path], None],
) -> Path:
    """Write `step-NNNNNN` atomically (weights, optimizer.pt, state.json) and delete all but the last two."""
    target = folder / f"step-{step:06d}"
    with atomic_folder(target) as temporary:
        save_weights(loaded, temporary / "adapter")
        torch.save(
            {"optimizer": optimizer.state_dict(), "random": torch.random.get_rng_state()},
            temporary / "optimizer.pt",
        )
        write_json(temporary / "state.json", {"step": step})
    for old in checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)
    return target


def restore_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer) -> int:
    """Restore optimizer and random state; return the number of finished steps."""
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    optimizer.load_state_dict(state["optimizer"])
    torch.random.set_rng_state(state["random"])
    return int(read_json(checkpoint / "state.json")["step"])


def require_finite(loaded: Loaded, step: int, folder: Path) -> None:
    """Raise UserError when a trained weight is no longer finite, before it could be saved over a good one."""
    for name, parameter in loaded.model.named_parameters():
        if parameter.requires_grad and not bool(torch.isfinite(parameter).all()):
            raise diverged(f"weight {name} is not finite after step {step}", folder)


def diverged(what: str, folder: Path) -> UserError:
    """The error for a run that went off: what, where, the last good checkpoint, what to do."""
    kept = checkpoints(folder)
    good = f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint had been written yet"
    return UserError(
        f"{folder}: training diverged: {what}; {good}; lower train.learning_rate and --redo train"
    )
