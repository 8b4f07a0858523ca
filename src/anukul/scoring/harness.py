"""The scorer as a model of lm-eval, so that every task of that library runs on it."""

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from anukul import progress
from anukul.errors import UserError
from anukul.model.generate import Sampling, generate, generate_greedy, seed_of
from anukul.scoring.cache import batch_key
from anukul.scoring.portions import PORTION_CHARACTERS, portions
from anukul.scoring.scorer import Scorer
from anukul.scoring.trie import Request

# Whether data may be fetched is left to the user (HF_HUB_OFFLINE, HF_DATASETS_OFFLINE); only tasks by name ask.
logging.getLogger("lm_eval").setLevel(logging.ERROR)

from lm_eval.api.model import TemplateLM  # noqa: E402  its logger must be set before it loads

ENCODED_TOGETHER = 512  # requests
GENERATED_TOKENS = 256  # lm-eval's default for tasks that name no limit


class AnukulLM(TemplateLM):  # type: ignore[misc]  # lm-eval ships no types
    """An lm-eval model around a `Scorer`; whether the adapter is on is the scorer's affair."""

    def __init__(
        self,
        scorer: Scorer,
        label: str | None = None,
        generate_rows: int = 16,
    ) -> None:
        super().__init__()
        self.scorer = scorer
        self.label = label
        self.generate_rows = generate_rows
        self.tokenizer = scorer.tokenizer

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        eos = self.tokenizer.eos_token_id
        return int(eos) if eos is not None else self.scorer.loaded.prefix_id

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text without context."""
        return self.scorer.loaded.prefix_id

    @property
    def max_length(self) -> int:
        """The model's window in tokens."""
        return self.scorer.loaded.max_positions

    @property
    def max_gen_toks(self) -> int:
        """Tokens generated where a task names no limit."""
        return GENERATED_TOKENS

    @property
    def device(self) -> Any:
        """The device of the model."""
        return self.scorer.loaded.device

    @property
    def tokenizer_name(self) -> str:
        """A name for the tokenizer, as lm-eval wants one for its own caches."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Encode as HFLM does: the tokenizer's own special tokens, unless the text already starts with BOS."""
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(self.tokenizer.decode([self.prefix_token_id]))
        ids = self.tokenizer.encode(string, add_special_tokens=add_special_tokens, verbose=False)
        return [int(token) for token in ids]

    def tok_decode(self, tokens: Sequence[int]) -> str:
        """Decode, special tokens left out."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Render a chat with the tokenizer's template."""
        return str(
            self.tokenizer.apply_chat_template(
                chat_history, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Score (context, continuation) texts, a portion at a time, in an order in which shared beginnings meet."""
        pairs = [request.args for request in requests]
        order = sorted(range(len(pairs)), key=pairs.__getitem__)
        sizes = (len(pairs[index][0]) + len(pairs[index][1]) for index in order)
        scores: list[tuple[float, bool]] = [(0.0, False)] * len(pairs)
        with self.scorer.showing(self.label, len(pairs)):
            for part in portions(sizes, PORTION_CHARACTERS):
                indices = order[part.start : part.stop]
                found = self.scorer.score(self.encode_pairs([pairs[index] for index in indices]))
                for index, score in zip(indices, found, strict=True):
                    scores[index] = score
        return scores

    def encode_pairs(self, texts: Sequence[tuple[str, str]]) -> list[Request]:
        """Encode (context, continuation) texts, many at a time, each distinct context once."""
        heads: dict[str, tuple[int, ...]] = {}
        wanted: list[Request] = []
        for first in range(0, len(texts), ENCODED_TOGETHER):
            pairs = [_split(*pair) for pair in texts[first : first + ENCODED_TOGETHER]]
            fresh = list(dict.fromkeys(context for context, _ in pairs if context and context not in heads))
            heads |= zip(fresh, map(tuple, self._encode(fresh)), strict=True)
            wholes = iter(self._encode([context + rest for context, rest in pairs if context]))
            for context, continuation in pairs:
                if context:
                    head = heads[context]
                    wanted.append(Request(head, tuple(next(wholes)[len(head) :])))
                else:
                    alone = self.tok_encode(continuation, add_special_tokens=False)
                    begins = alone[0] == self.prefix_token_id
                    wanted.append(Request((self.prefix_token_id,), tuple(alone[1 if begins else 0 :])))
        return wanted

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts as `tok_encode` does, in parallel where the tokenizer can."""
        begin = self.tokenizer.decode([self.prefix_token_id])
        found: list[list[int]] = [[]] * len(texts)
        for special in (True, False):
            indices = [index for index, text in enumerate(texts) if text.startswith(begin) != special]
            if indices:
                chosen = [texts[index] for index in indices]
                encoded = self.tokenizer(chosen, add_special_tokens=special, verbose=False)["input_ids"]
                for index, ids in zip(indices, encoded, strict=True):
                    found[index] = ids
        return found

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        """Score token ids (texts, context, continuation), all of the call through one plan."""
        wanted = [Request(tuple(context), tuple(continuation)) for _, context, continuation in requests]
        with self.scorer.showing(self.label, len(wanted)):
            return self.scorer.score(wanted)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> list[float]:
        """Score whole texts; special tokens that the tokenizer adds are scored too, as HFLM does."""
        texts = [request.args[0] for request in requests]
        scores: list[float] = []
        with self.scorer.showing(self.label, len(texts)):
            for part in portions((len(text) for text in texts), PORTION_CHARACTERS):
                scores += self.scorer.score_rolling([self.tok_encode(texts[index]) for index in part])
        return scores

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> list[str]:
        """Generate up to a stop string, greedily or sampled as the task says; prompts lose their start to leave room.

        A text depends on its prompt, its settings and how often the same was asked before, not on what stands beside
        it; sampling defaults that are shipped with a base are not heeded.
        """
        groups: dict[tuple[int, tuple[str, ...], Sampling | None], list[int]] = {}
        encoded: list[list[int]] = []
        seeds: dict[int, int] = {}  # of the requests that sample
        asked: Counter[tuple[Any, ...]] = Counter()
        for index, request in enumerate(requests):
            prompt, settings = request.args
            limit, stop, sampling = _limits(settings)
            if limit >= self.max_length:
                raise ValueError(
                    f"max_gen_toks {limit} must be less than the model's window {self.max_length}"
                )
            encoded.append(self.tok_encode(prompt)[-(self.max_length - limit) :] or [self.prefix_token_id])
            if sampling is not None:
                same = (limit, stop, sampling, *encoded[-1])
                seeds[index] = seed_of(encoded[-1], asked[same])
                asked[same] += 1
            groups.setdefault((limit, stop, sampling), []).append(index)
        texts = [""] * len(requests)
        shown = progress.bar(self.label, len(texts), "texts") if self.label else nullcontext(None)
        with shown as bar, self.scorer.active():
            for (limit, stop, sampling), indices in groups.items():
                indices.sort(key=lambda index: -len(encoded[index]))
                for first in range(0, len(indices), self.generate_rows):
                    part = indices[first : first + self.generate_rows]
                    drawn = sampling and replace(sampling, seeds=tuple(seeds[index] for index in part))
                    made = self._generate([encoded[index] for index in part], limit, stop, drawn)
                    for index, text in zip(part, made, strict=True):
                        texts[index] = text
                    if bar:
                        bar.advance(len(part))
        return texts

    def _generate(
        self, prompts: list[list[int]], limit: int, stop: tuple[str, ...], sampling: Sampling | None
    ) -> list[str]:
        """Return the texts of one batch, from the cache where it holds them."""
        cache, loaded = self.scorer.cache, self.scorer.loaded
        name = f"{self.scorer.name} {sampling}" if sampling else self.scorer.name
        key = batch_key(name, prompts, limit, stop)
        held = cache.get(key) if cache is not None else None
        if held is not None:
            return [str(text) for (text,) in held]
        if sampling is None:
            texts = generate_greedy(loaded, prompts, limit, stop)
        else:
            texts = [made.text for made in generate(loaded, prompts, limit, stop, sampling)]
        if cache is not None:
            cache.put(key, [(text,) for text in texts])
        return texts


def _split(context: str, continuation: str) -> tuple[str, str]:
    """Move white space at the end of a context to the front of the continuation, as TemplateLM does."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def _limits(settings: dict[str, Any]) -> tuple[int, tuple[str, ...], Sampling | None]:
    """Return (most tokens, stop strings, how to sample without its seeds) of lm-eval's generation settings.

    As in lm-eval, a task samples where it says so, or names a temperature above 0 and does not say. Raises UserError
    for a setting that would change the texts and is not followed.
    """
    names = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
    followed = {*names, "until", "do_sample", "temperature", "top_p", "top_k"}
    given = {name: value for name, value in settings.items() if value is not None}
    unknown = [name for name in given if name not in followed and (name, given[name]) != ("num_beams", 1)]
    if unknown:
        raise UserError(
            f"generation_kwargs.{unknown[0]}: {given[unknown[0]]!r} of an lm-eval task is not supported; there are "
            f"{', '.join(sorted(followed))}; leave the task out"
        )
    until = given.get("until") or []
    limit = next((int(given[name]) for name in names if given.get(name)), GENERATED_TOKENS)
    stop = tuple([until] if isinstance(until, str) else until)
    temperature = float(given.get("temperature", 1.0 if given.get("do_sample") else 0.0))
    top_p, top_k = float(given.get("top_p", 1.0)), int(given.get("top_k", 0))
    if temperature < 0 or not 0 < top_p <= 1 or top_k < 0:
        raise UserError(
            f"generation_kwargs of an lm-eval task: temperature {temperature:g} and top_k {top_k} must be at least 0, "
            f"top_p {top_p:g} above 0 and at most 1"
        )
    samples = bool(given.get("do_sample", True)) and temperature > 0
    return limit, stop, Sampling(temperature, top_p, (), top_k) if samples else None
