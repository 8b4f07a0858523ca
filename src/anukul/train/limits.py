"""What a machine runs out of, said as what a user can do about it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from anukul.disk import FULL
from anukul.errors import UserError


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Raise UserError where the block cannot write `target`, as on a full disk; what stood before still stands."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: torch.save
        raise _not_written(target, error) from error


@contextmanager
def within_limits(folder: Path) -> Iterator[None]:
    """Raise UserError where the block, which trains in `folder`, runs out of memory or disk."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise UserError(
            f"{folder}: out of memory ({_first_line(error)}); if something else took it, the same command goes on from "
            "the newest checkpoint; if not, lower train.micro_batch_tokens and --redo train"
        ) from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _not_written(folder, error) from error


def _not_written(target: Path, error: BaseException) -> UserError:
    there = next(path for path in (target, *target.parents) if path.exists())
    free = shutil.disk_usage(there).free / 2**30
    return UserError(
        f"{target}: cannot be written ({_first_line(error)}; {free:,.1f} GiB are free there); make room, and the same "
        "command goes on from the newest checkpoint"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
