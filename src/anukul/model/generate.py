"""Generation in batches, greedy or sampled, with stop strings, by the model's own KV cache.

What a row gets does not depend on the rows beside it: a sampled row draws its random numbers from a generator of its
own, so that the same seed gives the same text whatever the batch (up to the rounding of the compute dtype).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from anukul.errors import UserError
from anukul.model.loaded import Loaded

SEED = 1234  # of texts that are sampled for a task, which names none; lm-eval's own
LOOK_BACK = (
    8  # tokens decoded beyond the bytes of a stop string: pieces that decode to nothing, such as a bare space
)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample: softmax of logits / temperature, cut to the `top_k` likeliest, of them to the mass `top_p`."""

    temperature: float
    top_p: float
    seeds: tuple[int, ...]  # one for each prompt
    top_k: int = 0  # 0: all tokens


@dataclass(frozen=True, slots=True)
class Generated:
    """A continuation: its text up to the first stop string, the tokens made for it, and how it came to its end."""

    text: str
    tokens: int  # what the model made, its end token left out
    end: Literal["ended", "stopped", "cut"]  # by the end token, by a stop string, by the limit of tokens


def generate_greedy(
    loaded: Loaded, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop: Sequence[str] = ()
) -> list[str]:
    """Continue token-id prompts greedily; return each text up to its first stop string."""
    return [made.text for made in generate(loaded, prompts, max_new_tokens, stop)]


def generate(
    loaded: Loaded,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: Sequence[str] = (),
    sampling: Sampling | None = None,
) -> list[Generated]:
    """Continue token-id prompts as one left-padded batch, greedily or as `sampling` says.

    A prompt that leaves no room for `max_new_tokens` in the model's window loses its start, as in lm-eval. A batch that
    does not fit in memory is halved until it does. Raises UserError where one prompt alone does not fit, and ValueError
    for an empty prompt or a limit that is not less than the window.
    """
    if not prompts:
        return []
    room = loaded.max_positions - max_new_tokens
    if room < 1 or max_new_tokens < 1:
        raise ValueError(
            f"max_new_tokens {max_new_tokens} must be at least 1 and less than the window {loaded.max_positions}"
        )
    if not all(prompts):
        raise ValueError("an empty prompt cannot be continued: give it the token that starts a text")
    if sampling is not None and len(sampling.seeds) != len(prompts):
        raise ValueError(f"{len(sampling.seeds)} seeds for {len(prompts)} prompts")
    cut = [list(prompt)[-room:] for prompt in prompts]
    return _halving(loaded, cut, max_new_tokens, tuple(mark for mark in stop if mark), sampling)


def _halving(
    loaded: Loaded, prompts: list[list[int]], limit: int, stop: tuple[str, ...], sampling: Sampling | None
) -> list[Generated]:
    """Generate a batch; on lack of memory its halves."""
    try:
        return _generate(loaded, prompts, limit, stop, sampling)
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error).lower():
            raise
        if len(prompts) == 1:
            raise UserError(
                f"continuing one prompt of {len(prompts[0])} tokens by {limit} does not fit in the memory of "
                f"{loaded.device}; lower max_new_tokens, or use a smaller base or nf4"
            ) from None
    if loaded.device.type == "cuda":
        torch.cuda.empty_cache()
    made: list[Generated] = []
    half = (len(prompts) + 1) // 2
    for first in (0, half):
        rows = slice(first, first + half)
        part = replace(sampling, seeds=sampling.seeds[rows]) if sampling is not None else None
        made += _halving(loaded, prompts[rows], limit, stop, part)
    return made


def _generate(
    loaded: Loaded, prompts: list[list[int]], limit: int, stop: tuple[str, ...], sampling: Sampling | None
) -> list[Generated]:
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    tokenizer = loaded.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, prompt in enumerate(prompts):
        ids[number, width - len(prompt) :] = torch.tensor(prompt)
        mask[number, width - len(prompt) :] = 1
    ends = end_tokens(loaded)
    # A configuration of our own, so that sampling defaults shipped with a base do not leak in. Sampling too is greedy
    # to the library: `_Sampler` picks the token and leaves it as the only one.
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=limit,
        pad_token_id=pad,
        eos_token_id=sorted(ends) or None,
        bos_token_id=tokenizer.bos_token_id,
    )
    stopping: Any = (
        StoppingCriteriaList([_StopStrings(tokenizer, stop, width, len(prompts))]) if stop else None
    )
    picking: Any = LogitsProcessorList([_Sampler(sampling, width, limit)]) if sampling is not None else None
    training = loaded.model.training
    loaded.model.eval()
    try:
        with torch.inference_mode(), loaded.autocast():
            output = loaded.causal_lm.generate(
                ids.to(loaded.device),
                attention_mask=mask.to(loaded.device),
                generation_config=settings,
                stopping_criteria=stopping,
                logits_processor=picking,
            )
    finally:
        loaded.model.train(training)
    return [_read(tokenizer, row, ends, stop) for row in output[:, width:].tolist()]


def seed_of(prompt: Sequence[int], repeat: int) -> int:
    """Return the seed of a prompt's `repeat`th text: of its tokens alone, whatever is asked for beside it."""
    text = f"{SEED}\t{repeat}\t{' '.join(map(str, prompt))}"
    return int.from_bytes(hashlib.sha256(text.encode("ascii")).digest()[:8], "big") >> 1


def end_tokens(loaded: Loaded) -> set[int]:
    """The tokens that end a text: the tokenizer's, and those that the base's generation settings name."""
    held: Any = getattr(loaded.causal_lm, "generation_config", None)
    named = getattr(held, "eos_token_id", None)
    ends = {int(token) for token in (named if isinstance(named, list) else [named]) if token is not None}
    if loaded.tokenizer.eos_token_id is not None:
        ends.add(int(loaded.tokenizer.eos_token_id))
    return ends


def _read(tokenizer: Any, row: list[int], ends: set[int], stop: tuple[str, ...]) -> Generated:
    """Read one row of new tokens; what stands after its end token or its stop string is padding."""
    size = next((place for place, token in enumerate(row) if token in ends), len(row))
    text = str(tokenizer.decode(row[:size], skip_special_tokens=True))
    kept = _cut(text, stop)
    if kept != text:
        size = _tokens_until_stop(tokenizer, row[:size], stop)
        return Generated(kept, size, "stopped")
    return Generated(text, size, "ended" if size < len(row) else "cut")


def _tokens_until_stop(tokenizer: Any, row: list[int], stop: tuple[str, ...]) -> int:
    """Return how many tokens it takes until a stop string stands in the text: the rest may be padding."""
    low, high = 1, len(row)
    while low < high:
        middle = (low + high) // 2
        text = tokenizer.decode(row[:middle], skip_special_tokens=True)
        if any(mark in text for mark in stop):
            high = middle
        else:
            low = middle + 1
    return low


class _StopStrings:
    """Ends a row once a stop string stands in what was generated for it; only the last tokens are decoded."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], width: int, rows: int) -> None:
        self.tokenizer = tokenizer
        self.stop = list(stop)
        self.width = width
        # a token that decodes to anything holds a byte at least
        self.tail = max(len(mark.encode("utf-8")) for mark in stop) + LOOK_BACK
        self.done = torch.zeros(rows, dtype=torch.bool)

    def __call__(self, ids: Tensor, scores: Any, **_: Any) -> Tensor:
        for row in torch.nonzero(~self.done).flatten().tolist():
            tail = ids[row, self.width :][-self.tail :].tolist()
            text = self.tokenizer.decode(tail, skip_special_tokens=True)
            self.done[row] = any(mark in text for mark in self.stop)
        return self.done.to(ids.device)


class _Sampler:
    """Picks each row's next token by inverting its distribution at the row's own uniform number for that step."""

    def __init__(self, sampling: Sampling, width: int, limit: int) -> None:
        self.sampling = sampling
        self.width = width
        rows = []
        for seed in sampling.seeds:
            generator = torch.Generator().manual_seed(seed)  # on the CPU: the same numbers on every device
            rows.append(torch.rand(limit, generator=generator, dtype=torch.float64))
        self.uniforms = torch.stack(rows)  # [rows, steps]

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        drawn = self.uniforms[:, ids.shape[1] - self.width].to(scores.device)
        picked = pick(scores, drawn, self.sampling.temperature, self.sampling.top_p, self.sampling.top_k)
        alone = torch.full_like(scores, -torch.inf)
        return alone.scatter(1, picked[:, None], 0.0)


def pick(scores: Tensor, uniforms: Tensor, temperature: float, top_p: float, top_k: int = 0) -> Tensor:
    """Return the token `[rows]` at `uniforms` `[rows]` of each row's nucleus; `scores` are logits `[rows, vocabulary]`.

    The nucleus is the fewest likeliest tokens whose mass reaches `top_p` (Holtzman et al. 2020); it always holds one.
    Where `top_k` is not 0, the mass is that of the `top_k` likeliest tokens, as in transformers.
    """
    shares = torch.softmax(scores.float() / temperature, dim=-1).double()
    ranked, order = torch.sort(shares, dim=-1, descending=True, stable=True)
    if top_k:
        ranked[:, top_k:] = 0.0
        ranked = ranked / ranked.sum(dim=-1, keepdim=True)
    inside = ranked.cumsum(dim=-1) - ranked < top_p
    inside[:, 0] = True
    kept = torch.zeros_like(shares).scatter(1, order, ranked * inside)
    # Summed in the order of the vocabulary: in the order of likelihood, rounding that swaps two tokens of nearly equal
    # share would swap what a number falls on.
    mass = kept.cumsum(dim=-1)
    place = (mass <= uniforms.double().to(scores.device)[:, None] * mass[:, -1:]).sum(dim=-1)
    last = kept.shape[1] - 1 - (kept > 0).flip(1).to(torch.int64).argmax(dim=-1)
    return torch.minimum(place, last)


def _cut(text: str, stop: Sequence[str]) -> str:
    return text[: min([position for mark in stop if (position := text.find(mark)) >= 0], default=len(text))]
