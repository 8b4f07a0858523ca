"""Several processes train as one: on the CPU with gloo, each a real process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from made_stage import ENGLISH, NEPALI, make_run
from safetensors.torch import load_file

from anukul.config import RunConfig
from anukul.errors import UserError
from anukul.rundir import hash_path, read_json
from anukul.train import distributed, step
from anukul.train.distributed import Processes

WORKER = Path(__file__).with_name("distributed_worker.py")


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass
class Launcher:
    """Starts the processes of a launch, and looks after none of them."""

    server: subprocess.Popen[str]
    folder: Path
    launches: int = 0

    def start(self, count: int, *arguments: str) -> list[int]:
        """Start `count` processes; return their ids."""
        assert self.server.stdin is not None
        self.launches += 1
        folder = self.folder / str(self.launches)
        folder.mkdir()
        order = {"count": count, "arguments": arguments, "folder": str(folder)}
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return self._answer()

    def end(self) -> list[tuple[int, str]]:
        """Wait for the processes; return (exit code, what it said to standard error) of each."""
        codes = self._answer()
        folder = self.folder / str(self.launches)
        return [(code, (folder / f"{i}.err").read_text(encoding="utf-8")) for i, code in enumerate(codes)]

    def _answer(self) -> list[int]:
        assert self.server.stdout is not None
        found: list[int] = json.loads(self.server.stdout.readline())
        return found


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(WORKER)],
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        yield Launcher(server, tmp_path_factory.mktemp("launches"))


@dataclass
class Jobs:
    """What the workers are given to do, by name."""

    folder: Path
    base: Path
    launcher: Launcher
    held: list[dict[str, Any]] = field(default_factory=list)

    def config(self, root: Path, model: dict[str, Any] | None = None, **train: Any) -> RunConfig:
        """A run folder with data; three packed rows in a step, so that two processes have unequal shares."""
        given: dict[str, Any] = {
            "context": 128,
            "batch_tokens": 384,
            "micro_batch_tokens": 128,
            "lora": {"rank": 4, "alpha": 8, "dropout": 0.0},
            **train,
        }
        config = make_run(root, self.base, **given)
        exact = {"quantization": "none", "compute_dtype": "float32", **(model or {})}
        return config.model_copy(update={"model": config.model.model_copy(update=exact)})

    def add(
        self,
        name: str,
        stages: Sequence[int] = (0,),
        sharded: bool = False,
        of: str | None = None,
        model: dict[str, Any] | None = None,
        **train: Any,
    ) -> None:
        """A job in the folder `name`; `of` names a finished one to go on from, from its checkpoint of step 2."""
        config = self.config(self.folder / "data" if of else self.folder / name, model, **train)
        job = {
            "root": str(self.folder / name),
            "config": config.model_dump(mode="json"),
            "stages": list(stages),
        }
        self.held.append({**job, "sharded": sharded, "of": str(self.folder / of) if of else None, "step": 2})

    def call(self, name: str, **more: Any) -> None:
        """A job of `distributed_worker` that every process does by itself."""
        config = self.config(self.folder / name, **more)
        job = {"root": str(self.folder / name), "config": config.model_dump(mode="json"), "call": name}
        self.held.append({**job, "sharded": True})

    def told(self, name: str) -> list[Any]:
        """What the processes wrote in it."""
        return [read_json(path) for path in sorted((self.folder / name).glob("*.json"))]

    def alone(self, name: str, stages: Sequence[int] = (0,), **more: Any) -> None:
        """Do a job in this process."""
        config = self.config(self.folder / name, **more)
        for index in stages:
            step.run_stage(config, self.folder / name, index)

    def run(self, count: int) -> None:
        """Let `count` processes do the jobs."""
        path = self.folder / "jobs.json"
        path.write_text(json.dumps(self.held), encoding="utf-8")
        self.held = []
        self.launcher.start(count, "jobs", str(path))
        for code, said in self.launcher.end():
            assert code == 0, said

    def adapter(self, name: str, stage: str = "translation") -> Path:
        return self.folder / name / "train" / stage / "adapter"

    def weights(self, name: str, stage: str = "translation") -> dict[str, torch.Tensor]:
        return load_file(self.adapter(name, stage) / "adapter_model.safetensors")

    def losses(self, name: str, stage: str = "translation") -> list[float]:
        return [line["loss"] for line in read_lines(self.folder / name / "train" / stage / "metrics.jsonl")]

    def assert_near(self, first: str, second: str, stage: str = "translation", atol: float = 1e-5) -> None:
        """Losses and weights of two runs are the same but for the order of roundings in fp32."""
        assert self.losses(first, stage) == pytest.approx(self.losses(second, stage), abs=atol)
        one, two = self.weights(first, stage), self.weights(second, stage)
        moved = max(float(value.abs().max()) for value in one.values())
        assert one.keys() == two.keys() and moved > 0.01
        assert all(torch.allclose(value, two[name], atol=atol) for name, value in one.items())

    def assert_same(self, first: str, second: str, stage: str = "translation") -> None:
        assert self.losses(first, stage) == self.losses(second, stage)
        assert hash_path(self.adapter(first, stage)) == hash_path(self.adapter(second, stage))


LEDGER = {
    "every_steps": 2,
    "keep_best": {"language": "npi_Deva"},
    "max_cost_share": 1.0,
}
NF4 = {"quantization": "nf4", "dequantize": "never"}
DROPOUT = {"lora": {"rank": 4, "alpha": 8, "dropout": 0.2}}
THIN = {"batch_tokens": 128}


@pytest.fixture(scope="module")
def jobs(tiny_base: Path, launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    """Everything that the tests below compare, done by one, two and three processes."""
    made = Jobs(tmp_path_factory.mktemp("distributed"), tiny_base, launcher)
    probes = made.folder / "probe.txt"
    probes.write_text("\n".join(NEPALI), encoding="utf-8")
    text = {"name": "ne", "path": str(probes), "language": "npi_Deva"}
    ledger = {**LEDGER, "probes": {"bits_per_byte": [text]}}
    made.alone("one", (0, 1, 2))
    made.alone("one-nf4", model=NF4)
    made.alone("one-thin", **THIN)
    made.alone("one-ledger", ledger=ledger)

    made.add("two", (0, 1, 2))
    made.add("two-again", (0, 1, 2))
    made.add("two-dropout", **DROPOUT)
    made.add("two-dropout-again", **DROPOUT)
    made.add("two-thin", **THIN)
    made.add("two-ledger", ledger=ledger)
    made.add("two-on", of="two")
    made.add("one-then-two", of="one")
    made.add("sharded", sharded=True)
    made.add("sharded-thin", sharded=True, activation_checkpointing="full", **THIN)
    made.add("sharded-nf4", sharded=True, model=NF4)
    made.add("sharded-ledger", sharded=True, ledger=ledger)
    made.call("weigh")
    made.call("fail")
    made.run(2)

    made.add("two-then-three", of="two")
    made.run(3)
    return made


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("sharded", [False, True])
def test_a_steps_rows_are_cut_once_and_evenly(count: int, sharded: bool) -> None:
    for rows in range(20):
        cut = Processes(0, count, sharded=sharded).cut(list(range(rows)), 3)
        shares = [[row for part in parts for row in part] for parts in cut]
        assert [row for share in shares for row in share] == list(range(rows))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert all(len(part) <= 3 for parts in cut for part in parts)
        assert not sharded or len({len(parts) for parts in cut}) == 1
        assert [Processes(i, count, sharded=sharded).parts(list(range(rows)), 3) for i in range(count)] == cut


def test_two_processes_train_what_one_does(jobs: Jobs) -> None:
    for stage in ("translation", "bilingual", "instruct"):
        assert len(jobs.losses("two", stage)) >= 2
        jobs.assert_near("one", "two", stage)
        jobs.assert_same("two", "two-again", stage)
    logged = [read_lines(jobs.folder / name / "train/translation/metrics.jsonl") for name in ("one", "two")]
    for key in ("tokens", "loss_tokens", "replay_loss_tokens", "learning_rate"):
        assert [line[key] for line in logged[0]] == [line[key] for line in logged[1]]


def test_a_step_with_fewer_rows_than_processes_is_a_step(jobs: Jobs) -> None:
    jobs.assert_near("one-thin", "two-thin")
    jobs.assert_near("one-thin", "sharded-thin")


def test_dropout_is_drawn_by_process_and_repeats(jobs: Jobs) -> None:
    jobs.assert_same("two-dropout", "two-dropout-again")
    assert jobs.losses("two-dropout")[1:] != pytest.approx(jobs.losses("two")[1:], abs=1e-4)


def test_a_stage_resumes_on_another_number_of_processes(jobs: Jobs) -> None:
    jobs.assert_same("two-on", "two")
    jobs.assert_near("one-then-two", "one")
    jobs.assert_near("two-then-three", "two")
    from distributed_worker import stop_at

    stop_at(jobs.folder / "two", jobs.folder / "two-then-one", 2)
    step.run_stage(jobs.config(jobs.folder / "data"), jobs.folder / "two-then-one", 0)
    jobs.assert_near("two-then-one", "two")


def test_the_ledger_says_the_same_to_all(jobs: Jobs) -> None:
    read = [
        read_lines(jobs.folder / name / "train/translation/ledger.jsonl")
        for name in ("one-ledger", "two-ledger", "sharded-ledger")
    ]
    assert len(read[0]) >= 2
    for other in read[1:]:
        assert [reading["best"] for reading in other] == [reading["best"] for reading in read[0]]
        for mine, theirs in zip(read[0], other, strict=True):
            assert theirs["changes"][0]["adapted"] == pytest.approx(mine["changes"][0]["adapted"], abs=1e-5)
    jobs.assert_near("one-ledger", "two-ledger")
    jobs.assert_near("one-ledger", "sharded-ledger")


def test_a_sharded_base_trains_the_same_adapter(jobs: Jobs) -> None:
    jobs.assert_near("one", "sharded")
    jobs.assert_near("one-nf4", "sharded-nf4")
    for own, whole in jobs.told("weigh"):
        assert own == whole / 2 > 100_000


def test_what_one_process_cannot_do_all_are_told(jobs: Jobs) -> None:
    assert jobs.told("fail") == ["process 1 of 2: no base here"] * 2


def write_run(folder: Path, base: Path, **train: Any) -> Path:
    """A run.yaml with texts of its own; a stage of `text` reads them."""
    for name, kinds in (("ne", NEPALI), ("en", ENGLISH)):
        written = [f"{kinds[i % 4]} {kinds[(i // 4) % 4]} {i}" for i in range(40)]
        (folder / f"{name}.txt").write_text("\n".join(written), encoding="utf-8")
    given: dict[str, Any] = {
        "stages": [{"name": "read", "format": "text"}],
        "lora": {"rank": 4, "alpha": 8},
        "context": 128,
        "batch_tokens": 256,
        "checkpoint_steps": 2,
        **train,
    }
    config = {
        "name": "t",
        "language": "npi_Deva",
        "model": {"path": str(base), "quantization": "none", "compute_dtype": "float32"},
        "corpus": {
            "inputs": [{"path": str(folder / "ne.txt")}],
            "replay": [{"path": str(folder / "en.txt")}],
            "language_check": False,
        },
        "train": given,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return path


def test_accelerate_launch_runs_the_whole_road(tiny_base: Path, tmp_path: Path) -> None:
    path = write_run(tmp_path, tiny_base)
    launcher = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")
    rest = ("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
    port = ("--main_process_port", "0")
    done = subprocess.run(
        [
            sys.executable,
            *launcher,
            *rest,
            *port,
            "-m",
            "anukul.cli",
            "run",
            str(path),
            "--run",
            str(tmp_path / "r"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    for unit in ("corpus", "train/read", "report"):
        assert (tmp_path / "r" / unit / "done.json").exists()
        assert done.stderr.count(f"{unit}: done in") == 1
    assert done.stdout.count("index.html") == 1
    assert read_json(tmp_path / "r/run.json")["processes"] == 2


@pytest.mark.parametrize(
    ("setting", "said"), [("learning_rate", "training diverged"), ("lerning_rate", "unknown key")]
)
def test_a_users_error_is_told_once_and_ends_all_with_2(
    launcher: Launcher, tiny_base: Path, tmp_path: Path, setting: str, said: str
) -> None:
    path = write_run(tmp_path, tiny_base, **{setting: 1e30})
    launcher.start(2, "anukul", "run", str(path), "--run", str(tmp_path / "r"))
    (code, first), (other, second) = launcher.end()
    assert (code, other) == (2, 2) and second == ""
    told = [line for line in first.splitlines() if line.startswith("anukul:")]
    assert len(told) == 1 and said in told[0]


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others(
    launcher: Launcher, tiny_base: Path, tmp_path: Path, killed: int
) -> None:
    path = write_run(tmp_path, tiny_base, stages=[{"name": "read", "format": "text", "epochs": 3000}])
    processes = launcher.start(2, "anukul", "run", str(path), "--run", str(tmp_path / "r"))
    until = time.monotonic() + 40
    while not list((tmp_path / "r/train/read").glob("step-*")) and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(processes[killed], signal.SIGKILL)
    at = time.monotonic()
    found = launcher.end()
    assert found[killed][0] == -signal.SIGKILL
    assert time.monotonic() - at < 15
    code, said = found[1 - killed]
    assert code == 1
    if killed == 1:
        told = said.splitlines()[-1]
        assert told.startswith("anukul: train: another process of this run ended")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "set up for DeepSpeed"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "version 1 of FSDP"),
    ],
)
def test_other_kinds_of_launch_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said):
        distributed.join()


def test_a_run_folder_that_is_not_shared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "SEEN_WITHIN", 0.3)
    (tmp_path / distributed.TOKEN).write_text("of an earlier run")
    with pytest.raises(UserError, match="does not see the run folder"):
        distributed._require_seen(tmp_path / distributed.TOKEN, "of this one")
