"""Which decoder layers keep their activations for the backward pass, and which compute them again."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from anukul.errors import UserError
from anukul.model.loaded import Loaded


def decoder_layers(loaded: Loaded) -> list[nn.Module]:
    """The layers of the decoder that can be computed again, from the first to the last."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    found = [m for m in loaded.causal_lm.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not found:
        name = type(loaded.causal_lm).__name__
        raise UserError(
            f"train.activation_checkpointing: {name} has no layers that can be computed again; set it to none"
        )
    return found


def recompute(loaded: Loaded, count: int) -> None:
    """Let the first `count` layers compute their activations again in the backward pass, the others keep them.

    The first ones, because their activations live the longest. The numbers are the same either way.
    """
    for index, layer in enumerate(decoder_layers(loaded)):
        layer.gradient_checkpointing = index < count  # type: ignore[assignment]  # a plain flag of the layer
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)  # type: ignore[assignment]
