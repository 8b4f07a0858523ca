"""Attention seen from inside the attention function, only for the rows asked for, summed to words.

The model attends by its ordinary function, whose output is passed on untouched; beside it the probabilities of the
wanted query rows are computed from the same queries and keys, a chunk of rows at a time. Memory grows with the length
and never with its square, and nothing is left on the model.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from anukul.errors import UserError
from anukul.model.loaded import Loaded, attention_function, not_followed

NAME = "anukul_capture"
# Probabilities held at once: on a CPU 4 MiB in fp32, which stay in its caches.
CHUNK_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 25}
PREFIXES = 8  # lengths at which the keys are cut off that no row of a chunk can see
Receive = Callable[[int, int, Tensor, Tensor], None]
Ints = NDArray[np.int64]


@dataclass(slots=True)
class Capture:
    """What to see in a batch, and who gets it.

    `rows` is `[batch, rows]`: the query tokens, fastest in ascending order, padded with any valid position. `word_of`
    is `[batch, length]`: the word of each token, -1 for none. `receive(layer, start, words, first)` is called in every
    layer for one chunk of rows after another, those from `start` on: fp32 `words` `[batch, heads, rows of the chunk,
    words]`, attention summed over each word's tokens, up to the last word that one of these rows can see, and `first`
    `[batch, heads, rows of the chunk]`, attention on position 0. After layer `last` the forward ends where it is.
    """

    rows: Tensor
    word_of: Tensor
    receive: Receive
    last: int | None = None
    _plans: dict[tuple[int, int], "_Plan"] = field(default_factory=dict, init=False)

    def plan(self, heads: int, shared: int) -> "_Plan":
        """How a layer of so many heads and key heads is taken; made once for all layers."""
        if (heads, shared) not in self._plans:
            self._plans[heads, shared] = _plan(self, heads, shared)
        return self._plans[heads, shared]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Chunks of rows, and how the keys that each can see are summed to words.

    `chunks` are (first row, one past the last, keys that any of them sees, keys that all of them see). `bags` has for
    each number of keys that are seen the tokens in the order of their words, where each word begins among these, and
    how many words there are.
    """

    chunks: list[tuple[int, int, int, int]]
    bags: dict[int, tuple[Tensor, Tensor, int]]


class _Enough(Exception):  # noqa: N818  it is no error: the forward has given what was wanted of it
    """Ends a forward whose last wanted layer has been seen."""


@contextmanager
def capturing(loaded: Loaded, capture: Capture) -> Iterator[None]:
    """Let `capture` see the forward of `loaded` in the block; afterwards the model is as it was.

    The block ends with the forward's layer `capture.last`, where one is given.
    """
    attend, make_mask = own_attention(loaded)

    def seeing(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **more: Any
    ) -> Any:
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        _see(capture, layer, query, key, mask, more)
        if layer == capture.last:
            raise _Enough
        return attend(module, query, key, value, mask, **more)

    try:
        with attention_function(loaded, NAME, seeing, make_mask):
            yield
    except _Enough:
        return


def own_attention(loaded: Loaded) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the attention function that the model runs, and what makes the masks for it.

    Raises UserError where that is neither SDPA nor the eager attention of the model's own module.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    name = loaded.causal_lm.config._attn_implementation
    if name not in ("sdpa", "eager"):
        raise UserError(
            f"probe: the base runs '{name}' attention; only 'sdpa' and 'eager' can be looked into"
        )
    attend = sdpa_attention_forward if name == "sdpa" else _eager
    return attend, ALL_MASK_ATTENTION_FUNCTIONS[name]


def _eager(module: nn.Module, *states: Any, **more: Any) -> Any:
    """The eager attention that stands beside the module in the library."""
    return sys.modules[type(module).__module__].eager_attention_forward(module, *states, **more)


def _see(
    capture: Capture, layer: int, query: Tensor, key: Tensor, mask: Tensor | None, more: dict[str, Any]
) -> None:
    """Give the wanted rows of a layer to the capture."""
    unseen = [name for name in not_followed(more) if name != "softcap"]
    if unseen:
        raise UserError(f"probe: this base's attention uses {', '.join(unseen)}, which cannot be captured")
    scale = more["scaling"] if more.get("scaling") is not None else query.shape[-1] ** -0.5
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
        for start, words, first in word_attention(query, key, mask, scale, capture, more.get("softcap")):
            capture.receive(layer, start, words, first)


def word_attention(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    scale: float,
    capture: Capture,
    softcap: float | None = None,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield (start, words, first) as `Capture` describes them, for every chunk of the wanted rows.

    `query` is `[batch, heads, length, size]`, `key` `[batch, key_value_heads, length, size]`; `mask` is None for plain
    causal attention, else boolean (True: seen) or additive, `[batch or 1, heads or 1, length, length]`; it may hide
    more than causality does, not less.
    """
    batch, heads, length, size = query.shape
    shared = key.shape[1]
    group = heads // shared
    plan = capture.plan(heads, shared)
    asking = query.transpose(1, 2).reshape(batch * length, heads, size)
    keys = key.float().reshape(batch * shared, length, size)
    offset = torch.arange(0, batch * length, length, device=query.device).unsqueeze(1)
    for start, stop, seen, clear in plan.chunks:
        wanted = capture.rows[:, start:stop]
        count = stop - start
        chosen = asking.index_select(0, (wanted + offset).flatten()).float().mul_(scale)
        # grouped-query attention: the heads that share a key head are columns of one product
        chosen = chosen.view(batch, count, shared, group, size).permute(0, 2, 4, 3, 1)
        scores = torch.bmm(keys[:, :seen], chosen.reshape(batch * shared, size, group * count))
        if softcap is not None:
            scores.div_(softcap).tanh_().mul_(softcap)
        _hide(scores.view(batch, shared, seen, group, count), wanted, clear, mask)
        # [batch * shared, keys, group * count]: keys stand above one another, so that a word is a sum of lines
        probabilities = scores.softmax(1)
        tokens, begins, words = plan.bags[seen]
        lines = probabilities.view(batch * shared * seen, group * count)
        summed = functional.embedding_bag(tokens, lines, begins, mode="sum")
        found = summed.view(batch, shared, words, group, count).permute(0, 1, 3, 4, 2)
        first = probabilities.view(batch, shared, seen, group, count)[:, :, 0]
        yield start, found.reshape(batch, heads, count, words), first.reshape(batch, heads, count)


def _hide(scores: Tensor, wanted: Tensor, clear: int, mask: Tensor | None) -> None:
    """Set the scores `[batch, shared, keys, group, rows]` of what a row may not see to minus infinity, in place.

    Causality hides none of the first `clear` keys from any row.
    """
    _, shared, keys, group, _ = scores.shape
    if mask is None:
        later = torch.arange(clear, keys, device=scores.device).unsqueeze(1) > wanted.unsqueeze(1)
        scores[:, :, clear:].masked_fill_(later[:, None, :, None], float("-inf"))
        return
    index = wanted[:, None, :, None].expand(-1, mask.shape[1], -1, keys)
    seen = mask[..., :keys].expand(wanted.shape[0], -1, -1, -1).gather(2, index)
    parts = (shared, group) if seen.shape[1] > 1 else (1, 1)
    seen = seen.view(-1, *parts, *seen.shape[2:]).permute(0, 1, 4, 2, 3)
    if mask.dtype == torch.bool:
        scores.masked_fill_(~seen, float("-inf"))
    else:
        scores.add_(seen)


def _plan(capture: Capture, heads: int, shared: int) -> _Plan:
    """Cut the rows into chunks of `CHUNK_ELEMENTS`, each with the keys up to the last that its rows can see."""
    device = capture.rows.device
    rows, word_of = capture.rows.cpu().numpy(), capture.word_of.cpu().numpy()
    batch, length = word_of.shape
    step = max(1, CHUNK_ELEMENTS.get(device.type, 1 << 25) // (batch * heads * length))
    # few lengths, so that the bags of all of them together are no more than a few times the length
    unit = -(-length // PREFIXES)
    chunks: list[tuple[int, int, int, int]] = []
    bags: dict[int, tuple[Tensor, Tensor, int]] = {}
    for start in range(0, rows.shape[1], step):
        stop = min(start + step, rows.shape[1])
        here = rows[:, start:stop]
        seen = min(length, (int(here.max()) // unit + 1) * unit)
        chunks.append((start, stop, seen, int(here.min()) + 1))
        if seen not in bags:
            tokens, begins, words = _bags(word_of[:, :seen], shared)
            bags[seen] = (torch.from_numpy(tokens).to(device), torch.from_numpy(begins).to(device), words)
    return _Plan(chunks, bags)


def _bags(word_of: Ints, shared: int) -> tuple[Ints, Ints, int]:
    """Return tokens, where each word begins among them, and the number of words, for `word_of` `[batch, keys]`.

    A token's number is that of its line: sentence after sentence, in each the keys once for every key head.
    """
    batch, keys = word_of.shape
    words = max(1, int(word_of.max()) + 1)
    sentence, token = np.nonzero(word_of >= 0)
    word = word_of[sentence, token]
    block = sentence[:, None] * shared + np.arange(shared)
    order = np.lexsort((np.repeat(token, shared), np.repeat(word, shared), block.ravel()))
    lines = (block * keys + token[:, None]).ravel()[order]
    counts = np.bincount(sentence * words + word, minlength=batch * words).reshape(batch, words)
    sizes = np.repeat(counts, shared, axis=0).ravel()
    return lines, np.cumsum(sizes) - sizes, words
