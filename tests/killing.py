"""A step in forked processes that are killed at random points, groups and all, then left to finish.

Forked from one process that has loaded the libraries, so that a kill costs no start.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path


def standing(folder: Path) -> int:
    """How many shards of a step stand."""
    return len(list(folder.glob("parts/*/[!.]*/stats.json")))


def fork(work: Callable[[], object]) -> int:
    """Do work in a process that leads a group of its own; return its number."""
    child = os.fork()
    if child == 0:
        os.setsid()
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def finish(work: Callable[[], object]) -> None:
    """Do work in a process of its own, to its end."""
    _, status = os.waitpid(fork(work), 0)
    assert status == 0, status


def ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def killed_often(work: Callable[[], object], folder: Path, total: int, kills: int) -> list[int]:
    """Do work and kill it so often, when shards of `total` have come to stand; return how many stood after each."""
    draw = random.Random(0)
    stood: list[int] = []
    for kill in range(kills):
        child = fork(work)
        while standing(folder) < total * (kill + 0.5) / kills and not ended(child):
            time.sleep(0.002)
        time.sleep(draw.uniform(0.0, 0.02))
        os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), status
        stood.append(standing(folder))
    return stood
