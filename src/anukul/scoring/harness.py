"""The scorer as a model of lm-eval, so that every task of that library runs on it."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from anukul.model.generate import generate_greedy
from anukul.scoring.scorer import Scorer
from anukul.scoring.trie import Request

# No task's data may be downloaded. HF_HUB_OFFLINE is left alone: a base named by its hub name is loaded after this.
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
logging.getLogger("lm_eval").setLevel(logging.ERROR)

from lm_eval.api.model import TemplateLM  # noqa: E402  the environment must be set before lm-eval loads

GENERATED_TOKENS = 256  # lm-eval's default for tasks that name no limit


class AnukulLM(TemplateLM):  # type: ignore[misc]  # lm-eval ships no types
    """An lm-eval model around a `Scorer`; whether the adapter is on is the scorer's affair."""

    def __init__(self, scorer: Scorer, label: str | None = None, generate_rows: int = 16) -> None:
        super().__init__()
        self.scorer = scorer
        self.label = label
        self.generate_rows = generate_rows
        self.tokenizer = scorer.loaded.tokenizer
        self._encoded: dict[str, list[int]] = {}

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
        """Score (context, continuation) texts; each distinct context is encoded once."""
        self._encoded = {}
        scores: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        self._encoded = {}
        return scores

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Split context and continuation as TemplateLM does, with the contexts' encodings kept."""
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        if context not in self._encoded:
            self._encoded[context] = self.tok_encode(context)
        head = self._encoded[context]
        return head, self.tok_encode(context + continuation)[len(head) :]

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
        with self.scorer.active():
            for (limit, stop), indices in groups.items():
                indices.sort(key=lambda index: -len(encoded[index]))
                for first in range(0, len(indices), self.generate_rows):
                    part = indices[first : first + self.generate_rows]
                    made = generate_greedy(
                        self.scorer.loaded, [encoded[index] for index in part], limit, stop
                    )
                    for index, text in zip(part, made, strict=True):
                        texts[index] = text
        return texts


def _limits(settings: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
    """Return (most tokens, stop strings) of lm-eval's generation settings; raise ValueError where they sample."""
    if settings.get("do_sample") and float(settings.get("temperature", 1.0)) > 0:
        raise ValueError("only greedy generation is supported: set do_sample: false in the task")
    until = settings.get("until") or []
    names = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
    limit = next((int(settings[name]) for name in names if settings.get(name)), GENERATED_TOKENS)
    return limit, tuple([until] if isinstance(until, str) else until)
