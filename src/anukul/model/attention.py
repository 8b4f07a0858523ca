"""Attention seen from inside the attention function, only for the rows asked for, summed to words.

The model runs its ordinary SDPA kernel, whose output is passed on untouched; beside it the probabilities of
the wanted query rows are computed from the same queries and keys. Memory grows with rows x length of one
chunk, never with the square of the length, and nothing is left on the model.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from anukul.errors import UserError
from anukul.model.loaded import Loaded, attention_function, not_followed

NAME = "anukul_capture"
CHUNK_ELEMENTS = 1 << 25  # probabilities held at once: 128 MiB in fp32
Receive = Callable[[int, Tensor, Tensor], None]


@dataclass(slots=True)
class Capture:
    """What to see in a batch, and who gets it.

    `rows` is `[batch, rows]`: the query tokens, padded with any valid position. `word_of` is `[batch,
    length]`: the word of each token, -1 for none. `receive(layer, words, first)` is called once per layer
    with fp32 `words` `[batch, heads, rows, word_count]`, attention summed over each word's tokens, and
    `first` `[batch, heads, rows]`, attention on position 0.
    """

    rows: Tensor
    word_of: Tensor
    word_count: int
    receive: Receive


_active: ContextVar[Capture | None] = ContextVar("anukul_active_capture", default=None)


@contextmanager
def capturing(loaded: Loaded, capture: Capture) -> Iterator[None]:
    """Let `capture` see every forward of `loaded` in the block; afterwards the model is as it was."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    before = loaded.causal_lm.config._attn_implementation
    if before != "sdpa":
        raise UserError(f"probe: the base runs '{before}' attention; only 'sdpa' can be captured")
    token = _active.set(capture)
    try:
        with attention_function(loaded, NAME, _attend, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]):
            yield
    finally:
        _active.reset(token)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    # the interface of transformers hands every attention function keywords of its own
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function: SDPA's output, and the wanted rows to the active capture."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    capture = _active.get()
    if capture is not None:
        unseen = not_followed(kwargs)
        if unseen:
            raise UserError(
                f"probe: this base's attention uses {', '.join(unseen)}, which cannot be captured yet"
            )
        with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
            scale = scaling if scaling is not None else query.shape[-1] ** -0.5
            words, first = word_attention(query, key, attention_mask, scale, capture)
            capture.receive(int(module.layer_idx), words, first)  # type: ignore[arg-type]
    output, _ = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
    )
    return output, None


def word_attention(
    query: Tensor, key: Tensor, mask: Tensor | None, scale: float, capture: Capture
) -> tuple[Tensor, Tensor]:
    """Return attention of the wanted rows on words `[batch, heads, rows, word_count]` and on position 0.

    `query` is `[batch, heads, length, size]`, `key` `[batch, key_value_heads, length, size]`; `mask` is None
    for plain causal attention, else boolean (True: seen) or additive, `[batch or 1, 1, length, length]`.
    """
    batch, heads, _, size = query.shape
    shared, length = key.shape[1], key.shape[2]
    rows = capture.rows.shape[1]
    belongs = torch.zeros(batch, length, capture.word_count + 1, device=key.device)
    # column 0 collects the tokens of no word and is dropped
    belongs.scatter_(2, (capture.word_of + 1).unsqueeze(2), 1.0)
    belongs = belongs[:, None, :, 1:]
    keys = key.float().transpose(2, 3)
    words = torch.empty(batch, heads, rows, capture.word_count, device=key.device)
    first = torch.empty(batch, heads, rows, device=key.device)
    step = max(1, CHUNK_ELEMENTS // (batch * heads * length))
    for start in range(0, rows, step):
        wanted = capture.rows[:, start : start + step]
        count = wanted.shape[1]
        index = wanted[:, None, :, None].expand(batch, heads, count, size)
        # grouped-query attention: the heads that share a key head stand together
        chosen = query.gather(2, index).float().reshape(batch, shared, -1, size)
        scores = (chosen @ keys).mul_(scale).reshape(batch, heads, count, length)
        _hide(scores, wanted, mask)
        probabilities = scores.softmax(-1)
        words[:, :, start : start + count] = probabilities @ belongs
        first[:, :, start : start + count] = probabilities[..., 0]
    return words, first


def _hide(scores: Tensor, wanted: Tensor, mask: Tensor | None) -> None:
    """Set the scores `[batch, heads, rows, length]` of what a row may not see to minus infinity, in place."""
    if mask is None:
        later = torch.arange(scores.shape[-1], device=scores.device) > wanted.unsqueeze(-1)
        scores.masked_fill_(later.unsqueeze(1), float("-inf"))
        return
    index = wanted[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[-1])
    seen = mask.expand(wanted.shape[0], -1, -1, -1).gather(2, index)
    if mask.dtype == torch.bool:
        scores.masked_fill_(~seen, float("-inf"))
    else:
        scores.add_(seen)
