"""NF4 with double quantisation through bitsandbytes, on CPU and CUDA."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn


def quantization_config(compute_dtype: torch.dtype) -> Any:
    """The QLoRA quantisation (arXiv 2305.14314): NF4 blocks of 64, their scales quantised again to 8 bits."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


# A GPU must keep this share of its memory free for training once it holds the dequantised weights: an 8B base is then
# cached (16 GB) from 32 GB on, where an adapter of rank 128 with its moments and activations still fits.
FREE_SHARE = 0.5


def settle(model: nn.Module, choice: Literal["auto", "cached", "never"], dtype: torch.dtype) -> int:
    """Dequantise every 4-bit layer once, or leave all to bitsandbytes, as asked; return how many were dequantised.

    `auto` caches on a CPU, and on a GPU where `FREE_SHARE` of its memory stays free. The numbers are the same.
    """
    device = next(model.parameters()).device
    if choice == "auto":
        choice = "cached" if device.type == "cpu" or _has_room(model, dtype, device) else "never"
    if choice == "cached":
        return cache_dequantized(model, dtype)
    if device.type == "cpu":
        _keep_layout(model)
    _keep_dtype(model, dtype)
    return 0


def _has_room(model: nn.Module, dtype: torch.dtype, device: torch.device) -> bool:
    free, whole = torch.cuda.mem_get_info(device)
    return free - growth(model, dtype) >= FREE_SHARE * whole


def growth(model: nn.Module, dtype: torch.dtype) -> int:
    """Return by how many bytes the 4-bit layers grow when they are dequantised to `dtype`."""
    import bitsandbytes as bnb

    layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    dense: int = sum(layer.in_features * layer.out_features for layer in layers) * dtype.itemsize
    held: int = sum(layer.weight.numel() * layer.weight.element_size() for layer in layers)
    return dense - held


def _keep_dtype(model: nn.Module, dtype: torch.dtype) -> None:
    """Let every 4-bit layer give what it computed in `dtype`, as a dequantised one does.

    bitsandbytes computes in `dtype` and turns the result back to the dtype of its input, which is another one where the
    base is stored in fp32: all that follows would be computed in more digits than with dequantised weights.
    """
    import bitsandbytes as bnb

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output.to(dtype)

    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.register_forward_hook(keep)


def _keep_layout(model: nn.Module) -> None:
    """Keep bitsandbytes on a CPU from repacking weights at the first forward in eval mode.

    Repacking fails on widths that are no multiple of 64 and gives evaluation other roundings than training had.
    """
    import bitsandbytes as bnb

    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def cache_dequantized(model: nn.Module, dtype: torch.dtype) -> int:
    """Replace every 4-bit linear layer by a plain one that holds its NF4-rounded weights in `dtype`.

    The numbers are those that bitsandbytes computes with (it dequantises to the compute dtype and multiplies), so
    results are bit-identical; what is saved is dequantising on every forward. Returns the number of layers.
    """
    import bitsandbytes as bnb

    count = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if not isinstance(child, bnb.nn.Linear4bit):
                continue
            setattr(module, name, _plain(child, dtype))
            count += 1
    return count


def dense_weight(layer: nn.Module) -> Tensor:
    """The weight that a linear layer multiplies with, without a gradient; 4-bit ones dequantised as for a product.

    Of a layer whose parts were gathered by FSDP2 too, which knows packed weights as bf16 (`sharded`).
    """
    stand_in = getattr(layer, "dense_weight", None)  # of a layer without weights
    if callable(stand_in):
        made: Tensor = stand_in()
        return made
    weight = layer.weight
    assert isinstance(weight, Tensor)
    state = getattr(weight, "quant_state", None)
    state = getattr(layer, "quant_state", None) if state is None else state
    if state is None:
        return weight.detach()
    from bitsandbytes.functional import dequantize_4bit

    packed = weight.data.contiguous().flatten().view(torch.uint8).unsqueeze(1)
    dense: Tensor = dequantize_4bit(packed, state).to(layer.compute_dtype)
    return dense


@contextmanager
def unpacked(module: nn.Module) -> Iterator[None]:
    """Let 4-bit layers within `module` stand dequantised in the block: in another type they give other weights."""
    import bitsandbytes as bnb

    found = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, bnb.nn.Linear4bit)
    ]
    try:
        for parent, name, child in found:
            setattr(parent, name, _plain(child, child.compute_dtype))
        yield
    finally:
        for parent, name, child in found:
            setattr(parent, name, child)


def _plain(layer: Any, dtype: torch.dtype) -> nn.Linear:
    """A plain layer with the NF4-rounded weights of a 4-bit one in `dtype`."""
    from bitsandbytes.functional import dequantize_4bit

    weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(dtype)
    plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    plain.weight = nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.data.to(dtype), requires_grad=False)
    return plain


def quiet_bitsandbytes() -> None:
    """Keep bitsandbytes from announcing optional CPU kernels that it would have to download."""
    import logging

    os.environ.setdefault("BITSANDBYTES_NOWELCOME", "1")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
