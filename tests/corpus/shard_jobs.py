"""Jobs that workers of the tests do: some die, some fail."""

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from anukul.errors import UserError


@dataclass(frozen=True)
class NumberJob:
    target: Path
    number: int
    deaths: int = 0  # how many workers it ends before it is done
    how: str = ""

    @property
    def name(self) -> str:
        return f"number {self.number}"


def write_number(job: NumberJob, folder: Path) -> None:
    """Write a number; die first as often as the job says."""
    folder.mkdir(parents=True)
    (folder / "half").write_text("half")
    time.sleep(0.01)
    for death in range(job.deaths):
        marker = job.target.parent / f"death-{job.number}-{death}"
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if job.how == "long":
        for tick in range(3000):
            (folder / "ticks").write_text(str(tick))
            time.sleep(0.01)
    if job.how == "user":
        raise UserError(f"number {job.number} is not liked")
    if job.how == "full":
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "number"))
    if job.how == "bug":
        raise ZeroDivisionError("by nothing")
    (folder / "half").rename(folder / "number")
    (folder / "number").write_text(str(job.number))
