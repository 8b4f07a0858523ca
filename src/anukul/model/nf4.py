"""NF4 with double quantisation through bitsandbytes, on CPU and CUDA."""

import os
from typing import Any

import torch
from torch import nn


def quantization_config(compute_dtype: torch.dtype) -> Any:
    """The QLoRA quantisation (arXiv 2305.14314): NF4 blocks of 64, their scales quantised again to 8 bits."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def cache_dequantized(model: nn.Module, dtype: torch.dtype) -> int:
    """Replace every 4-bit linear layer by a plain one that holds its NF4-rounded weights in `dtype`.

    The numbers are those that bitsandbytes computes with (it dequantises to the compute dtype and multiplies), so
    results are bit-identical; what is saved is dequantising on every forward. Returns the number of layers.
    On the CPU this is the only safe way to evaluate: bitsandbytes 0.50 repacks the weights in place at the first
    forward in eval mode, which fails on widths that are no multiple of 64 and rounds differently from training.
    """
    import bitsandbytes as bnb
    from bitsandbytes.functional import dequantize_4bit

    count = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if not isinstance(child, bnb.nn.Linear4bit):
                continue
            weight = dequantize_4bit(child.weight.data, child.weight.quant_state).to(dtype)
            plain = nn.Linear(
                child.in_features, child.out_features, bias=child.bias is not None, device="meta"
            )
            plain.weight = nn.Parameter(weight, requires_grad=False)
            if child.bias is not None:
                plain.bias = nn.Parameter(child.bias.data.to(dtype), requires_grad=False)
            setattr(module, name, plain)
            count += 1
    return count


def quiet_bitsandbytes() -> None:
    """Keep bitsandbytes from announcing optional CPU kernels that it would have to download."""
    import logging

    os.environ.setdefault("BITSANDBYTES_NOWELCOME", "1")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
