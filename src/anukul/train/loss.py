"""Cross-entropy computed only where there is loss, a slice of tokens at a time."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from anukul.model.loaded import Loaded, hidden_states, logits
from anukul.train.packing import Batch

MAX_LOGITS = 1 << 25  # numbers in one slice of logits: 128 MiB in fp32
# Numbers turned to fp32 at once: on a CPU 1 MiB, what a core's cache holds; a GPU wants few large kernels.
BLOCK = 1 << 18
BLOCK_CUDA = 1 << 24


def token_losses(loaded: Loaded, batch: Batch) -> Tensor:
    """Return the loss in nats of every learnt token, `[loss tokens]`, fp32.

    Logits are made only for learnt tokens; where they would exceed `MAX_LOGITS` numbers they are made slice by
    slice, so that a vocabulary of 128k never stands in memory for a whole batch. A frozen output head gives each
    slice's gradient at once; a trained one makes the slice again in the backward pass.
    """
    states = hidden_states(loaded, batch.ids, batch.positions, layout=batch.documents)
    picked = states.flatten(0, 1)[batch.predicting]
    step = max(1, MAX_LOGITS // loaded.vocabulary_rows)

    def slice_loss(part: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(logits(loaded, part), targets)

    if len(picked) <= step:
        return slice_loss(picked, batch.targets)
    head = loaded.causal_lm.get_output_embeddings()
    if not any(parameter.requires_grad for parameter in head.parameters()):
        return _losses_under_frozen_head(picked, batch.targets, slice_loss, step)
    losses = []
    for start in range(0, len(picked), step):
        part, targets = picked[start : start + step], batch.targets[start : start + step]
        losses.append(checkpoint(slice_loss, part, targets, use_reentrant=False))
    return torch.cat(losses)


class _FrozenHead(torch.autograd.Function):
    """`[tokens, hidden]` states to `[tokens]` losses, the gradient of the states made in the same pass.

    A token's loss depends on its own state alone, so its gradient is known up to the factor that comes from above. No
    logits wait for the backward pass, and none are made twice.
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, targets: Tensor, slice_loss: Callable[[Tensor, Tensor], Tensor], step: int
    ) -> Tensor:
        losses = torch.empty(len(targets), device=states.device)
        gradient = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        for start in range(0, len(targets), step):
            rows = slice(start, start + step)
            with torch.set_grad_enabled(gradient is not None):
                part = states[rows].detach().requires_grad_(gradient is not None)
                found = slice_loss(part, targets[rows])
            losses[rows] = found.detach()
            if gradient is not None:
                (gradient[rows],) = torch.autograd.grad(found, part, torch.ones_like(found))
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * weights.unsqueeze(1)).to(gradient.dtype), None, None, None


_losses_under_frozen_head: Callable[[Tensor, Tensor, Callable[[Tensor, Tensor], Tensor], int], Tensor] = (
    _FrozenHead.apply
)


class _CrossEntropy(torch.autograd.Function):
    """`[tokens, vocabulary]` logits and `[tokens]` targets to `[tokens]` losses in fp32.

    The softmax is made block by block in fp32 and kept in the logits' own precision, as the gradient that it nearly is:
    one pass over memory where the stock function makes four.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, targets: Tensor) -> Tensor:
        losses = torch.empty(len(targets), device=scores.device)
        gradient = torch.empty_like(scores)
        step = max(1, (BLOCK if scores.device.type == "cpu" else BLOCK_CUDA) // scores.shape[1])
        for start in range(0, len(targets), step):
            rows = slice(start, start + step)
            block = scores[rows].float()
            chosen = targets[rows].unsqueeze(1)
            block -= block.logsumexp(1, keepdim=True)
            losses[rows] = -block.gather(1, chosen).squeeze(1)
            block.exp_().scatter_add_(1, chosen, block.new_full(chosen.shape, -1.0))
            gradient[rows] = block
        ctx.save_for_backward(gradient)  # so that a slice that is made again does not hold it in between
        return losses

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors  # scaled in place: it is wanted once
        return gradient.mul_(weights.unsqueeze(1).to(gradient.dtype)), None


cross_entropy: Callable[[Tensor, Tensor], Tensor] = _CrossEntropy.apply
