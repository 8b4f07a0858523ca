"""A base without its weights: its tensors have sizes and nothing in them, so that memory can be counted.

Training's own code runs on them (torch's fake tensors), only that nothing is computed. What a GPU does otherwise than a
CPU has a stand-in that makes and keeps tensors of the same sizes: layers whose weights stay packed in 4 bits, and
attention to documents of any length.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from anukul.config import ModelSettings
from anukul.model.loaded import DTYPES, Loaded, attention_function
from anukul.model.shape import read_config

# Bits of an NF4 weight with double quantisation: 4, an 8-bit scale per block of 64, and an fp32 scale and offset
# per 256 of those (arXiv 2305.14314, section 3).
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)


@contextmanager
def weightless() -> Iterator[Callable[[Tensor], Tensor]]:
    """Make tensors without content in the block; yields what turns a tensor with content into one without."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    class Mode(FakeTensorMode):  # type: ignore[no-untyped-call]  # torch ships it without annotations
        """Stays one where a module is copied (peft copies what is trained in full). Every tensor holds its mode, and
        torch copies it with the tensor: that copy overwrites memory that is not its own, and the process dies later."""

        def __deepcopy__(self, memo: dict[int, Any]) -> "Mode":
            return self

    with Mode(allow_non_fake_inputs=True) as mode, _settable():
        yield mode.from_tensor


@contextmanager
def _settable() -> Iterator[None]:
    """Let modules be moved and cast in the block, which for parameters without content torch does by swapping tensors:
    that fails where something has a weak reference to one, and torch's own fake tensors always have."""
    before = torch.utils.swap_tensors

    def fill(old: Tensor, new: Tensor) -> None:
        old.data = new.data

    torch.utils.swap_tensors = fill
    try:
        yield
    finally:
        torch.utils.swap_tensors = before


def stored_dtype(settings: ModelSettings) -> torch.dtype:
    """The type that the base's files hold their weights in, as its config.json says; bf16 where it says nothing."""
    data = read_config(settings)[1]
    return DTYPES.get(
        str(data.get("dtype") or data.get("torch_dtype")).removeprefix("torch."), torch.bfloat16
    )


def build_weightless(settings: ModelSettings, tokenizer: Any, packed: bool, layers: int) -> Loaded:
    """Return the base as `load_base` would, without content and with so many layers; call it inside `weightless`.

    With `packed` the layers that NF4 applies to stay as bitsandbytes holds them, else they are dense in the compute
    dtype. Embeddings, head and norms keep the type of the files.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    _, data = read_config(settings)
    kind = str(data.pop("model_type"))
    stored, compute = stored_dtype(settings), DTYPES[settings.compute_dtype]
    config = AutoConfig.for_model(
        kind, **{k: v for k, v in data.items() if k not in ("dtype", "torch_dtype")}
    )
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    model = AutoModelForCausalLM.from_config(config, dtype=stored, attn_implementation="sdpa")
    if settings.quantization == "nf4":
        _quantize(model, compute, packed)
    model.eval()
    model.requires_grad_(False)
    return Loaded(model, tokenizer, torch.device("cpu"), compute, "")


def _quantize(model: Any, compute: torch.dtype, packed: bool) -> None:
    head = model.get_output_embeddings()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if not isinstance(child, nn.Linear) or child is head:
                continue
            if packed:
                setattr(module, name, _PackedLinear(child, compute))
            else:
                child.weight = nn.Parameter(
                    torch.empty(child.weight.shape, dtype=compute), requires_grad=False
                )


class _PackedLinear(nn.Linear):
    """Stands for a 4-bit layer of bitsandbytes: its bytes, and a dense weight for as long as a product takes."""

    def __init__(self, dense: nn.Linear, compute: torch.dtype) -> None:
        super().__init__(dense.in_features, dense.out_features, dense.bias is not None)
        self.compute = compute
        size = int(dense.in_features * dense.out_features * NF4_BITS / 8)
        self.weight = nn.Parameter(torch.empty(size, dtype=torch.uint8), requires_grad=False)

    def dense_weight(self) -> Tensor:
        """What `nf4.dense_weight` gives for such a layer."""
        return self.weight.new_empty((self.out_features, self.in_features), dtype=self.compute)

    def forward(self, states: Tensor) -> Tensor:
        """`[..., in]` to `[..., out]`."""
        shape = (self.out_features, self.in_features)
        product = _product(states.to(self.compute), shape)
        return product if self.bias is None else product + self.bias.to(self.compute)


class _Product(torch.autograd.Function):
    """As `MatMul4Bit` of bitsandbytes: dequantises forward and backward and keeps neither weight nor input."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, shape: tuple[int, int]) -> Tensor:
        ctx.shape = shape
        return nn.functional.linear(states, states.new_empty(shape))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ gradient.new_empty(ctx.shape), None


_product: Callable[[Tensor, tuple[int, int]], Tensor] = _Product.apply


@contextmanager
def gpu_attention(loaded: Loaded) -> Iterator[None]:
    """Let the model hold in the block what attention to documents of any length makes and keeps on a GPU."""
    with attention_function(loaded, "anukul_weightless", _attend, mask=None):
        yield


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    # the interface of transformers hands every attention function keywords of its own
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """`query` `[rows, heads, context, size]` to `[rows, context, heads, size]`."""
    rows, _, context, _ = query.shape
    states = [each.to(value.dtype).transpose(1, 2).flatten(0, 1).contiguous() for each in (query, key, value)]
    attended = _any_length(*states)
    return attended.view(rows, context, *attended.shape[1:]), None


class _AnyLength(torch.autograd.Function):
    """As torch's `varlen_attn`: keeps queries, keys, values, the result, and an fp32 sum for each query and head."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        attended = torch.empty_like(query)
        sums = torch.empty(query.shape[1], query.shape[0], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, attended, sums)
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = ctx.saved_tensors[:3]
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


_any_length: Callable[..., Tensor] = _AnyLength.apply
