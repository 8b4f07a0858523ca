"""AdamW with learning rates of their own for embeddings and for B, and the schedule of a stage."""

import math
from typing import Any

import torch
from torch import Tensor

from anukul.config import TrainSettings
from anukul.model.adapter import is_embedding, is_magnitude, is_second_factor, trainable_parameters
from anukul.model.eightbit import adamw_8bit
from anukul.model.loaded import Loaded


def make_optimizer(loaded: Loaded, settings: TrainSettings) -> torch.optim.Optimizer:
    """One group for each learning rate, whose peak its `initial_lr` holds; `settings` are those of the stage.

    First comes what has `learning_rate`: low-rank factors, or all weights. With LoRA+ (arXiv 2402.12354) B has a group
    of its own, at a multiple of A's rate. DoRA's magnitudes have A's rate and no weight decay, which would shrink the
    base's rows. Embeddings and head, low-rank changes of them too, have `embedding_learning_rate`.

    Moments are fp32 and the update is one fused kernel; with `adamw_8bit` they are held in 8 bits, except those of
    embeddings, whose rows see gradients of very different sizes (arXiv 2110.02861, section 2.3).
    """
    assert settings.embedding_learning_rate is not None
    peak, ratio = settings.learning_rate, settings.lora.learning_rate_ratio
    groups: dict[str, dict[str, Any]] = {
        "others": {"initial_lr": peak, "wide": False},
        "second factors": {"initial_lr": peak * (ratio or 1.0), "wide": False},
        "magnitudes": {"initial_lr": peak, "wide": False, "weight_decay": 0.0},
        "embeddings": {"initial_lr": settings.embedding_learning_rate, "wide": True},
    }
    for name, parameter in trainable_parameters(loaded).items():
        groups[_group(name, ratio)].setdefault("params", []).append(parameter)
    used = [group for group in groups.values() if "params" in group]
    if settings.optimizer == "adamw":
        for group in used:
            del group["wide"]
        return torch.optim.AdamW(
            used, lr=peak, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
        )
    paged = settings.optimizer == "paged_adamw_8bit" and loaded.device.type == "cuda"
    return adamw_8bit(used, peak, settings.betas, settings.weight_decay, paged)


def _group(name: str, ratio: float | None) -> str:
    if is_embedding(name):
        return "embeddings"
    if is_magnitude(name):
        return "magnitudes"
    return "second factors" if ratio is not None and is_second_factor(name) else "others"


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


def learning_rate_factor(step: int, steps: int, settings: TrainSettings) -> float:
    """Share of the peak learning rate at `step` (0-based) of a stage, whose `settings` these are.

    A linear warm-up, its last step at the peak. Then `cosine` falls to `min_learning_rate_share` at the last step;
    `constant` stays; `wsd` stays and falls to it in the last `decay_share` of the steps, as 1 - sqrt(t): the shape
    that did best in arXiv 2405.18392, section 3.
    """
    warmup = max(1, round(steps * settings.warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule == "constant":
        return 1.0
    floor = settings.min_learning_rate_share
    assert floor is not None
    if settings.schedule == "cosine":
        done = (step - warmup + 1) / max(1, steps - warmup)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))
    assert settings.decay_share is not None
    decay = min(steps - warmup, max(1, round(steps * settings.decay_share)))
    done = (step - (steps - decay) + 1) / decay
    return 1.0 if done <= 0 else floor + (1 - floor) * (1 - math.sqrt(done))


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Scale every group's peak by `factor`; return the first group's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])
