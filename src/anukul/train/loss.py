"""Cross-entropy computed only where there is loss, a slice of tokens at a time."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from anukul.model.loaded import Loaded, hidden_states, logits
from anukul.train.packing import Batch

MAX_LOGITS = 1 << 25  # numbers in one slice of logits: 128 MiB in fp32
BLOCK = 1 << 18  # numbers turned to fp32 at once: 1 MiB, what a core's cache holds


def token_losses(loaded: Loaded, batch: Batch) -> Tensor:
    """Return the loss in nats of every learnt token, `[loss tokens]`, fp32.

    Logits are made only for learnt tokens; where they would exceed `MAX_LOGITS` numbers they are made slice by
    slice and made again in the backward pass, so that a vocabulary of 128k never stands in memory for a whole batch.
    """
    states = hidden_states(loaded, batch.ids, batch.positions, layout=batch.documents)
    picked = states.flatten(0, 1)[batch.predicting]
    vocabulary = int(loaded.model.config.vocab_size)
    step = max(1, MAX_LOGITS // vocabulary)

    def slice_loss(part: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(logits(loaded, part), targets)

    if len(picked) <= step:
        return slice_loss(picked, batch.targets)
    losses = []
    for start in range(0, len(picked), step):
        part, targets = picked[start : start + step], batch.targets[start : start + step]
        losses.append(checkpoint(slice_loss, part, targets, use_reentrant=False))
    return torch.cat(losses)


class _CrossEntropy(torch.autograd.Function):
    """`[tokens, vocabulary]` logits and `[tokens]` targets to `[tokens]` losses in fp32.

    The softmax is made block by block in fp32 and kept in the logits' own precision, as the gradient that it nearly is:
    one pass over memory where the stock function makes four.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, targets: Tensor) -> Tensor:
        losses = torch.empty(len(targets), device=scores.device)
        gradient = torch.empty_like(scores)
        step = max(1, BLOCK // scores.shape[1])
        for start in range(0, len(targets), step):
            rows = slice(start, start + step)
            block = scores[rows].float()
            chosen = targets[rows].unsqueeze(1)
            block -= block.logsumexp(1, keepdim=True)
            losses[rows] = -block.gather(1, chosen).squeeze(1)
            block.exp_().scatter_add_(1, chosen, block.new_full(chosen.shape, -1.0))
            gradient[rows] = block
        ctx.gradient = gradient
        return losses

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None]:
        gradient, ctx.gradient = ctx.gradient, None  # scaled in place: it is wanted once
        return gradient.mul_(weights.unsqueeze(1).to(gradient.dtype)), None


cross_entropy: Callable[[Tensor, Tensor], Tensor] = _CrossEntropy.apply
