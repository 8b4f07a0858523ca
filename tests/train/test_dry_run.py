"""A dry run measures real steps and leaves nothing of itself in the run."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_stage import ENGLISH, NEPALI, lines, make_run, random_example, settings_of

from anukul.config import RunConfig
from anukul.digests import hash_path
from anukul.plan.printed import ledger_share
from anukul.plan.speed import Speed, fitting_dry_run
from anukul.plan.stages import StageCost
from anukul.rundir import read_json
from anukul.train.dry_run import FILE, STEPS, dry_run, first_steps, key_of, read_dry_run
from anukul.train.packing import Counts
from anukul.train.plan import StagePlan
from anukul.train.step import run_stage


def probes(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    (folder / "ne.txt").write_text("\n".join(NEPALI), encoding="utf-8")
    (folder / "en.txt").write_text("\n".join(ENGLISH), encoding="utf-8")
    texts = [
        {"name": "ne", "path": str(folder / "ne.txt"), "language": "npi_Deva"},
        {"name": "en", "path": str(folder / "en.txt"), "language": "eng_Latn"},
    ]
    return {"every_steps": 2, "probes": {"bits_per_byte": texts}, "max_cost_share": 1.0}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_run_after_a_dry_run_is_the_same_to_the_bit(tiny_base: Path, tmp_path: Path) -> None:
    ledger = probes(tmp_path / "probes")
    found = []
    for name in ("tried", "alone"):
        root = tmp_path / name
        config = make_run(root, tiny_base, ledger=ledger)
        before = files_in(root)
        random = torch.random.get_rng_state()
        if name == "tried":
            measured = dry_run(config, root, 0)
            assert files_in(root) - before == {FILE}
            assert torch.equal(torch.random.get_rng_state(), random)
        result = run_stage(config, root, 0)
        losses = [line["loss"] for line in lines(root / "train/translation")]
        found.append((hash_path(root / "train/translation/adapter"), losses, result.rows))
        assert (root / FILE).exists() == (name == "tried")
    assert found[0] == found[1] and len(found[0][1]) > STEPS
    assert measured.steps == STEPS and measured.stage == "translation" and measured.device == "cpu"
    assert measured.stage_steps == found[0][2]["steps"] and measured.stage_tokens == found[0][2]["tokens"]
    assert measured.trained_parameters == found[0][2]["trainable_parameters"]
    assert measured.tokens_per_second > 0 and measured.peak_bytes > 2**27
    assert measured.reading_seconds is not None and measured.reading_seconds > 0


def test_a_later_stage_is_tried_before_the_first_is_trained(tiny_base: Path, tmp_path: Path) -> None:
    config = make_run(tmp_path, tiny_base)
    measured = dry_run(config, tmp_path, 2)
    assert measured.stage == "instruct" and measured.reading_seconds is None
    assert set((tmp_path / "train").iterdir()) == {tmp_path / FILE}


def test_the_step_with_the_fullest_micro_batch_is_among_those_tried() -> None:
    settings = settings_of(context=64, batch_tokens=128, micro_batch_tokens=64)
    lengths = [20] * 24
    lengths[17] = 60
    examples = [random_example(i, length) for i, length in enumerate(lengths)]
    plan = StagePlan(examples, [[i] for i in range(24)], 2, 0)
    few = first_steps(plan, settings)
    assert few.steps == STEPS and few.rows[:8] == plan.rows[:8] and few.rows[8:] == [[16], [17]]
    short = StagePlan(examples, plan.rows[:4], 2, 0)
    assert sorted(first_steps(short, settings).rows) == short.rows
    counts = Counts.of(examples)
    assert max(counts.sums([row])[1] for row in few.rows) == 59


def test_the_step_whose_tokens_see_the_most_others_is_among_those_tried() -> None:
    settings = settings_of(context=64, batch_tokens=128, micro_batch_tokens=64)
    examples = [random_example(i, 20) for i in range(48)]
    examples += [replace(random_example(48, 50), learnt=np.arange(50) > 40)]
    # row 17 learns little, but its tokens are of one document; row 20 learns the most
    rows = [[2 * i, 2 * i + 1] for i in range(24)]
    rows[17], rows[20] = [48], [40, 41, 42]
    plan = StagePlan(examples, rows, 2, 0)
    few = first_steps(plan, settings)
    assert few.steps == STEPS and few.rows[6:] == [*rows[16:18], *rows[20:22]]


def test_a_reading_that_takes_long_is_not_tried(tiny_base: Path, tmp_path: Path) -> None:
    ledger = probes(tmp_path / "probes")
    (tmp_path / "probes/ne.txt").write_text("\n".join(NEPALI * 400), encoding="utf-8")
    config = make_run(tmp_path / "run", tiny_base, ledger=ledger)
    assert dry_run(config, tmp_path / "run", 0).reading_seconds is None


def test_what_changes_neither_speed_nor_memory_keeps_a_dry_run(tiny_base: Path, tmp_path: Path) -> None:
    config = make_run(tmp_path, tiny_base)
    dry_run(config, tmp_path, 0)
    assert config.train is not None

    def changed(**train: Any) -> RunConfig:
        assert config.train is not None
        return config.model_copy(update={"train": config.train.model_copy(update=train)})

    assert fitting_dry_run(changed(learning_rate=1.0, checkpoint_steps=9), tmp_path)[0] is not None
    measured, why = fitting_dry_run(changed(context=512), tmp_path)
    assert measured is None and "train.context: 256 -> 512" in why and "is not used" in why
    assert key_of(config) == json.loads(json.dumps(key_of(config)))
    (tmp_path / FILE).write_text(json.dumps({"schema": -1}))
    assert read_dry_run(tmp_path) is None and fitting_dry_run(config, tmp_path) == (None, "")


def test_a_timed_reading_replaces_the_counted_share(tiny_base: Path, tmp_path: Path) -> None:
    config = make_run(tmp_path / "run", tiny_base, ledger=probes(tmp_path / "probes"))
    measured = dry_run(config, tmp_path / "run", 0)
    assert config.train is not None and measured.reading_seconds is not None
    stage, tokens = config.train.stages[0], 1000.0
    empty: Any = None
    cost = StageCost(stage, 1, "", "", True, empty, empty, tokens, steps=10, ledger_every=5, ledger_share=0.5)
    assert ledger_share(cost, Speed(100.0, "", None)) == 0.5
    # the base's scores, one in the middle and one at the end, beside ten seconds of training
    expected = 3 * measured.reading_seconds / 10.0
    assert np.isclose(ledger_share(cost, Speed(100.0, "", measured)), expected)


@pytest.fixture(scope="module")
def folder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with text, held-out lines and a run.yaml."""
    folder = tmp_path_factory.mktemp("dry")
    (folder / "a.txt").write_text("\n".join(f"{NEPALI[i % 4]} {i}" for i in range(60)), encoding="utf-8")
    (folder / "b.txt").write_text("\n".join(NEPALI), encoding="utf-8")
    config = {
        "name": "t",
        "language": "npi_Deva",
        "model": {"path": str(tiny_base)},
        "corpus": {"inputs": [{"path": str(folder / "a.txt")}], "language_check": False},
        "train": {
            "context": 128,
            "batch_tokens": 128,
            "replay_share": 0.0,
            "lora": {"rank": 2, "alpha": 2},
            "stages": [{"name": "a", "format": "text", "epochs": 3}],
        },
        "evaluate": {"bits_per_byte": [{"name": "h", "path": str(folder / "b.txt"), "language": "npi_Deva"}]},
    }
    (folder / "run.yaml").write_text(json.dumps(config))
    return folder


def anukul(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "anukul.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_the_command_from_refusal_to_a_corrected_plan(folder: Path) -> None:
    refused = anukul(folder, "train", "run.yaml", "--dry-run")
    assert refused.returncode == 2 and "anukul corpus run.yaml" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1 and not (folder / "runs").exists()
    assert anukul(folder, "corpus", "run.yaml").returncode == 0
    unknown = anukul(folder, "train", "run.yaml", "--dry-run", "--stage", "b")
    assert unknown.returncode == 2 and "the stages are a" in unknown.stderr
    done = anukul(folder, "train", "run.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr
    root = folder / "runs/t"
    assert files_in(root / "train") == {"dry-run.json"}
    measured = read_json(root / FILE)["measured"]
    assert re.search(r"predicted +measured +difference", done.stdout)
    assert f"{measured['stage_steps']:,}" in done.stdout and "audit:" in done.stderr
    planned = anukul(folder, "plan", "run.yaml")
    assert planned.returncode == 0, planned.stderr
    assert "measured by the dry run of" in planned.stdout and "measured: " in planned.stdout
    rate = f"{measured['tokens_per_second']:,.0f} tokens/s"
    assert rate in planned.stdout and rate in done.stdout
    stale = anukul(folder, "plan", "run.yaml", "-s", "train.lora.rank=4")
    assert "is not used" in stale.stdout and "train.lora.rank: 2 -> 4" in stale.stdout
    # and the run is none the wiser
    trained = anukul(folder, "train", "run.yaml")
    assert trained.returncode == 0 and "train/a: done" in trained.stderr
    assert read_json(root / "train/a/done.json")["rows"]["steps"] == measured["stage_steps"]
    again = anukul(folder, "train", "run.yaml")
    assert "train/a: done before, kept" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--stage", "a"), "--stage goes with --dry-run"),
        (("--dry-run", "--redo"), "do not go together"),
        (("--dry-run", "-s", "train=null"), "no train section"),
    ],
)
def test_mistakes_get_one_line(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    done = anukul(folder, "train", "run.yaml", *arguments)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.strip().splitlines()) == 1
