"""What a model says to given texts: bits per byte, and its distributions to compare another copy of it with."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anukul.errors import UserError
from anukul.model.loaded import Loaded, hidden_states, logits

KEPT_ELEMENTS = 1 << 25  # log-probabilities kept for the comparison: 128 MiB in fp32
SLICE_ELEMENTS = 1 << 24  # logits in memory at once


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text and its token ids, the prefix token first."""

    set: int  # which of the sets of texts it is of
    text: str
    ids: list[int]


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a model's next-token distributions are from the kept ones."""

    positions: int
    divergence: float  # mean Kullback-Leibler divergence from the kept ones, nats per token
    logit_difference: float  # root mean square, weighted by the kept probabilities
    same_top_token: float  # share of positions


def encode(tokenizer: Any, prefix_id: int, sets: Sequence[Sequence[str]], longest: int) -> list[Encoded]:
    """Return the texts with their ids; a text longer than `longest` tokens loses its end."""
    found = []
    for number, texts in enumerate(sets):
        for text in texts:
            ids = _ids(tokenizer, prefix_id, text)
            while len(ids) > longest:
                text = text[: int(len(text) * min(0.98, longest / len(ids)))]
                ids = _ids(tokenizer, prefix_id, text)
            if len(ids) > 1:
                found.append(Encoded(number, text, ids))
    if not found:
        raise UserError("export: the texts to check on hold no token")
    return found


def _ids(tokenizer: Any, prefix_id: int, text: str) -> list[int]:
    return [prefix_id, *tokenizer.encode(text, add_special_tokens=False)]


def keep(loaded: Loaded, texts: Sequence[Encoded], path: Path) -> list[float]:
    """Return the bits per byte of each set; write log-probabilities `[positions, vocabulary]` to `path`.

    Positions are spaced evenly over all texts, as many as `KEPT_ELEMENTS` holds.
    """
    wanted = chosen(texts, loaded.vocabulary_rows)
    shape = (int(wanted.sum()), loaded.vocabulary_rows)
    kept = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    rows = 0

    def see(found: Tensor) -> None:
        nonlocal rows
        kept[rows : rows + len(found)] = found.cpu().numpy()
        rows += len(found)

    bits = _run(loaded, texts, wanted, see)
    kept.flush()
    return bits


def compare(loaded: Loaded, texts: Sequence[Encoded], path: Path) -> tuple[list[float], Distance | None]:
    """Return the bits per byte of each set and the distance from what `keep` wrote.

    The distance is None where the vocabularies differ in size.
    """
    kept = np.load(path, mmap_mode="r")
    comparable = kept.shape[1] == loaded.vocabulary_rows
    wanted = chosen(texts, kept.shape[1])
    sums = np.zeros(3)
    rows = 0

    def see(found: Tensor) -> None:
        nonlocal rows
        if comparable:
            theirs = torch.from_numpy(np.array(kept[rows : rows + len(found)])).to(found.device)
            sums[:] += _distances(theirs, found)
        rows += len(found)

    bits = _run(loaded, texts, wanted, see)
    if not comparable:
        return bits, None
    divergence, squares, same = (sums / rows).tolist()
    # rounding may leave a divergence of nothing a little below zero
    return bits, Distance(rows, max(0.0, divergence), math.sqrt(squares), same)


def _distances(theirs: Tensor, ours: Tensor) -> list[float]:
    """Sums over rows of the divergence, of the squared weighted difference, and of equal top tokens."""
    weights = theirs.exp()
    # a token that has no probability adds nothing, whatever the other model gives it
    difference = torch.where(weights > 0, theirs - ours, 0.0)
    # between log-probabilities the mean difference is no difference of logits
    centered = difference - (weights * difference).sum(-1, keepdim=True)
    return [
        float((weights * difference).sum(dtype=torch.float64)),
        float((weights * centered.square()).sum(dtype=torch.float64)),
        float((theirs.argmax(-1) == ours.argmax(-1)).sum()),
    ]


def chosen(texts: Sequence[Encoded], vocabulary: int) -> Tensor:
    """Return which positions, of all texts one after another, are kept: boolean `[positions]`."""
    total = sum(len(text.ids) - 1 for text in texts)
    count = min(total, max(1, KEPT_ELEMENTS // vocabulary))
    wanted = torch.zeros(total, dtype=torch.bool)
    wanted[torch.arange(count) * total // count] = True
    return wanted


@torch.inference_mode()
def _run(
    loaded: Loaded, texts: Sequence[Encoded], wanted: Tensor, see: Callable[[Tensor], None]
) -> list[float]:
    """Return bits per byte by set; hand the log-probabilities of the wanted positions to `see`, in order."""
    nats, sizes = np.zeros(texts[-1].set + 1), np.zeros(texts[-1].set + 1)
    start = 0
    for text in texts:
        for targets, found in _slices(loaded, text.ids):
            if not bool(torch.isfinite(found).all()):
                raise UserError("export: the model gives logits that are not finite on the texts to check on")
            nats[text.set] -= float(found.gather(1, targets[:, None]).sum(dtype=torch.float64))
            rows = wanted[start : start + len(targets)].to(found.device)
            if bool(rows.any()):
                see(found[rows])
            start += len(targets)
        sizes[text.set] += len(text.text.encode("utf-8"))
    # a set that holds no token has no bits per byte
    return [float(value) for value in nats / math.log(2) / np.maximum(sizes, 1)]


def _slices(loaded: Loaded, ids: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (next tokens `[rows]`, log-probabilities `[rows, vocabulary]` in fp32) through a text."""
    row = torch.tensor([ids], device=loaded.device)
    size = max(1, SLICE_ELEMENTS // loaded.vocabulary_rows)
    with loaded.autocast():
        states = hidden_states(loaded, row)[0, :-1]
        for first in range(0, len(states), size):
            scores = logits(loaded, states[first : first + size]).float()
            yield row[0, 1 + first : 1 + first + size], torch.log_softmax(scores, -1)
