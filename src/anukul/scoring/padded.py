"""Score requests one beside the other, each whole: for models whose attention cannot follow a trie."""

from collections.abc import Sequence

import numpy as np
import torch

from anukul.model.loaded import Loaded
from anukul.scoring.cache import Score
from anukul.scoring.trie import Request, window

LOGIT_ELEMENTS = 1 << 25  # logits of one forward: 128 MiB in fp32


def padded_batches(
    requests: Sequence[Request], max_positions: int, token_budget: int, vocabulary: int, border: int = 0
) -> list[list[int]]:
    """Group request indices, longest first, into batches of at most `token_budget` padded tokens.

    No batch mixes texts of more than `border` tokens with shorter ones: a longer one would change their positions.
    """
    sizes = [len(window(request, max_positions)) for request in requests]
    most = max(1, min(token_budget, LOGIT_ELEMENTS // vocabulary))
    batches: list[list[int]] = []
    for index in sorted(range(len(requests)), key=lambda index: (-sizes[index], index)):
        longest = sizes[batches[-1][0]] if batches else 0
        parted = longest > border >= sizes[index] and border > 0
        if batches and not parted and (len(batches[-1]) + 1) * longest <= most:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def score_padded(loaded: Loaded, requests: Sequence[Request]) -> list[Score]:
    """Return the scores of requests that are forwarded as one batch, padded on the right."""
    inputs = [window(request, loaded.max_positions) for request in requests]
    longest = max(len(tokens) for tokens in inputs)
    ids = np.zeros((len(inputs), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(inputs):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    output = loaded.causal_lm(
        input_ids=torch.from_numpy(ids).to(loaded.device),
        attention_mask=torch.from_numpy(mask).to(loaded.device),
        use_cache=False,
    )
    scores: list[Score] = []
    for row, request in enumerate(requests):
        size = len(inputs[row])
        targets = torch.tensor(request.continuation, device=loaded.device)
        found = output.logits[row, size - len(targets) : size].float()
        chosen = found.gather(1, targets[:, None])[:, 0] - found.logsumexp(-1)
        scores.append((float(chosen.double().sum()), bool((found.argmax(-1) == targets).all())))
    return scores
