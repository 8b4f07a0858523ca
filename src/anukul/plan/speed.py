"""Tokens per second: as told, as a dry run measured, or as assumed from what others publish."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from anukul.config import RunConfig
from anukul.model.shape import Shape
from anukul.plan.stages import StageCost
from anukul.rundir import changed_keys
from anukul.train.dry_run import Measured, key_of, read_dry_run

# torchtune publishes 2,413 tokens/s for an 8B QLoRA on one RTX 4090, packed to 2,048 and compiled; 4 operations for
# each of 8.03e9 weights and token.
PUBLISHED_FLOPS = 2413 * 4 * 8.03e9


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast training is taken to be."""

    tokens_per_second: float | None  # of one process; None where nothing is known
    why: str
    measured: Measured | None = None  # the dry run that fits the config
    stale: str = ""  # why the run folder's dry run is not used, where there is one


def find_speed(
    config: RunConfig, root: Path, told: float | None, costs: list[StageCost], here: bool
) -> Speed:
    """Return the speed that hours are counted with; `here` says that the run would take this machine's CPU."""
    measured, stale = fitting_dry_run(config, root)
    if told is not None:
        return Speed(told, "as given with --throughput", measured, stale)
    if measured is not None:
        why = f"measured by the dry run of {measured.date} on {measured.machine}"
        return Speed(measured.tokens_per_second, why, measured, stale)
    tokens, flops = sum(cost.tokens for cost in costs), sum(cost.flops for cost in costs)
    if here or not tokens:
        return Speed(None, "`anukul train RUN.YAML --dry-run` measures it", None, stale)
    why = (
        f"assumed: {PUBLISHED_FLOPS / 1e12:.0f} TFLOP/s, what torchtune publishes for an 8B QLoRA on one RTX 4090;\n"
        "`anukul train RUN.YAML --dry-run` measures it, --throughput sets it"
    )
    return Speed(PUBLISHED_FLOPS * tokens / flops, why, None, stale)


def fitting_dry_run(config: RunConfig, root: Path) -> tuple[Measured | None, str]:
    """Return the run folder's dry run where it was of this config, else why it is not used."""
    found = read_dry_run(root)
    if found is None:
        return None, ""
    key, measured = found
    changes = changed_keys(key, key_of(config))
    if not changes:
        return measured, ""
    more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
    return None, f"that of {measured.date} is not used, the config has changed: {changes[0]}{more}"


def memory_of_machine() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def runs_here(shape: Shape) -> bool:
    """Whether a run on this machine would take its CPU, and the base leaves half of its memory free."""
    return not torch.cuda.is_available() and 2 * shape.parameters < memory_of_machine() / 2
