"""AdamW in fp32 with a learning rate of its own for embeddings, and the schedule of a stage."""

import math

import torch

from anukul.config import Stage, TrainSettings
from anukul.model.adapter import is_embedding, trainable_parameters
from anukul.model.loaded import Loaded


def make_optimizer(loaded: Loaded, settings: TrainSettings, stage: Stage) -> torch.optim.AdamW:
    """One group for low-rank (or all) weights, one for embeddings; `initial_lr` holds each group's peak.

    A stage with a learning rate of its own keeps the proportion between the two groups.
    """
    peak = stage.learning_rate or settings.learning_rate
    share = (settings.embedding_learning_rate or settings.learning_rate / 10) / settings.learning_rate
    embedding_peak = peak * share
    parameters = trainable_parameters(loaded)
    groups = [
        {"params": [p for name, p in parameters.items() if not is_embedding(name)], "initial_lr": peak},
        {"params": [p for name, p in parameters.items() if is_embedding(name)], "initial_lr": embedding_peak},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=peak,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def learning_rate_factor(step: int, steps: int, warmup_share: float, floor: float) -> float:
    """Share of the peak learning rate at `step` (0-based): linear warm-up, then cosine down to `floor`."""
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup + 1) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


def set_learning_rate(optimizer: torch.optim.AdamW, factor: float) -> float:
    """Scale every group's peak by `factor`; return the first group's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])
