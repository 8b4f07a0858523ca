"""Pack examples into rows of a fixed length so that no example sees another.

A token sees the earlier tokens of its own example and nothing else, and positions count from 0 in every example, so
that a packed example is computed as it would be alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anukul.model.documents import Documents
from anukul.train.formats import Example

WINDOW = 2048


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed rows on a device. What is left over at the end of a row is a document of its own, without loss."""

    ids: Tensor  # [rows, context] int64
    positions: Tensor  # [rows, context] int64
    documents: Documents
    predicting: Tensor  # [loss tokens] int64, flat cell index whose hidden state predicts …
    targets: Tensor  # [loss tokens] int64, … this token
    replay: Tensor  # [loss tokens] bool, whether the target is replay

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`; from pinned memory the copy does not wait for what the device is doing."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """The same in pinned memory."""
        return self.each(Tensor.pin_memory)

    def without_loss(self) -> "Batch":
        """The same with nothing learnt: a pass that only keeps other processes company."""
        targets, predicting, replay = (part[:0] for part in (self.targets, self.predicting, self.replay))
        return replace(self, targets=targets, predicting=predicting, replay=replay)

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same with every tensor changed, such as moved."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, documents=self.documents.each(change), **changed)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tokens every example has, by number of the example."""

    tokens: NDArray[np.int64]  # BOS and end token included
    learnt: NDArray[np.int64]
    replayed: NDArray[np.int64]  # learnt tokens that are replay

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "Counts":
        """Count every example once."""
        learnt = [int(example.learnt[1:].sum()) for example in examples]
        replayed = [count if example.replay else 0 for count, example in zip(learnt, examples, strict=True)]
        lengths = [len(example.ids) for example in examples]
        return cls(np.array(lengths, np.int64), np.array(learnt, np.int64), np.array(replayed, np.int64))

    def sums(self, rows: Sequence[Sequence[int]]) -> tuple[int, int, int]:
        """Return (tokens, learnt tokens, learnt replay tokens) of some packed rows."""
        members = np.array([index for row in rows for index in row], np.int64)
        return (
            int(self.tokens[members].sum()),
            int(self.learnt[members].sum()),
            int(self.replayed[members].sum()),
        )


def pack(lengths: Sequence[int], context: int, order: Sequence[int]) -> list[list[int]]:
    """Group examples into rows of at most `context` tokens; return lists of example numbers.

    Best fit decreasing inside windows of the shuffled order: nearly no padding, and the order of the data stays
    random at the scale of a window.
    """
    rows: list[list[int]] = []
    for start in range(0, len(order), WINDOW):
        window = sorted(order[start : start + WINDOW], key=lambda index: -lengths[index])
        packed: list[list[int]] = []
        # rows by free space, so that the tightest that still fits is found without a search over all
        by_space: list[list[int]] = [[] for _ in range(context + 1)]
        for index in window:
            need = lengths[index]
            free = next((space for space in range(need, context + 1) if by_space[space]), None)
            if free is None:
                packed.append([index])
                by_space[context - need].append(len(packed) - 1)
            else:
                row = by_space[free].pop()
                packed[row].append(index)
                by_space[free - need].append(row)
        # longest-first packing would make the first steps all long examples
        shuffled = np.random.default_rng([len(order), start]).permutation(len(packed))
        rows += [packed[i] for i in shuffled]
    return rows


def collate(
    rows: Sequence[Sequence[int]],
    examples: Sequence[Example],
    context: int,
    pad_id: int,
    device: torch.device,
) -> Batch:
    """Lay out packed rows as tensors."""
    shape = (len(rows), context)
    ids = np.full(shape, pad_id, np.int64)
    positions = np.zeros(shape, np.int64)
    learnt = np.zeros(shape, np.bool_)
    replay = np.zeros(shape, np.bool_)
    lengths: list[int] = []
    for number, row in enumerate(rows):
        cursor = 0
        for index in row:
            example = examples[index]
            cells = slice(cursor, cursor + len(example.ids))
            ids[number, cells] = example.ids
            positions[number, cells] = np.arange(len(example.ids))
            learnt[number, cells] = example.learnt
            learnt[number, cursor] = False  # nothing predicts the first token of an example
            replay[number, cells] = example.replay
            cursor += len(example.ids)
            lengths.append(len(example.ids))
        if cursor < context:
            lengths.append(context - cursor)
    where = np.flatnonzero(learnt)
    cpu = torch.device("cpu")
    batch = Batch(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        documents=Documents.of(lengths, cpu),
        predicting=torch.from_numpy(where - 1),
        targets=torch.from_numpy(ids.reshape(-1)[where]),
        replay=torch.from_numpy(replay.reshape(-1)[where]),
    )
    return batch if device == cpu else batch.to(device)
