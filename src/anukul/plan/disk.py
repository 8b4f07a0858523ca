"""What a run's training leaves on the disk: adapters, checkpoints, the copy of the best reading's weights."""

from dataclasses import dataclass

from anukul.config import TrainSettings
from anukul.train.checkpoint import KEEP
from anukul.train.memory import MOMENTS


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes on the disk; text and evaluation apart."""

    adapter: float  # one of them; a checkpoint holds one and the optimizer's moments
    checkpoint: float
    kept: float  # when all stages are done
    peak: float  # while a checkpoint is written, the one that it replaces still there


def predict_disk(settings: TrainSettings, trained: int, steps: list[int], start: int = 0) -> Disk:
    """Predict for stages of so many steps; 0 stands for a number that is not known and taken for many.

    `start` counts the numbers that PiSSA starts from: an adapter holds them beside what is trained.
    """
    adapter = 4.0 * (trained + start)
    checkpoint = adapter + trained * (MOMENTS[settings.optimizer] or MOMENTS["adamw_8bit"])
    best = 4.0 * trained if settings.ledger and settings.ledger.keep_best else 0.0
    kept = 0.0
    most = 0
    for count in steps:
        written = KEEP if count == 0 else (count - 1) // settings.checkpoint_steps
        kept += adapter + best + min(KEEP, written) * checkpoint
        most = max(most, written)
    return Disk(adapter, checkpoint, kept, kept + (checkpoint if most > KEEP else 0.0) + best)
