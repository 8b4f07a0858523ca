"""Run a batch of sentences and keep, for each arc and head, whether it was found and how strongly."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anukul.errors import UserError
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
    and the query word itself left out). `found` is `[arcs, layers, heads]`: the word of the arg-max, -1 where
    there is no attention on any of them. `sink` is `[layers, heads]`: attention on the first token, summed over
    the `rows` query words of the batch.
    """

    correct: NDArray[np.bool_]
    mass: NDArray[np.float32]
    found: NDArray[np.int16]
    sink: NDArray[np.float64]
    rows: int

    def save(self, path: Path) -> None:
        """Write the batch's result atomically."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            correct=self.correct,
            mass=self.mass,
            found=self.found,
            sink=self.sink,
            rows=np.array(self.rows),
        )
        write_atomic(path, buffer.getvalue())

    @staticmethod
    def load(path: Path) -> "Observed":
        """Read what `save` wrote."""
        with np.load(path) as file:
            return Observed(file["correct"], file["mass"], file["found"], file["sink"], int(file["rows"]))


def observe(loaded: Loaded, batch: Sequence[Prepared]) -> Observed:
    """Run one padded batch with the adapter as it stands; nothing of the model is changed.

    Padding goes to the right and needs no mask: under causal attention no real token sees it. What comes after the
    last layer's attention is not run. Raises UserError where attention cannot be seen in every layer.
    """
    plan = _plan(batch)
    device = loaded.device
    layers = int(loaded.causal_lm.config.get_text_config().num_hidden_layers)
    collector = _Collector(plan, device)
    capture = Capture(
        rows=torch.from_numpy(plan.row_token).to(device),
        word_of=torch.from_numpy(plan.word_of).to(device),
        receive=collector.receive,
        last=layers - 1,
    )
    with torch.inference_mode(), loaded.autocast(), capturing(loaded, capture):
        hidden_states(loaded, torch.from_numpy(plan.ids).to(device))
    if sorted(collector.layers) != list(range(layers)):
        raise UserError(
            f"probe: attention is seen in {len(collector.layers)} of {layers} layers of "
            f"{type(loaded.causal_lm).__name__}; the others do not go through the attention interface"
        )
    return collector.finish()


@dataclass(frozen=True, slots=True)
class _Plan:
    """A batch as rectangles: one row for each query word of each sentence."""

    ids: NDArray[np.int64]  # [batch, length]
    word_of: NDArray[np.int64]  # [batch, length]
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
    return _Plan(ids, word_of, row_token, row_word, np.array(arcs, dtype=np.int64).reshape(-1, 3))


def _first_of_the_highest(values: Tensor) -> Tensor:
    """Return the arg-max along the last axis; on a CPU numpy finds it in a tenth of torch's time."""
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy().argmax(-1))
    return values.argmax(-1)


@dataclass(slots=True)
class _Layer:
    """One layer as far as it was seen: `found` and `mass` `[arcs, heads]`, `sink` `[heads]`."""

    found: Tensor
    mass: Tensor
    sink: Tensor


class _Collector:
    """Reduces word attention to the arcs as soon as it is there."""

    def __init__(self, plan: _Plan, device: torch.device) -> None:
        self.plan = plan
        self.row_word = torch.from_numpy(plan.row_word).to(device)
        self.rows = int((plan.row_word > 0).sum())  # a query word is never the first
        self.layers: dict[int, _Layer] = {}
        self._places: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def receive(self, layer: int, start: int, words: Tensor, first: Tensor) -> None:
        """Take the rows from `start` on: `words` `[batch, heads, rows, words]`, `first` `[batch, heads, rows]`."""
        _, heads, count, width = words.shape
        if layer not in self.layers:
            shape = (len(self.plan.arcs), heads)
            self.layers[layer] = _Layer(
                torch.full(shape, -1, dtype=torch.int16, device=words.device),
                torch.zeros(shape, device=words.device),
                torch.zeros(heads, dtype=torch.float64, device=words.device),
            )
        held = self.layers[layer]
        row_word = self.row_word[:, start : start + count]
        held.sink += first.masked_fill((row_word == 0)[:, None], 0.0).double().sum((0, 2))
        arcs, sentence, row, key = self._in(start, count, words.device)
        clear = int(self.plan.row_word[:, start : start + count].min())  # words before every query word
        later = torch.arange(clear, width, device=words.device) >= row_word.unsqueeze(-1)
        words[..., clear:].masked_fill_(later[:, None], 0.0)
        found = _first_of_the_highest(words)[sentence, :, row]  # [arcs of these rows, heads]
        total = words.sum(-1)[sentence, :, row]
        on_key = words[sentence, :, row, key]
        held.found[arcs] = found.masked_fill(total <= 0, -1).to(torch.int16)
        held.mass[arcs] = torch.where(total > 0, on_key / total.clamp_min(torch.finfo(total.dtype).tiny), 0.0)

    def _in(self, start: int, count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The arcs of the rows from `start` on: their numbers, sentences, rows counted from `start`, and keys."""
        if start not in self._places:
            row = self.plan.arcs[:, 1] - start
            here = np.flatnonzero((row >= 0) & (row < count))
            columns = (here, self.plan.arcs[here, 0], row[here], self.plan.arcs[here, 2])
            arcs, sentence, rows, key = (torch.from_numpy(column).to(device) for column in columns)
            self._places[start] = (arcs, sentence, rows, key)
        return self._places[start]

    def finish(self) -> Observed:
        """Put the layers together."""
        parts = [self.layers[layer] for layer in sorted(self.layers)]
        found = torch.stack([part.found for part in parts], 1).cpu().numpy()
        mass = torch.stack([part.mass for part in parts], 1).cpu().numpy()
        sink = torch.stack([part.sink for part in parts]).cpu().numpy()
        return Observed(found == self.plan.arcs[:, 2, None, None], mass, found, sink, self.rows)
