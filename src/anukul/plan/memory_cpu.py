"""Predicted peak of the resident memory of training on a CPU: what is held in its phases, and the process itself."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anukul.config import RunConfig, Stage
from anukul.plan.memory import COPIES, Need, Pass, accumulates, count_passes, moments, new_rows
from anukul.plan.process import Asked, Held, start
from anukul.train.packing import Batch

if TYPE_CHECKING:
    from anukul.model.shape import Shape


@dataclass(frozen=True, slots=True)
class DataBytes:
    """What the rows of a stage hold on the host."""

    reading: float  # at most, while they are read and tokenised
    examples: float  # from then on


NO_DATA = DataBytes(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Batches:
    """The micro-batches of a stage that take the most memory."""

    learnt: Batch  # that with the most learnt tokens, which have logits; the audit takes it
    seen: Batch  # that with the most pairs of tokens that see each other, which have probabilities on a CPU


def start_process(config: RunConfig, root: Path, stage: Stage) -> "subprocess.Popen[str]":
    """Start measuring what a process of training holds by itself; `on_cpu` is given what `finish` says."""
    settings = config.train
    assert settings is not None
    ledger = settings.ledger
    tokenizer = Path(config.model.tokenizer or config.model.path).expanduser()
    asked = Asked(
        tokenizer=str(tokenizer) if tokenizer.is_dir() else None,
        root=str(root),
        stage=stage.model_dump(mode="json"),
        languages=(config.language, config.base_language),
        questions=ledger is not None and bool(ledger.probes.tasks),
        compute_dtype=config.model.compute_dtype,
        quantization=config.model.quantization,
    )
    return start(asked)


def count_batches(config: RunConfig, shape: "Shape", batches: Batches) -> list[Pass]:
    """Count a pass of the micro-batch with the most learnt tokens, and of that with the most pairs."""
    settings = config.train
    assert settings is not None
    recomputed = settings.activation_checkpointing == "full"
    packed = config.model.dequantize == "never"
    both = [batches.learnt] if batches.seen is batches.learnt else [batches.learnt, batches.seen]
    return count_passes(config, both, False, packed, recomputed, shape.layers)


def on_cpu(config: RunConfig, shape: "Shape", passes: list[Pass], data: DataBytes, held: Held) -> Need:
    """Predict the peak of this machine's resident memory, in a process that holds `held` by itself.

    `passes` are those of `count_batches`, the first that of the micro-batch with the most learnt tokens.
    """
    settings = config.train
    assert settings is not None
    found = passes[0]
    copies = found.trained * COPIES / 4
    step = max((each.again if accumulates(settings) else each.first) for each in passes)
    rows = data.reading - data.examples - moments(settings, found)
    # a step stands beside the kernels of many shapes; before the first step there are few
    phases = (
        (copies + found.first, held.early, "the audit"),
        (step, held.later, "a step"),
        (rows, held.early, "reading the rows"),
    )
    working, process, what = max(phases, key=lambda phase: phase[0] + phase[1])
    return Need(
        what=what,
        weights=float(found.frozen + mapped(config, found)),
        trained=found.trained + moments(settings, found) + new_rows(settings, shape),
        working=working,
        data=data.examples,
        process=process,
    )


def mapped(config: RunConfig, found: Pass) -> float:
    """Bytes of the base's files that stay in memory beside the weights that were made of them.

    Files are mapped into memory, and what is taken from them as it is (embeddings, norms) holds the mapping. Where
    layers were quantised, their pages stay too, although nobody reads them again.
    """
    folder = Path(config.model.path).expanduser()
    files = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    taken = found.frozen - (found.layers if config.model.quantization == "nf4" else 0)
    return float(max(0, files - taken))
