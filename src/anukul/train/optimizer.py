"""AdamW with a learning rate of its own for embeddings, and the schedule of a stage."""

import math
from typing import Any

import torch
from torch import Tensor

from anukul.config import Stage, TrainSettings
from anukul.model.adapter import is_embedding, trainable_parameters
from anukul.model.eightbit import adamw_8bit
from anukul.model.loaded import Loaded


def make_optimizer(loaded: Loaded, settings: TrainSettings, stage: Stage) -> torch.optim.Optimizer:
    """One group for low-rank (or all) weights, one for embeddings; `initial_lr` holds each group's peak.

    A stage with a learning rate of its own keeps the proportion between the two groups. Moments are fp32 and the
    update is one fused kernel; with `adamw_8bit` they are held in 8 bits, except those of embeddings, whose rows see
    gradients of very different sizes (arXiv 2110.02861, section 2.3).
    """
    peak = stage.learning_rate or settings.learning_rate
    share = (settings.embedding_learning_rate or settings.learning_rate / 10) / settings.learning_rate
    embedding_peak = peak * share
    parameters = trainable_parameters(loaded)
    both: list[dict[str, Any]] = [
        {"params": [p for name, p in parameters.items() if not is_embedding(name)], "initial_lr": peak},
        {"params": [p for name, p in parameters.items() if is_embedding(name)], "initial_lr": embedding_peak},
    ]
    groups = [group for group in both if group["params"]]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            groups, lr=peak, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
        )
    for group, wide in zip(both, (False, True), strict=True):
        group["wide"] = wide
    paged = settings.optimizer == "paged_adamw_8bit" and loaded.device.type == "cuda"
    return adamw_8bit(groups, peak, settings.betas, settings.weight_decay, paged)


def take_step(optimizer: torch.optim.Optimizer, bad: Tensor) -> None:
    """Update the weights unless `bad` (a boolean on their device) is true, then drop the gradients.

    The fused kernel reads `bad` on the device, the way it reads the flag of a gradient scaler: weights, moments and
    its count of steps stay as they were, and the host need not wait. The 8-bit kernels cannot: there the host looks.
    """
    if isinstance(optimizer, torch.optim.AdamW):
        optimizer.found_inf = bad.float()  # type: ignore[attr-defined]  # read by the fused kernel where it is set
        optimizer.step()
    elif not bool(bad):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def learning_rate_factor(step: int, steps: int, warmup_share: float, floor: float) -> float:
    """Share of the peak learning rate at `step` (0-based): linear warm-up, then cosine down to `floor`."""
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup + 1) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Scale every group's peak by `factor`; return the first group's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])
