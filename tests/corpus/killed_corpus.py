"""The corpus step, killed at random points and left to finish: python killed_corpus.py CONFIG.json RUN KILLS.

Says how many were killed while they worked, and how many shards stood after each kill.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from killing import finish, killed_often


def main(config_file: Path, root: Path, kills: int) -> None:
    from anukul.config import RunConfig
    from anukul.corpus import judged, sorted_out, step

    assert judged and sorted_out
    step.SHARD_ROWS = 60
    config = RunConfig.model_validate_json(config_file.read_text())
    result = step.run(config, root / "whole")
    rows = result.rows["documents"] + result.rows["dropped"]
    total = 2 * -(-rows // step.SHARD_ROWS)  # every shard is judged and then sorted out
    stood = killed_often(lambda: step.run(config, root / "killed"), root / "killed" / "corpus", total, kills)
    finish(lambda: step.run(config, root / "killed"))
    print("killed", len(stood), "of", total, "stood", *stood)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
