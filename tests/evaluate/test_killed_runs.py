"""A run killed twenty times at random points ends with the bytes of one that was left alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from test_step import make_adapter, write_jsonl

from anukul.config import (
    EvaluateSettings,
    GenerationSettings,
    HeldOutText,
    ModelSettings,
    RunConfig,
    Stage,
    TaskSettings,
    TrainSettings,
)
from anukul.evaluate.step import run

KILLS = 20


def test_twenty_kills_change_no_byte(tiny_base: Path, tmp_path: Path) -> None:
    rows = [
        {"query": f"Ram counts {n} books. Sita counts", "choices": [str(n), str(n + 1), "x"], "gold": n % 3}
        for n in range(60)
    ]
    lines = "".join(f"रामले {n} वटा किताब किने। " * (1 + n % 5) + "\n" for n in range(60))
    (tmp_path / "held.txt").write_text(lines, encoding="utf-8")
    model = ModelSettings(path=str(tiny_base), quantization="none", compute_dtype="bfloat16")
    task = TaskSettings(
        name="count", path=write_jsonl(tmp_path / "count.jsonl", rows), language="eng_Latn", role="forgetting"
    )
    config = RunConfig(
        name="t",
        language="npi_Deva",
        model=model,
        train=TrainSettings(stages=(Stage(name="last", format="text"),)),
        evaluate=EvaluateSettings(
            shots=(0, 2, 5),
            seeds=(0, 1),
            tasks=(task,),
            bits_per_byte=(HeldOutText(name="held", path=str(tmp_path / "held.txt"), language="npi_Deva"),),
            generation=GenerationSettings(limit=3, max_new_tokens=24),
            bootstrap=100,
            token_budget=128,
        ),
    )
    make_adapter(model, tmp_path / "alone" / "train" / "last" / "adapter", 0.2)
    shutil.copytree(tmp_path / "alone", tmp_path / "killed")
    (tmp_path / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
    script = Path(__file__).with_name("killed_runs.py")
    command = [
        sys.executable,
        str(script),
        str(tmp_path / "config.json"),
        str(tmp_path / "killed"),
        str(KILLS),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    killed = int(done.stdout.split()[-1])
    assert killed == KILLS, "a run came to its end before it was killed: nothing was tried"
    run(config, tmp_path / "alone")
    files = sorted(path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*.*"))
    assert any(path.name == "scores.json" for path in files)
    for file in files:
        assert (tmp_path / "alone" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes(), file
