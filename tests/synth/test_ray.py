"""Translation on a local Ray cluster of two workers gives the rows that one process gives; in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_synth_step import LOOSE, NEPALI, contents, make_config, translate_settings, write_corpus

from anukul import cluster
from anukul.synth import step

CHILD = """
import sys, warnings
from pathlib import Path
from anukul.config import RunConfig
from anukul.errors import UserError
from anukul.synth import step
config = RunConfig.model_validate_json(Path(sys.argv[1]).read_text())
for root in sys.argv[2:]:
    try:
        step.run(config, Path(root))
    except UserError as error:
        print("refused:", error)
"""


def test_a_shard_is_the_same_on_ray(
    tmp_path: Path, ending_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{text} {other}" for text in NEPALI for other in NEPALI[:2]]
    translate = translate_settings(ending_model, shard_rows=3)
    local = make_config(translate=translate, **LOOSE)
    write_corpus(tmp_path / "local", texts)
    step.run(local, tmp_path / "local")
    on_ray = make_config(translate=translate, **LOOSE, engine="ray", workers=2)
    (tmp_path / "config.json").write_text(on_ray.model_dump_json())
    write_corpus(tmp_path / "whole", texts)
    # a run that stopped after two shards of five goes on where it stopped
    write_corpus(tmp_path / "resumed", texts)
    (tmp_path / "none" / "corpus").mkdir(parents=True)
    roots = [str(tmp_path / name) for name in ("whole", "resumed", "none")]
    half = make_config(translate=translate.model_copy(update={"limit": 6}), **LOOSE)
    write_corpus(tmp_path / "half", texts)
    kept: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(step, "remove_folder", kept.append)
        step.run(half, tmp_path / "half")
    (tmp_path / "resumed" / "synth").mkdir()
    kept[0].rename(tmp_path / "resumed" / "synth" / "parts")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "config.json"), *roots], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("refused:") == 1 and "translates the corpus" in done.stdout
    for name in ("whole", "resumed"):
        assert contents(tmp_path / name / "synth") == contents(tmp_path / "local" / "synth")


DYING = """
import sys
from ray_workers import dying
from anukul import cluster
print(list(cluster.mapped(dying, sys.argv[1], 6, 2)))
"""


def test_a_worker_of_ray_that_dies_is_replaced(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", DYING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": here})
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("[0, 1, 4, 9, 16, 25]")  # after what Ray says of the death
    assert (tmp_path / "died").exists()


# Ray is told of GPUs that are not there: it hands them out all the same, and CTranslate2, seeing none, takes the CPU
SHARING = """
import sys
from pathlib import Path
import ray
from ray_workers import seeing
from anukul import cluster
from anukul.config import RunConfig
from anukul.errors import UserError
from anukul.synth import step
ray.init(num_cpus=5, num_gpus=int(sys.argv[1]), include_dashboard=False, log_to_driver=False)
for workers, gpus in ((4, None), (1, None), (2, 0)):
    print(workers, gpus, set(cluster.mapped(seeing, None, 4, workers, None, gpus)))
try:
    list(cluster.mapped(seeing, None, 4, 1, None, 3))
except UserError as error:
    print("refused:", error)
step.run(RunConfig.model_validate_json(Path(sys.argv[2]).read_text()), Path(sys.argv[3]))
"""


def test_workers_of_ray_share_the_gpus(tmp_path: Path, ending_model: Path) -> None:
    translate = translate_settings(ending_model, shard_rows=3)
    write_corpus(tmp_path / "local", NEPALI)
    step.run(make_config(translate=translate, **LOOSE), tmp_path / "local")
    named = translate.model_copy(update={"devices": (1,)})
    config = make_config(translate=named, **LOOSE, engine="ray", workers=2)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    write_corpus(tmp_path / "ray", NEPALI)
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", SHARING, "2", str(tmp_path / "config.json"), str(tmp_path / "ray")]
    done = subprocess.run(command, capture_output=True, text=True, env=here)
    assert done.returncode == 0, done.stderr[-3000:]
    said = [line for line in done.stdout.splitlines() if line[0].isdigit() or line.startswith("refused")]
    assert said == [
        "4 None {(1, 1)}",
        "1 None {(2, 2)}",
        "2 0 {(0, 0)}",
        "refused: engine: ray: 3 GPUs are asked for each worker, and no machine has more than 2",
    ]
    assert contents(tmp_path / "ray" / "synth") == contents(tmp_path / "local" / "synth")


def test_nothing_to_do_starts_no_cluster() -> None:
    assert list(cluster.mapped(lambda given: lambda item: item, None, 0, 2)) == []
    assert "ray" not in sys.modules
