"""The synth step, killed at random points and left to finish: python killed_synth.py CONFIG.json RUN KILLS SHARDS.

Says how many were killed while they worked, and how many shards stood after each kill. Every shard takes a while, so
that kills fall into them too.
"""

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from killing import finish, killed_often


def main(config_file: Path, root: Path, kills: int, total: int) -> None:
    from anukul.config import RunConfig
    from anukul.synth import step, translations

    step.SHARD = 2
    config = RunConfig.model_validate_json(config_file.read_text())
    make = translations.make_translator

    def slow(*given: Any) -> Any:
        made = make(*given)
        work = made.translate

        def translate(texts: list[str]) -> Any:
            time.sleep(0.02)
            done = work(texts)
            time.sleep(0.01)
            return done

        made.translate = translate  # type: ignore[method-assign]
        return made

    translations.make_translator = slow
    # all in processes of their own: threads of the engine do not outlive a fork
    finish(lambda: step.run(config, root / "whole"))
    stood = killed_often(lambda: step.run(config, root / "killed"), root / "killed" / "synth", total, kills)
    finish(lambda: step.run(config, root / "killed"))
    print("killed", len(stood), "of", total, "stood", *stood)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
