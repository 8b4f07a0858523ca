"""Attention of packed rows, one document at a time: the documents are taken out of their rows, attended, put back.

A packed row holds many short documents. A mask over the whole row makes attention pay for the square of the row and
then throw most of it away; here documents of like length stand together in a padded batch and attention is plainly
causal, which needs no mask: what pads a document comes after it, and nobody looks ahead. On CUDA in half precision a
kernel for documents of any length takes the rows as they lie.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from anukul.errors import UserError
from anukul.model.loaded import Loaded, attention_function, not_followed

NAME = "anukul_documents"
# On a CPU, two matrix products and a softmax beat the fused kernel up to about this length (docs/decisions/0005).
SHORT = 512
_SHORTEST_BUCKET = 32


@dataclass(frozen=True, slots=True)
class Documents:
    """Where the documents of packed rows lie, and where they stand when laid out for attention.

    `buckets` are (documents, padded length); the cells of the buckets, one after another, are the laid out cells.
    """

    buckets: tuple[tuple[int, int], ...]
    source: Tensor  # [laid out cells] int64: the packed cell that each is read from; any cell for padding
    padding: Tensor  # [laid out cells, 1] bool
    place: Tensor  # [packed cells] int64: the laid out cell of each
    ends: Tensor  # [documents + 1] int32: 0, then the packed cell after each document
    longest: int  # tokens of the longest document

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "Documents":
        """Lay out documents whose `lengths` in tokens follow one another through the packed rows without a gap."""
        starts = np.cumsum([0, *lengths[:-1]])
        classes: dict[int, list[int]] = {}
        for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
            size = max(_SHORTEST_BUCKET, 1 << (lengths[index] - 1).bit_length())
            classes.setdefault(size, []).append(index)
        buckets, source = [], []
        for members in classes.values():
            longest = lengths[members[-1]]
            cells = np.arange(longest)[None, :]
            source.append(
                np.where(
                    cells < np.array([lengths[i] for i in members])[:, None],
                    starts[members][:, None] + cells,
                    -1,
                ).reshape(-1)
            )
            buckets.append((len(members), longest))
        joined = np.concatenate(source)
        place = np.empty(int(sum(lengths)), np.int64)
        place[joined[joined >= 0]] = np.flatnonzero(joined >= 0)
        return cls(
            tuple(buckets),
            torch.from_numpy(joined.clip(min=0)).to(device),
            torch.from_numpy(joined < 0).unsqueeze(1).to(device),
            torch.from_numpy(place).to(device),
            torch.from_numpy(np.cumsum([0, *lengths]).astype(np.int32)).to(device),
            max(lengths),
        )

    def each(self, change: Callable[[Tensor], Tensor]) -> "Documents":
        """The same with every tensor changed, such as moved."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {n: change(v) for n, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **changed)


@contextmanager
def packed_attention(loaded: Loaded, compiled: bool = False) -> Iterator[None]:
    """Let the model attend within documents in the block; every forward must then be given its `Documents`.

    With `compiled` parts of the layers attention stays outside what is compiled: its shapes differ in every batch.
    """
    attend: Callable[..., Any] = _attend
    if compiled:
        attend = torch.compiler.disable(_attend)  # type: ignore[no-untyped-call]  # torch's decorator
    with attention_function(loaded, NAME, attend, mask=None):
        yield


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    layout: Documents | None = None,
    sliding_window: int | None = None,
    # the interface of transformers hands every attention function keywords of its own
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function: `query` `[rows, heads, context, size]` to `[rows, context, heads, size]`."""
    unknown = not_followed(kwargs)
    if unknown or dropout:
        raise UserError(
            f"train: this base's attention uses {', '.join(unknown) or 'dropout'}, not supported yet"
        )
    if layout is None:
        raise RuntimeError(f"{type(module).__name__} did not hand `layout` to its attention function")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    rows, _, context, _ = query.shape
    # rotary embeddings leave queries and keys in fp32 where autocast gives the values in bf16
    query, key = query.to(value.dtype), key.to(value.dtype)
    with torch.autocast(query.device.type, enabled=False):
        if takes_any_length(query.device, query.dtype):
            packed = _as_they_lie(query, key, value, layout, scale, sliding_window)
            return packed.view(rows, context, *packed.shape[1:]), None
        laid = [_lay_out(_by_cell(states), layout) for states in (query, key, value)]
        attended, start = [], 0
        for count, length in layout.buckets:
            cells = slice(start, start + count * length)
            parts = [states[cells].view(count, length, *states.shape[1:]).transpose(1, 2) for states in laid]
            attended.append(
                _causal(parts[0], parts[1], parts[2], scale, sliding_window).transpose(1, 2).flatten(0, 1)
            )
            start = cells.stop
        packed = _put_back(torch.cat(attended), layout)
    return packed.view(rows, context, *packed.shape[1:]), None


def takes_any_length(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch's kernel for documents of any length runs here: FlashAttention, from Ampere on."""
    return (
        device.type == "cuda"
        and dtype in (torch.float16, torch.bfloat16)
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and _has_varlen()
    )


@cache
def _has_varlen() -> bool:
    """Whether this torch has the kernel, with windows and shared key heads: 2.13 has, 2.6 does not."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return {"scale", "window_size", "enable_gqa"}.issubset(inspect.signature(varlen_attn).parameters)


def _as_they_lie(
    query: Tensor, key: Tensor, value: Tensor, layout: Documents, scale: float, window: int | None
) -> Tensor:
    """Causal attention within the documents without laying them out; `[packed cells, heads, size]`."""
    from torch.nn.attention.varlen import varlen_attn

    attended = varlen_attn(
        _by_cell(query).contiguous(),
        _by_cell(key).contiguous(),
        _by_cell(value).contiguous(),
        layout.ends,
        layout.ends,
        layout.longest,
        layout.longest,
        scale=scale,
        # tokens seen to the left beside oneself, and none to the right
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=key.shape[1] != query.shape[1],
    )
    assert isinstance(attended, Tensor)  # a pair only where more is asked for
    return attended


def _by_cell(states: Tensor) -> Tensor:
    """`[rows, heads, context, size]` to `[packed cells, heads, size]`."""
    return states.transpose(1, 2).flatten(0, 1)


class _LayOut(torch.autograd.Function):
    """`[packed cells, ...]` to `[laid out cells, ...]`; a gather both ways: no order of sums is left to chance."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, documents: Documents) -> Tensor:
        ctx.documents = documents
        return packed.index_select(0, documents.source)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.documents.place), None


class _PutBack(torch.autograd.Function):
    """`[laid out cells, ...]` to `[packed cells, ...]`; padding receives no gradient."""

    @staticmethod
    def forward(ctx: Any, laid: Tensor, documents: Documents) -> Tensor:
        ctx.documents = documents
        return laid.index_select(0, documents.place)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        laid = gradient.index_select(0, ctx.documents.source)
        return laid.masked_fill_(ctx.documents.padding.unsqueeze(-1), 0.0), None


_lay_out: Callable[[Tensor, Documents], Tensor] = _LayOut.apply
_put_back: Callable[[Tensor, Documents], Tensor] = _PutBack.apply


def _causal(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
    """Causal attention of `[documents, heads, length, size]`, over the last `window` tokens where there is one."""
    documents, heads, length, size = query.shape
    windowed = window is not None and window < length
    short = query.device.type == "cpu" and length <= SHORT
    if not short and not windowed:
        return functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, enable_gqa=key.shape[1] != heads
        )
    seen = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    if windowed:
        seen = seen.triu(1 - (window or 0))
    if not short:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, scale=scale, enable_gqa=key.shape[1] != heads
        )
    bias = torch.zeros(length, length, dtype=query.dtype, device=query.device).masked_fill_(
        ~seen, float("-inf")
    )
    shared = heads // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    flat = (documents * heads, length, size)
    scores = torch.baddbmm(bias, query.reshape(flat), key.reshape(flat).transpose(1, 2), alpha=scale)
    return (scores.softmax(-1) @ value.reshape(flat)).view(documents, heads, length, size)
