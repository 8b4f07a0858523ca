"""One made run folder and its report, shared by the tests that only read them."""

import made_run
import numpy as np
import pytest
from made_run import Made

from anukul.config import RunConfig
from anukul.report import step
from anukul.rundir import write_json


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A full run beside a variant without replay, a variant that is not there, and the report of it."""
    folder = tmp_path_factory.mktemp("runs")
    config = made_run.make_run(folder / "made-run")
    variant = made_run.config(
        name="no-replay", train={"stages": [{"name": "a", "format": "text"}], "replay_share": 0.0}
    )
    (folder / "no-replay").mkdir()
    write_json(folder / "no-replay" / "config.resolved.json", variant.model_dump(mode="json"))
    made_run.make_evaluation(folder / "no-replay", np.random.default_rng(5), loss=0.11)
    compare = [str(folder / "no-replay"), str(folder / "absent")]
    config = RunConfig.model_validate({**config.model_dump(mode="json"), "report": {"compare": compare}})
    root = folder / "made-run"
    result = step.run(config, root)
    read = [(root / "report" / name).read_text(encoding="utf-8") for name in ("index.html", "README.md")]
    return Made(config, root, result, *read)
