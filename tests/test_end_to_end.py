"""The whole road on a small world: killed with SIGKILL in every step it ends with the same bits as in one go."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from anukul.config import WorldSettings
from anukul.digests import hash_path
from anukul.rundir import read_json
from anukul.synth.world import WorldConfig, build
from anukul.train.pretrain import pretrain

SMALL = WorldConfig(
    seed=3, people=40, base_bytes=60_000, replay_bytes=40_000, nepali_bytes=90_000, instructions=160,
    statements_per_fact_english=3, statements_per_fact_nepali=3, heldout_sentences=60, treebank_sentences=80,
    agreement_per_phenomenon=10, category_questions=30, reading_questions=30,
)  # fmt: skip
STAGES = ("translation", "bilingual", "instruct")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    build(SMALL, folder)
    lines = (folder / "base_corpus.jsonl").read_text(encoding="utf-8").splitlines()
    settings = WorldSettings(base_steps=12, base_hidden=64, base_layers=2, base_heads=2, base_vocabulary=500)
    pretrain([json.loads(line)["text"] for line in lines], [], settings, folder / "base")
    return folder


@pytest.fixture(scope="module")
def run_yaml(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shipped = Path(__file__).parents[1] / "configs" / "demo.yaml"
    config = yaml.safe_load(shipped.read_text(encoding="utf-8").replace("${world}", str(world)))
    del config["world"]
    config["train"] |= {
        "context": 256,
        "batch_tokens": 1024,
        "micro_batch_tokens": 1024,
        "checkpoint_steps": 2,
    }
    config["train"]["stages"] = [{"name": name, "format": name, "max_steps": 5} for name in STAGES]
    config["evaluate"] |= {"shots": [0, 2], "bootstrap": 100}
    config["evaluate"]["translation"] |= {"limit": 6, "shots": [0, 1], "max_new_tokens": 8}
    config["probe"]["case_study"] = case_study(world)
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return path


def case_study(world: Path) -> dict[str, str]:
    bank = (world / "treebank.npi_Deva.conllu").read_text(encoding="utf-8")
    sentences = [line.removeprefix("# text = ") for line in bank.splitlines() if line.startswith("# text = ")]
    sentence = next(s for s in sentences if len(set(s.rstrip("।?").split())) == len(s.split()) >= 4)
    words = sentence.rstrip("।?").split()
    return {"sentence": sentence, "query": words[-1], "key": words[0]}


def command(run_yaml: Path, root: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "anukul.cli", "run", str(run_yaml), "--run", str(root), *more]


def go(run_yaml: Path, root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(run_yaml, root, *more), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def whole(run_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs") / "whole"
    done = go(run_yaml, root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(root / "report" / "index.html")
    return root


def kill_when(run_yaml: Path, root: Path, sign: str) -> None:
    """Start the command and SIGKILL its process group as soon as a file matching `sign` is there."""
    with (root.parent / "log").open("w") as log:
        process = subprocess.Popen(command(run_yaml, root), stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 120
    while not any(root.glob(sign)):
        assert process.poll() is None, (sign, (root.parent / "log").read_text())
        assert time.monotonic() < deadline, sign
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def results(root: Path) -> dict[str, str]:
    names = [
        "corpus/documents.parquet",
        "synth/pairs.parquet",
        "evaluate/scores.json",
        "evaluate/items.parquet",
        "evaluate/flips.parquet",
        "evaluate/translations.parquet",
    ]
    names += ["probe/heads.parquet", "probe/selected.json", "probe/case.json"]
    return {
        name: hash_path(root / name) for name in [*names, *(f"train/{stage}/adapter" for stage in STAGES)]
    }


def test_killed_in_every_step_it_ends_with_the_same_bits(whole: Path, run_yaml: Path, tmp_path: Path) -> None:
    root = tmp_path / "killed"
    signs = ["corpus/started.json", "synth/started.json"]
    signs += [f"train/{stage}/step-000002/state.json" for stage in STAGES]
    signs += ["evaluate/cache/*", "probe/parts/*"]
    for sign in signs:
        kill_when(run_yaml, root, sign)
    done = go(run_yaml, root)
    assert done.returncode == 0, done.stderr
    assert "corpus: done before, kept" in done.stderr
    assert results(root) == results(whole)


def test_the_run_folder_is_as_promised_and_a_second_run_keeps_it(whole: Path, run_yaml: Path) -> None:
    for step in ("corpus", "synth", "evaluate", "probe", "report", *(f"train/{stage}" for stage in STAGES)):
        marker = read_json(whole / step / "done.json")
        assert marker["outputs"] and marker["settings"] and marker["rows"], step
        for name, value in marker["outputs"].items():
            assert hash_path(whole / step / name) == value
    assert read_json(whole / "run.json")["packages"]["torch"]
    assert (whole / "config.requested.yaml").read_bytes() == run_yaml.read_bytes()
    page = (whole / "report" / "index.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page
    started = time.monotonic()
    again = go(run_yaml, whole)
    assert again.returncode == 0 and again.stderr.count("done before, kept") == 8
    assert time.monotonic() - started < 10  # nothing heavy is imported


def test_a_changed_config_is_refused_and_redone_on_demand(whole: Path, run_yaml: Path) -> None:
    before = [
        hash_path(whole / name) for name in ("evaluate/scores.json", "config.resolved.json", "run.json")
    ]
    refused = go(run_yaml, whole, "-s", "evaluate.shots=[0, 1]")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "evaluate.shots.1: 2 -> 1" in refused.stderr and "--redo evaluate" in refused.stderr
    after = [hash_path(whole / name) for name in ("evaluate/scores.json", "config.resolved.json", "run.json")]
    assert after == before  # a refused command leaves no trace
    redone = go(run_yaml, whole, "-s", "probe.min_arcs=10", "--redo", "probe")
    assert redone.returncode == 0, redone.stderr
    assert "train/instruct: done before, kept" in redone.stderr
    assert read_json(whole / "probe" / "selected.json")["min_arcs"] == 10
