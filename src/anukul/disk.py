"""A disk that is full: known from every other fault, and said as what a user can do about it."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anukul.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the quota, the largest file that is allowed
SHORT = re.compile(r"\d+ requested and \d+ written")  # how numpy says it, without a number


def full_by(error: BaseException) -> int | None:
    """Return the number of the operating system's error where the disk is full, None for any other error.

    Libraries that write by themselves give the words of the system and no number.
    """
    if isinstance(error, UserError):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in FULL else None
    text = str(error)
    if isinstance(error, OSError) and SHORT.search(text):
        return errno.ENOSPC
    return next((number for number in FULL if os.strerror(number) in text), None)


def not_written(error: BaseException, number: int, folder: Path) -> UserError:
    """Return the error to show: the file or else the folder that was written to, why, and what to do."""
    named = getattr(error, "filename", None)
    target = Path(named) if isinstance(named, str) else folder
    there = next(path for path in (target.absolute(), *target.absolute().parents) if path.exists())
    why = "the disk or the quota is full"
    if number == errno.EFBIG:
        why = "a file reached the largest size that is allowed"
    free = shutil.disk_usage(there).free
    return UserError(
        f"{target}: cannot be written: {why} ({free:,} bytes free now); make space, then the same command goes on from "
        "what is whole"
    )


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """Raise UserError where the block, which writes into `folder`, finds the disk full."""
    try:
        yield
    except Exception as error:
        number = full_by(error)
        if number is None:
            raise
        raise not_written(error, number, folder) from error
