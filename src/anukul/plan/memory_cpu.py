"""Predicted peak of the resident memory of training on a CPU: what is held in its phases, and the process itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anukul.config import RunConfig
from anukul.plan.memory import COPIES, Need, Pass, accumulates, count_pass, moments, new_rows
from anukul.plan.process import Asked, finish, start
from anukul.train.packing import Batch

if TYPE_CHECKING:
    from anukul.model.shape import Shape


@dataclass(frozen=True, slots=True)
class DataBytes:
    """What the rows of a stage hold on the host."""

    reading: float  # at most, while they are read and tokenised
    examples: float  # from then on


NO_DATA = DataBytes(0.0, 0.0)


def on_cpu(config: RunConfig, shape: "Shape", batch: Batch, data: DataBytes) -> Need:
    """Predict the peak of this machine's resident memory; takes some seconds, in a process of its own.

    Raises UserError where that process fails.
    """
    settings = config.train
    assert settings is not None
    ledger = settings.ledger
    tokenizer = config.model.tokenizer or config.model.path
    asked = Asked(
        tokenizer=tokenizer if Path(tokenizer).expanduser().is_dir() else None,
        questions=ledger is not None and bool(ledger.probes.tasks),
        compute_dtype=config.model.compute_dtype,
        quantization=config.model.quantization,
    )
    process = start(asked)
    recomputed = settings.activation_checkpointing == "full"
    packed = config.model.dequantize == "never"
    found = count_pass(config, batch, False, packed, recomputed, shape.layers)
    held = found.trained + moments(settings, found) + new_rows(settings, shape)
    copies = found.trained * COPIES / 4
    step = found.again if accumulates(settings) else found.first
    audit = copies + found.first
    rows = data.reading - data.examples - moments(settings, found)
    weights = found.frozen + mapped(config, found)
    working, what = max((audit, "the audit"), (step, "a step"), (rows, "reading the rows"))
    return Need(
        what=what,
        weights=float(weights),
        trained=held,
        working=working,
        data=data.examples,
        process=float(finish(process)),
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
