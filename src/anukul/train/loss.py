"""Cross-entropy computed only where there is loss, a slice of tokens at a time."""

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from anukul.model.loaded import Loaded, hidden_states, logits
from anukul.train.packing import Batch

MAX_LOGITS = 1 << 25  # numbers in one slice of logits: 128 MiB in fp32


def token_losses(loaded: Loaded, batch: Batch) -> Tensor:
    """Return the loss in nats of every learnt token, `[loss tokens]`, fp32.

    Logits are made only for learnt tokens; where they would exceed `MAX_LOGITS` numbers they are made slice by
    slice and made again in the backward pass, so that a vocabulary of 128k never stands in memory for a whole batch.
    """
    states = hidden_states(loaded, batch.ids, batch.positions, batch.mask)
    picked = states.flatten(0, 1)[batch.predicting]
    vocabulary = int(loaded.model.config.vocab_size)
    step = max(1, MAX_LOGITS // vocabulary)

    def slice_loss(part: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(logits(loaded, part).float(), targets, reduction="none")

    if len(picked) <= step:
        return slice_loss(picked, batch.targets)
    losses = []
    for start in range(0, len(picked), step):
        part, targets = picked[start : start + step], batch.targets[start : start + step]
        losses.append(checkpoint(slice_loss, part, targets, use_reentrant=False))
    return torch.cat(losses)
