"""Greedy generation in batches, with stop strings."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anukul.model.loaded import Loaded


def generate_greedy(
    loaded: Loaded, prompts: Sequence[Sequence[int]], max_new_tokens: int, stop: Sequence[str] = ()
) -> list[str]:
    """Continue token-id prompts greedily as one left-padded batch; return each text up to its first stop string.

    Prompts must be non-empty and already leave room for `max_new_tokens` in the model's window.
    """
    from transformers import GenerationConfig, StoppingCriteriaList

    tokenizer = loaded.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, prompt in enumerate(prompts):
        ids[number, width - len(prompt) :] = torch.tensor(list(prompt))
        mask[number, width - len(prompt) :] = 1
    # A configuration of our own, so that sampling defaults shipped with a base do not leak into greedy decoding.
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=pad,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    stop = [text for text in stop if text]
    stopping: Any = (
        StoppingCriteriaList([_StopStrings(tokenizer, stop, width, len(prompts))]) if stop else None
    )
    training = loaded.model.training
    loaded.model.eval()
    with torch.inference_mode(), loaded.autocast():
        output = loaded.causal_lm.generate(
            ids.to(loaded.device),
            attention_mask=mask.to(loaded.device),
            generation_config=settings,
            stopping_criteria=stopping,
        )
    loaded.model.train(training)
    texts = tokenizer.batch_decode(output[:, width:].tolist(), skip_special_tokens=True)
    return [_cut(text, stop) for text in texts]


class _StopStrings:
    """Ends a row once a stop string stands in what was generated for it."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], width: int, rows: int) -> None:
        self.tokenizer = tokenizer
        self.stop = list(stop)
        self.width = width
        self.done = torch.zeros(rows, dtype=torch.bool)

    def __call__(self, ids: Tensor, scores: Any, **_: Any) -> Tensor:
        for row in torch.nonzero(~self.done).flatten().tolist():
            text = self.tokenizer.decode(ids[row, self.width :].tolist(), skip_special_tokens=True)
            self.done[row] = any(mark in text for mark in self.stop)
        return self.done.to(ids.device)


def _cut(text: str, stop: Sequence[str]) -> str:
    return text[: min([position for mark in stop if (position := text.find(mark)) >= 0], default=len(text))]
