"""Attention heads silenced while a block runs, by hooks alone: no weight is changed, and nothing stays behind.

A head that is to say nothing, or always the same, has its part of what enters the output projection replaced; a head
that is to look at all it sees alike has its queries set to zero. Both stand outside the attention function, so that
they hold in every way that a model is run: plain, padded, along a trie, with a KV cache, adapter on or off.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from anukul.errors import UserError
from anukul.model.attention import own_attention
from anukul.model.loaded import Loaded, attention_function, hidden_states, not_followed

NAME = "anukul_look"
How = Literal["zero", "uniform", "mean"]
OUTPUTS = ("o_proj", "out_proj", "dense", "c_proj", "wo")
# Projections to the queries of all heads, one after another; the fused ones go on with keys and values.
QUERIES = ("q_b_proj", "q_proj")
FUSED = ("qkv_proj", "c_attn")
INTERLEAVED = "query_key_value"  # query, key and value of a head, then those of the next
AGREE = 1e-3  # queries of heads that are not silenced, before and after, but for rounding
BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class _Seen:
    """One layer's attention as it ran: its module, the queries `[batch, heads, length, size]`, the size of outputs."""

    module: nn.Module
    query: Tensor
    size: int

    @property
    def heads(self) -> int:
        """How many heads attend."""
        return int(self.query.shape[1])


@contextmanager
def silenced(
    loaded: Loaded, heads: Sequence[tuple[int, int]], how: How, means: Tensor | None = None
) -> Iterator[None]:
    """Silence `heads`, (layer, head) from 0, in the block; before and after it the model scores bit for bit alike.

    `zero`: a head adds nothing; `uniform`: it attends to every token that it may see alike; `mean`: it always gives
    its mean output, from `means` `[layers, heads, size]` as `head_means` returns them for the same state of the model.
    Inside, `loaded.fingerprint` is another: no cache answers for the model as it was. Raises UserError for a head that
    there is not, and where a model's projections cannot be found or its queries cannot be silenced.
    """
    if (how == "mean") != (means is not None):
        raise ValueError("means go with how='mean', and only with it")
    layers = _look(loaded)
    chosen = _by_layer(layers, heads)
    name = loaded.fingerprint
    held: list[Any] = []
    try:
        for layer, numbers in chosen.items():
            if how == "uniform":
                held.append(_silence_queries(layers[layer], numbers))
            else:
                held.append(_replace(layers[layer], numbers, None if means is None else means[layer]))
        if how == "uniform" and chosen:
            _check_queries(layers, _look(loaded), chosen)
        loaded.fingerprint = _fingerprint(name, chosen, how, means)
        yield
    finally:
        loaded.fingerprint = name
        for handle in held:
            handle.remove()


@torch.inference_mode()
def head_means(loaded: Loaded, texts: Sequence[str]) -> Tensor:
    """Return the mean output of every head over the tokens of `texts`, `[layers, heads, size]` in fp32 on the CPU.

    Of the model in the state that it is in. A text longer than its window is cut there; the prefix is not counted.
    Raises UserError where no text has a token, or where layers differ in their heads.
    """
    tokenizer, prefix = loaded.tokenizer, loaded.prefix_id
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    rows = sorted(([prefix, *ids[: loaded.max_positions - 1]] for ids in encoded if ids), key=len)
    if not rows:
        raise UserError("probe: the texts that mean ablation is to be measured on have no tokens")
    layers = _look(loaded)
    heads, size = layers[min(layers)].heads, layers[min(layers)].size
    like = all((seen.heads, seen.size) == (heads, size) for seen in layers.values())
    if not like or sorted(layers) != list(range(len(layers))):
        raise UserError("probe: mean ablation needs the same number and size of heads in every layer")
    sums = torch.zeros(len(layers), heads * size, dtype=torch.float64, device=loaded.device)
    real: list[Tensor] = []  # of the batch that runs: which tokens count
    handles = [
        _output(seen).register_forward_pre_hook(_adder(sums[place], real))
        for place, (_, seen) in enumerate(sorted(layers.items()))
    ]
    try:
        for batch in _batches(rows):
            longest = len(batch[-1])
            ids = torch.tensor([row + [prefix] * (longest - len(row)) for row in batch], device=loaded.device)
            lengths = torch.tensor([len(row) for row in batch], device=loaded.device)
            place = torch.arange(longest, device=loaded.device)
            real[:] = [(place > 0) & (place < lengths[:, None])]
            with loaded.autocast():
                hidden_states(loaded, ids)
    finally:
        for handle in handles:
            handle.remove()
    count = sum(len(row) - 1 for row in rows)
    return (sums / count).float().view(len(layers), heads, size).cpu()


def _adder(into: Tensor, real: list[Tensor]) -> Callable[..., None]:
    """A hook that adds what enters an output projection, over the tokens that count."""

    def add(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        into.add_(args[0].double()[real[0]].sum(0))

    return add


def _batches(rows: Sequence[list[int]]) -> Iterator[Sequence[list[int]]]:
    """Cut rows, the shortest first, into batches of at most `BATCH_TOKENS` padded tokens."""
    start = 0
    while start < len(rows):
        stop = start + 1
        while stop < len(rows) and (stop + 1 - start) * len(rows[stop]) <= BATCH_TOKENS:
            stop += 1
        yield rows[start:stop]
        start = stop


@torch.inference_mode()
def _look(loaded: Loaded) -> dict[int, _Seen]:
    """Run a few tokens and return what attends in each layer."""
    attend, mask = own_attention(loaded)
    seen: dict[int, _Seen] = {}

    def look(module: nn.Module, query: Tensor, *states: Any, **more: Any) -> Any:
        unknown = [name for name in not_followed(more) if name != "softcap"]
        if unknown:
            raise UserError(f"probe: heads of attention with {', '.join(unknown)} cannot be silenced")
        output, weights = attend(module, query, *states, **more)
        seen[int(module.layer_idx)] = _Seen(module, query, int(output.shape[-1]))  # type: ignore[arg-type]
        return output, weights

    rows = int(loaded.causal_lm.config.get_text_config().vocab_size)
    ids = torch.arange(5, 12, device=loaded.device)[None] % rows
    training = loaded.model.training
    loaded.model.eval()
    try:
        with attention_function(loaded, NAME, look, mask), loaded.autocast():
            hidden_states(loaded, ids)
    finally:
        loaded.model.train(training)
    if not seen:
        name = type(loaded.causal_lm).__name__
        raise UserError(f"probe: the heads of {name} do not go through the attention interface")
    return seen


def _by_layer(layers: dict[int, _Seen], heads: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    """The heads to silence in each layer, ascending, each once."""
    chosen: dict[int, list[int]] = {}
    for layer, head in sorted({(int(layer), int(head)) for layer, head in heads}):
        if layer not in layers or not 0 <= head < layers[layer].heads:
            most = max(seen.heads for seen in layers.values())
            raise UserError(
                f"probe: there is no head {head} in layer {layer}; the model has layers {min(layers)} to "
                f"{max(layers)} with {most} heads each, counted from 0"
            )
        chosen.setdefault(layer, []).append(head)
    return chosen


def _output(seen: _Seen) -> nn.Module:
    """The projection that the outputs of all heads enter, one head after another."""
    return _child(seen, OUTPUTS, "what its heads say is put together")


def _child(seen: _Seen, names: Sequence[str], what: str) -> nn.Module:
    for name in names:
        found = getattr(seen.module, name, None)
        if isinstance(found, nn.Module):
            return found
    raise UserError(
        f"probe: heads of {type(seen.module).__name__} cannot be silenced: it is not known where {what} "
        f"(it has {', '.join(name for name, _ in seen.module.named_children())})"
    )


def _replace(seen: _Seen, heads: Sequence[int], means: Tensor | None) -> Any:
    """Hook the output projection: the parts of `heads` in its input become zero, or their `means` `[heads, size]`."""
    module = _output(seen)
    width = seen.heads * seen.size
    if means is not None and tuple(means.shape) != (seen.heads, seen.size):
        raise ValueError(f"means of shape {tuple(means.shape)} for {seen.heads} heads of size {seen.size}")
    where = _columns(heads, seen.size, seen.size, seen.query.device)
    values = None if means is None else means[list(heads)].flatten().to(where.device)

    def replace(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        states = args[0]
        _check_width(seen, states.shape[-1], width)
        if values is None:
            return (states.index_fill(-1, where, 0.0), *args[1:])
        put = values.to(states.dtype).expand(*states.shape[:-1], -1)
        return (states.index_copy(-1, where, put), *args[1:])

    return module.register_forward_pre_hook(replace)


def _silence_queries(seen: _Seen, heads: Sequence[int]) -> Any:
    """Hook what makes the queries: those of `heads` become zero."""
    size = int(seen.query.shape[-1])
    width = seen.heads * size
    module, step, whole = _child(seen, (*QUERIES, *FUSED, INTERLEAVED), "its queries are made"), size, width
    if module is getattr(seen.module, INTERLEAVED, None):
        step, whole = 3 * size, 3 * width
    norm = getattr(seen.module, "q_norm", None)
    scale = getattr(norm, "weight", None)
    # a norm over all heads together comes after the projection, and a zero before it would change the other heads
    if (
        isinstance(norm, nn.Module)
        and scale is not None
        and tuple(scale.shape) == (width,)
        and seen.heads > 1
    ):
        module = norm
    fused = module in (getattr(seen.module, name, None) for name in FUSED)
    where = _columns(heads, step, size, seen.query.device)

    def silence(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        if not fused:
            _check_width(seen, output.shape[-1], whole)
        return output.index_fill(-1, where, 0.0)

    return module.register_forward_hook(silence)


def _columns(heads: Sequence[int], step: int, size: int, device: torch.device) -> Tensor:
    """The columns of heads that begin `step` apart and are `size` wide."""
    begins = torch.tensor(list(heads), device=device) * step
    return (begins[:, None] + torch.arange(size, device=device)).flatten()


def _check_width(seen: _Seen, found: int, wanted: int) -> None:
    if found != wanted:
        raise UserError(
            f"probe: heads of {type(seen.module).__name__} cannot be silenced: {found} columns stand where "
            f"{seen.heads} heads have {wanted}"
        )


def _check_queries(before: dict[int, _Seen], after: dict[int, _Seen], chosen: dict[int, list[int]]) -> None:
    """Raise UserError unless the queries of the chosen heads are zero, and of their first layer no others changed."""
    for layer, heads in chosen.items():
        query = after[layer].query
        good = not bool(query[:, heads].any())
        if layer == min(chosen):  # what enters it is as before; later layers get other input
            kept = [head for head in range(query.shape[1]) if head not in heads]
            good &= torch.allclose(query[:, kept], before[layer].query[:, kept], rtol=AGREE, atol=AGREE)
        if not good:
            raise UserError(
                f"probe: the heads of {type(after[layer].module).__name__} cannot be made to attend evenly: its "
                "queries are made in a way that is not known; silence them with 'zero' or 'mean'"
            )


def _fingerprint(name: str, chosen: dict[int, list[int]], how: How, means: Tensor | None) -> str:
    """The name of the model with these heads silenced so."""
    hashed = hashlib.sha256(f"{name} {how} {sorted(chosen.items())}".encode())
    if means is not None:
        for layer, heads in sorted(chosen.items()):
            hashed.update(means[layer][heads].float().cpu().numpy().tobytes())
    return hashed.hexdigest()
