"""Run a batch of sentences and keep, for each arc and head, whether it was found and how strongly."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anukul.model.attention import Capture, capturing
from anukul.model.loaded import Loaded, hidden_states
from anukul.probe.align import Aligned
from anukul.probe.treebank import Arc
from anukul.rundir import write_atomic


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sentence ready to run: its tokens and the arcs that can be seen in them."""

    aligned: Aligned
    arcs: tuple[Arc, ...]


@dataclass(frozen=True, slots=True)
class Observed:
    """What the heads did on the arcs of a batch, arcs in the order of the batch's sentences.

    `correct` is `[arcs, layers, heads]`: the arg-max over the words before the query word is the true word.
    `mass` is `[arcs, layers, heads]`: the true word's share of the attention on those words (the first token
    and the query word itself left out). `sink` is `[layers, heads]`: attention on the first token, summed
    over the `rows` query words of the batch.
    """

    correct: NDArray[np.bool_]
    mass: NDArray[np.float32]
    sink: NDArray[np.float64]
    rows: int

    def save(self, path: Path) -> None:
        """Write the batch's result atomically."""
        buffer = io.BytesIO()
        np.savez(buffer, correct=self.correct, mass=self.mass, sink=self.sink, rows=np.array(self.rows))
        write_atomic(path, buffer.getvalue())

    @staticmethod
    def load(path: Path) -> "Observed":
        """Read what `save` wrote."""
        with np.load(path) as file:
            return Observed(file["correct"], file["mass"], file["sink"], int(file["rows"]))


def observe(loaded: Loaded, batch: Sequence[Prepared]) -> Observed:
    """Run one padded batch with the adapter as it stands; nothing of the model is changed.

    Padding goes to the right and needs no mask: under causal attention no real token sees it.
    """
    plan = _plan(batch)
    device = loaded.device
    collector = _Collector(plan, device)
    capture = Capture(
        rows=torch.from_numpy(plan.row_token).to(device),
        word_of=torch.from_numpy(plan.word_of).to(device),
        word_count=plan.word_count,
        receive=collector.receive,
    )
    with torch.no_grad(), loaded.autocast(), capturing(loaded, capture):
        hidden_states(loaded, torch.from_numpy(plan.ids).to(device))
    return collector.finish()


@dataclass(frozen=True, slots=True)
class _Plan:
    """A batch as rectangles: one row for each query word of each sentence."""

    ids: NDArray[np.int64]  # [batch, length]
    word_of: NDArray[np.int64]  # [batch, length]
    word_count: int
    row_token: NDArray[np.int64]  # [batch, rows] last token of the query word
    row_word: NDArray[np.int64]  # [batch, rows] the query word, 0 in padding rows: it has no earlier word
    arcs: NDArray[np.int64]  # [arcs, 3] sentence in the batch, row, key word


def _plan(batch: Sequence[Prepared]) -> _Plan:
    queries = [sorted({arc.query for arc in item.arcs}) for item in batch]
    length = max(len(item.aligned.ids) for item in batch)
    rows = max(1, *(len(words) for words in queries))
    ids = np.zeros((len(batch), length), dtype=np.int64)
    word_of = np.full((len(batch), length), -1, dtype=np.int64)
    row_token = np.zeros((len(batch), rows), dtype=np.int64)
    row_word = np.zeros((len(batch), rows), dtype=np.int64)
    arcs = []
    for index, (item, words) in enumerate(zip(batch, queries, strict=True)):
        ids[index, : len(item.aligned.ids)] = item.aligned.ids
        word_of[index, : len(item.aligned.ids)] = item.aligned.word_of
        row_token[index, : len(words)] = item.aligned.last[words]
        row_word[index, : len(words)] = words
        row_of = {word: row for row, word in enumerate(words)}
        arcs += [(index, row_of[arc.query], arc.key) for arc in item.arcs]
    word_count = max(len(item.aligned.sentence.words) for item in batch)
    return _Plan(ids, word_of, word_count, row_token, row_word, np.array(arcs, dtype=np.int64).reshape(-1, 3))


class _Collector:
    """Reduces each layer's word attention to the arcs as soon as it is there."""

    def __init__(self, plan: _Plan, device: torch.device) -> None:
        row_word = torch.from_numpy(plan.row_word).to(device)
        self.sentence, self.row, self.key = torch.from_numpy(plan.arcs).to(device).unbind(1)
        self.earlier = torch.arange(plan.word_count, device=device) < row_word.unsqueeze(
            -1
        )  # [batch, rows, words]
        self.real = (row_word > 0)[:, None, :]  # a query word is never the first
        self.rows = int((plan.row_word > 0).sum())
        self.layers: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def receive(self, layer: int, words: Tensor, first: Tensor) -> None:
        """Take one layer: `words` `[batch, heads, rows, words]`, `first` `[batch, heads, rows]`."""
        words = words.masked_fill(~self.earlier[:, None], 0.0)
        found = words.argmax(-1)[self.sentence, :, self.row]  # [arcs, heads]
        total = words.sum(-1)[self.sentence, :, self.row]
        on_key = words[self.sentence, :, self.row, self.key]
        correct = (found == self.key[:, None]) & (on_key > 0)
        mass = torch.where(total > 0, on_key / total.clamp_min(torch.finfo(total.dtype).tiny), 0.0)
        sink = first.masked_fill(~self.real, 0.0).double().sum((0, 2))
        self.layers[layer] = (correct, mass, sink)

    def finish(self) -> Observed:
        """Put the layers together."""
        parts = [self.layers[layer] for layer in sorted(self.layers)]
        correct, mass, sink = (torch.stack(item, dim=-2).cpu().numpy() for item in zip(*parts, strict=True))
        return Observed(correct, mass, sink, self.rows)
