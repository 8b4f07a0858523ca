"""The scorer as a model of lm-eval, so that every task of that library runs on it."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from anukul import progress
from anukul.model.generate import generate_greedy
from anukul.scoring.cache import batch_key
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
        self.tokenizer = scorer.loaded.tokenizer

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
        """Score (context, continuation) texts; texts are encoded many at a time, each distinct context once."""
        heads: dict[str, tuple[int, ...]] = {}
        wanted: list[Request] = []
        for first in range(0, len(requests), ENCODED_TOGETHER):
            pairs = [_split(*request.args) for request in requests[first : first + ENCODED_TOGETHER]]
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
        return self.scorer.score(wanted, self.label)

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
        return self.scorer.score(wanted, self.label)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> list[float]:
        """Score whole texts; special tokens that the tokenizer adds are scored too, as HFLM does."""
        return self.scorer.score_rolling(
            [self.tok_encode(request.args[0]) for request in requests], self.label
        )

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> list[str]:
        """Generate greedily up to a stop string; prompts are cut on the left to leave room."""
        groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        encoded: list[list[int]] = []
        for index, request in enumerate(requests):
            prompt, settings = request.args
            limit, stop = _limits(settings)
            if limit >= self.max_length:
                raise ValueError(
                    f"max_gen_toks {limit} must be less than the model's window {self.max_length}"
                )
            encoded.append(self.tok_encode(prompt)[-(self.max_length - limit) :] or [self.prefix_token_id])
            groups.setdefault((limit, stop), []).append(index)
        texts = [""] * len(requests)
        shown = progress.bar(self.label, len(texts), "texts") if self.label else nullcontext(None)
        with shown as bar, self.scorer.active():
            for (limit, stop), indices in groups.items():
                indices.sort(key=lambda index: -len(encoded[index]))
                for first in range(0, len(indices), self.generate_rows):
                    part = indices[first : first + self.generate_rows]
                    made = self._generate([encoded[index] for index in part], limit, stop)
                    for index, text in zip(part, made, strict=True):
                        texts[index] = text
                    if bar:
                        bar.advance(len(part))
        return texts

    def _generate(self, prompts: list[list[int]], limit: int, stop: tuple[str, ...]) -> list[str]:
        """Return the texts of one batch, from the cache where it holds them."""
        cache = self.scorer.cache
        if cache is None:
            return generate_greedy(self.scorer.loaded, prompts, limit, stop)
        key = batch_key(self.scorer.name, prompts, limit, stop)
        held = cache.get(key)
        if held is not None:
            return [str(text) for (text,) in held]
        texts = generate_greedy(self.scorer.loaded, prompts, limit, stop)
        cache.put(key, [(text,) for text in texts])
        return texts


def _split(context: str, continuation: str) -> tuple[str, str]:
    """Move white space at the end of a context to the front of the continuation, as TemplateLM does."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def _limits(settings: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
    """Return (most tokens, stop strings) of lm-eval's generation settings; raise ValueError where they sample."""
    if settings.get("do_sample") and float(settings.get("temperature", 1.0)) > 0:
        raise ValueError("only greedy generation is supported: set do_sample: false in the task")
    until = settings.get("until") or []
    names = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
    limit = next((int(settings[name]) for name in names if settings.get(name)), GENERATED_TOKENS)
    return limit, tuple([until] if isinstance(until, str) else until)
