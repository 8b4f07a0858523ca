"""What makes training steps faster without another result: fewer casts, compiled parts of layers."""

from torch import nn

from anukul.model.loaded import Loaded
from anukul.model.recompute import decoder_layers


def keep_input_dtype(loaded: Loaded) -> None:
    """Let adapters take their input as it is.

    peft would turn it to the adapter's fp32, where autocast turns it back to the compute dtype before it multiplies:
    for each of seven linear layers a copy that is kept for the backward pass. The numbers are the same to the bit.
    """
    for module in loaded.model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False


def compile_layers(loaded: Loaded) -> None:
    """Compile the parts of every decoder layer (attention, MLP, norms) one by one.

    The shapes of a stage's batches are the same in every step, so each kind of part is compiled once. What a layer
    recomputes stays outside, and attention itself runs as it is: its documents differ from row to row.
    """
    for layer in decoder_layers(loaded):
        for part in layer.children():
            if isinstance(part, nn.Module):
                part.compile(dynamic=False)
