"""The corpus step in forked processes that are killed at random points, groups and all, then left to finish.

    python killed_corpus.py CONFIG.json RUN KILLS

Forked from one process that has loaded the libraries, so that a kill costs no start. Says how many were killed while
they worked, and how many shards stood after each kill.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path


def main(config_file: Path, root: Path, kills: int) -> None:
    from anukul.config import RunConfig
    from anukul.corpus import judged, sorted_out, step

    assert judged and sorted_out
    step.SHARD_ROWS = 60
    config = RunConfig.model_validate_json(config_file.read_text())
    result = step.run(config, root / "whole")
    rows = result.rows["documents"] + result.rows["dropped"]
    total = 2 * -(-rows // step.SHARD_ROWS)  # every shard is judged and then sorted out
    draw = random.Random(0)

    def standing() -> int:
        return len(list((root / "killed").glob("corpus/parts/*/[!.]*/stats.json")))

    def ended(child: int) -> bool:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    stood: list[int] = []
    for kill in range(kills):
        child = os.fork()
        if child == 0:
            os.setsid()
            step.run(config, root / "killed")
            os._exit(0)
        while standing() < total * (kill + 0.5) / kills and not ended(child):
            time.sleep(0.002)
        time.sleep(draw.uniform(0.0, 0.02))
        os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        stood.append(standing())
    step.run(config, root / "killed")
    print("killed", len(stood), "of", total, "stood", *stood)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
