"""A worker for Ray that is killed at its work once."""

import os
import signal
from collections.abc import Callable
from pathlib import Path


def dying(folder: str) -> Callable[[int], int]:
    """Return what squares a number, and dies the first time that it is asked for the third."""

    def work(number: int) -> int:
        died = Path(folder) / "died"
        if number == 2 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    return work


def seeing(given: None) -> Callable[[int], tuple[int, int]]:
    """Return what says how many GPUs Ray gave this process, and how many it sees."""

    def work(number: int) -> tuple[int, int]:
        import ray

        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return len(ray.get_gpu_ids()), len([one for one in visible.split(",") if one])

    return work
