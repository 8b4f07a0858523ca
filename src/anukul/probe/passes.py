"""One pass over the treebank for each model, a file for each batch, so that a killed run goes on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from anukul import progress
from anukul.model.loaded import Loaded
from anukul.model.random import random_like
from anukul.probe import resample
from anukul.probe.choose import MODELS
from anukul.probe.heads import Scores
from anukul.probe.observe import Observed, Prepared, observe
from anukul.probe.prepare import Work

RANDOM = "random-"


def model_names(random_models: int) -> tuple[str, ...]:
    """Return the models in the order of their passes: those with random weights first, a lack of memory shows there."""
    return (*(f"{RANDOM}{number}" for number in range(random_models)), *MODELS)


def run_passes(
    loaded: Loaded, work: Work, batches: Sequence[list[int]], parts: Path, names: Sequence[str], seed: int
) -> None:
    """Write the part of every model and batch that is not there yet."""
    with progress.bar("probe", len(names) * len(work.items), "sentences") as bar:
        for name in names:
            # random weights read what the base reads
            items = work.items if name == "adapted" else work.base_items
            missing = [number for number in range(len(batches)) if not _part(parts, name, number).exists()]
            bar.advance(len(items) - sum(len(batches[number]) for number in missing), name)
            if not missing:
                continue
            with _state(loaded, name, seed) as model:
                for number in missing:
                    observed = observe(model, [items[i] for i in batches[number]])
                    observed.save(_part(parts, name, number))
                    bar.advance(len(batches[number]), name)


@contextmanager
def _state(loaded: Loaded, name: str, seed: int) -> Iterator[Loaded]:
    """The model that a name stands for; one with random weights lives for the block."""
    if name == "base":
        with loaded.base_only():
            yield loaded
    elif name == "adapted":
        yield loaded
    else:
        yield random_like(loaded, int(resample.generator(seed, name).integers(2**31)))


def gather(
    items: Sequence[Prepared], batches: Sequence[list[int]], parts: Path, name: str
) -> tuple[Scores, list[list[float]]]:
    """Put one model's parts together in the order of the arc table; also the mean sink `[layers][heads]`."""
    starts = np.cumsum([0, *(len(item.arcs) for item in items)])
    first = Observed.load(_part(parts, name, 0))
    shape = (int(starts[-1]), *first.correct.shape[1:])
    scores = Scores(
        np.empty(shape, dtype=np.bool_), np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.int16)
    )
    sink, rows = np.zeros(shape[1:]), 0
    for number, batch in enumerate(batches):
        part = Observed.load(_part(parts, name, number))
        places = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in batch])
        scores.correct[places] = part.correct
        scores.mass[places] = part.mass
        scores.found[places] = part.found
        sink += part.sink
        rows += part.rows
    return scores, (sink / rows).tolist()


def _part(parts: Path, name: str, number: int) -> Path:
    return parts / f"{name}-{number:06d}.npz"
