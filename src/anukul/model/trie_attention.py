"""Attention of trie nodes: a node sees its ancestors, in its slice and on the path that leads to the slice.

Trees are walked a slice of nodes at a time. The keys and values of the path to a slice are carried from slice to slice
by the attention function itself, so that any decoder that goes through the attention interface of transformers can be
walked, whatever its own cache is like. They stand in one place by depth: a slice writes its own behind them, and what
of it leads on is moved up. One predicate, `sees`, is the mask on every device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from anukul.errors import UserError
from anukul.model.loaded import Loaded, attention_function, not_followed

NAME = "anukul_trie"
# On a CPU, up to so many scores at once, two matrix products and a softmax beat the fused kernel with a mask.
PRODUCTS = 1 << 25
FLEX_DEVICES = {"cuda"}
State = tuple[Tensor, Tensor]  # keys and values, each [key_value_heads, tokens, size]


@dataclass(slots=True)
class Lane:
    """One tree's part of a forward. Node numbers are of the wave, so that no two trees share one."""

    nodes: Tensor  # [slice] int64, the new nodes
    ends: Tensor  # [slice] int64, one past the last descendant of each
    depths: Tensor  # [slice] int64
    path: Tensor  # [path] int64, the ancestors that came in earlier slices, by depth
    path_ends: Tensor  # [path] int64
    place: int  # where the tree's path stands among those of the wave; -1 where nothing leads to or from this slice
    stays: int  # how much of the path leads to the next slice
    moves: Tensor  # [next path - stays] int64, which of path + slice follow it there
    biases: dict[tuple[int | None, int], Tensor] = field(
        default_factory=dict
    )  # masks, made once for all layers


@dataclass(slots=True)
class Walk:
    """One forward over a slice of every tree; attention writes the paths' keys and values to `carried`, by layer."""

    lanes: list[Lane]
    carried: dict[int, State]
    room: int  # tokens of path and slice of all trees of the wave at most
    masks: dict[int | None, Any] = field(
        default_factory=dict
    )  # FlexAttention's block masks, by sliding window


def sees(query: Tensor, key: Tensor, key_end: Tensor) -> Tensor:
    """Whether a query node sees a key node: the key is the node itself or an ancestor of it."""
    return (key <= query) & (query < key_end)


@dataclass(slots=True)
class Heard:
    """What the model told its masks and its attention function while it walked a trie."""

    masked: set[int] = field(default_factory=set)  # windows and chunks that masks were to be made for
    windows: set[int] = field(default_factory=set)  # sliding windows that layers were given
    layers: set[int] = field(default_factory=set)  # layers that attended


@contextmanager
def trie_attention(loaded: Loaded) -> Iterator[Heard]:
    """Let the model attend along tries in the block; every forward must then be given its `Walk`."""
    heard = Heard()

    def attend(module: nn.Module, *states: Any, **more: Any) -> Any:
        heard.layers.add(int(module.layer_idx))  # type: ignore[arg-type]
        if more.get("sliding_window") is not None:
            heard.windows.add(more["sliding_window"])
        return _attend(module, *states, **more)

    def mask(*_: Any, local_size: int | None = None, **__: Any) -> None:
        if local_size is not None:
            heard.masked.add(local_size)

    with attention_function(loaded, NAME, attend, mask):
        yield heard


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    layout: Walk | None = None,
    sliding_window: int | None = None,
    # the interface of transformers hands every attention function keywords of its own
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function: `query` `[1, heads, tokens, size]`, lane after lane, to `[1, tokens, heads, size]`."""
    unknown = not_followed(kwargs)
    if unknown or layout is None:
        raise UserError(f"attention with {', '.join(unknown) or 'no layout'} does not follow a trie")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    # rotary embeddings leave queries and keys in fp32 where autocast gives the values in bf16
    query, key = query[0].to(value.dtype), key[0].to(value.dtype)
    together = query.device.type in FLEX_DEVICES
    shape = (query.shape[1], query.shape[0], value.shape[-1])
    output = torch.empty(shape, dtype=value.dtype, device=query.device)
    states: list[State] = []
    start = 0
    with torch.autocast(query.device.type, enabled=False):
        if layer not in layout.carried and layout.room:
            # one block for all trees: many small ones would leave the memory in pieces
            layout.carried[layer] = (
                key.new_empty(key.shape[0], layout.room, key.shape[2]),
                value.new_empty(value.shape[1], layout.room, value.shape[3]),
            )
        for lane in layout.lanes:
            stop = start + len(lane.nodes)
            new = key[:, start:stop], value[0, :, start:stop]
            keys, values = new if lane.place < 0 else _joined(lane, layout.carried[layer], new)
            if together:
                states.append((keys, values))
            else:
                output[start:stop] = _lane(query[:, start:stop], keys, values, lane, scale, sliding_window)
            start = stop
        if together:
            output = _flex(query, states, layout, scale, sliding_window)
        for lane in layout.lanes:
            if len(lane.moves):
                first = lane.place + lane.stays
                for held in layout.carried[layer]:
                    held[:, first : first + len(lane.moves)] = held[:, lane.place + lane.moves]
    return output.unsqueeze(0), None


def _joined(lane: Lane, carried: State, new: State) -> State:
    """Write a slice's keys and values behind those of its path; return both together."""
    behind = lane.place + len(lane.path)
    stop = behind + len(lane.nodes)
    for held, states in zip(carried, new, strict=True):
        held[:, behind:stop] = states
    keys, values = carried
    return keys[:, lane.place : stop], values[:, lane.place : stop]


def _flex(query: Tensor, states: list[State], walk: Walk, scale: float, window: int | None) -> Tensor:
    """Attention of all lanes at once with FlexAttention; the block mask is made once for all layers of a forward."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    keys = torch.cat([state[0] for state in states], 1)
    values = torch.cat([state[1] for state in states], 1)
    if window not in walk.masks:
        lanes = walk.lanes
        asking = torch.cat([lane.nodes for lane in lanes])
        nodes = torch.cat([part for lane in lanes for part in (lane.path, lane.nodes)])
        ends = torch.cat([part for lane in lanes for part in (lane.path_ends, lane.ends)])
        depth = torch.cat([lane.depths for lane in lanes])
        key_depth = torch.cat(
            [
                part
                for lane in lanes
                for part in (torch.arange(len(lane.path), device=depth.device), lane.depths)
            ]
        )

        def predicate(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            seen = sees(asking[q], nodes[k], ends[k])
            return seen if window is None else seen & (depth[q] - key_depth[k] < window)

        walk.masks[window] = create_block_mask(
            predicate, None, None, len(asking), len(nodes), device=query.device.type
        )
    attend: Any = (
        torch.compile(flex_attention, dynamic=True) if query.device.type == "cuda" else flex_attention
    )
    grouped = query.shape[0] != keys.shape[0]
    found: Tensor = attend(
        query[None], keys[None], values[None], block_mask=walk.masks[window], scale=scale, enable_gqa=grouped
    )
    return found[0].transpose(0, 1)


def _lane(query: Tensor, key: Tensor, value: Tensor, lane: Lane, scale: float, window: int | None) -> Tensor:
    """Attention of a lane, `[heads, slice, size]` over `[key_value_heads, path + slice, size]`, slice first."""
    heads, length, size = query.shape
    shared = heads // key.shape[0]
    bias = _bias(lane, window, shared, query.dtype)
    if query.device.type == "cpu" and key.shape[0] * bias.numel() <= PRODUCTS:
        # heads that share a key head stand together: their queries are rows of one product
        grouped = query.reshape(key.shape[0], shared * length, size)
        scores = torch.baddbmm(bias, grouped, key.transpose(1, 2), alpha=scale)
        found = (scores.softmax(-1) @ value).view(heads, length, value.shape[-1])
    else:
        found = functional.scaled_dot_product_attention(
            query[None], key[None], value[None], attn_mask=bias[:length], scale=scale, enable_gqa=shared > 1
        )[0]
    return found.transpose(0, 1)


def _bias(lane: Lane, window: int | None, shared: int, dtype: torch.dtype) -> Tensor:
    """The lane's mask as a bias, `[shared * slice, path + slice]`: 0 where a node sees a key, else minus infinity."""
    key = (window, shared)
    if key not in lane.biases:
        nodes, ends = torch.cat([lane.path, lane.nodes]), torch.cat([lane.path_ends, lane.ends])
        seen = sees(lane.nodes[:, None], nodes, ends)
        if window is not None:
            depths = torch.cat([torch.arange(len(lane.path), device=nodes.device), lane.depths])
            seen &= lane.depths[:, None] - depths < window
        bias = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))
        lane.biases[key] = bias.repeat(shared, 1) if shared > 1 else bias
    return lane.biases[key]
