"""Evaluate in forked processes that are killed at random points, until one is left alone to finish.

    python killed_runs.py CONFIG.json RUN KILLS

Forked from one process that has loaded the libraries and computed nothing, so that a kill costs no start.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from anukul.config import RunConfig
from anukul.evaluate.step import run


def main(config: RunConfig, root: Path, kills: int) -> None:
    """Kill `kills` times; print how long each life was, and how many were killed while at work."""
    torch.set_num_threads(1)
    draw = random.Random(0)
    killed = 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            run(config, root)
            os._exit(0)
        time.sleep(draw.uniform(0.05, 1.2))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
    run(config, root)
    print(f"killed {killed}")


if __name__ == "__main__":
    main(RunConfig.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), int(sys.argv[3]))
