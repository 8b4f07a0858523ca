"""Several processes train as one: on the CPU with gloo, each a real process."""

import json
import os
import shutil
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

from anukul import pipeline
from anukul.cli import prepare
from anukul.config import RunConfig
from anukul.digests import hash_path
from anukul.errors import UserError
from anukul.lifeline import HOST
from anukul.rundir import read_json
from anukul.train import distributed, step
from anukul.train.checkpoint import checkpoints
from anukul.train.distributed import Processes

WORKER = Path(__file__).with_name("distributed_worker.py")


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True)
class End:
    """What became of a process."""

    code: int
    said: str  # to standard error

    @property
    def told(self) -> list[str]:
        """The lines that are for the user when something is wrong."""
        return [line for line in self.said.splitlines() if line.startswith("anukul:")]


@dataclass
class Launcher:
    """Starts the processes of a launch, and looks after none of them."""

    server: subprocess.Popen[str]
    folder: Path
    launches: int = 0

    def run(
        self, count: int, *arguments: str, fault: dict[str, Any] | None = None, machines: bool = False
    ) -> list[End]:
        """Run `count` processes to their end; one may meet a `fault`: its `index`, the `step` and the `kind`."""
        assert self.server.stdin is not None and self.server.stdout is not None
        self.launches += 1
        folder = self.folder / str(self.launches)
        folder.mkdir()
        order = {"count": count, "arguments": arguments, "folder": str(folder), "fault": fault}
        order["machines"] = machines
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        codes: list[int] = json.loads(self.server.stdout.readline())
        if fault:
            assert time.time() - float((folder / "fault").read_text()) < 10
        return [End(code, (folder / f"{i}.err").read_text("utf-8")) for i, code in enumerate(codes)]


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

    def alone_from(self, whole: str, step_done: int, name: str, **more: Any) -> None:
        """Go on alone with what others had done when they were stopped after a step."""
        from distributed_worker import stop_at

        stop_at(self.folder / whole, self.folder / name, step_done)
        step.run_stage(self.config(self.folder / "data", **more), self.folder / name, 0)

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
        for end in self.launcher.run(count, "jobs", str(path)):
            assert end.code == 0, end.said

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
DORA = {"rank": 4, "alpha": 8, "dropout": 0.0, "dora": True}
PISSA = {"rank": 4, "alpha": 8, "dropout": 0.0, "init": "pissa"}
THIN = {"batch_tokens": 128}
# a rank that lets bitsandbytes hold moments in 8 bits: it leaves tensors below 4096 numbers in 32
WIDE = {"rank": 64, "alpha": 64, "dropout": 0.0}
EIGHT_BIT = {"optimizer": "adamw_8bit", "lora": WIDE, "batch_tokens": 256}


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """The reference sums in the order of the workers, one thread each: Adam makes much of a gradient near zero."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def jobs(
    tiny_base: Path, launcher: Launcher, one_thread: None, tmp_path_factory: pytest.TempPathFactory
) -> Jobs:
    """Everything that the tests below compare, done by one, two and three processes."""
    made = Jobs(tmp_path_factory.mktemp("distributed"), tiny_base, launcher)
    probes = made.folder / "probe.txt"
    probes.write_text("\n".join(NEPALI), encoding="utf-8")
    text = {"name": "ne", "path": str(probes), "language": "npi_Deva"}
    ledger = {**LEDGER, "probes": {"bits_per_byte": [text]}}
    all_at_once = {**EIGHT_BIT, "ledger": ledger}
    made.alone("one", (0, 1, 2))
    made.alone("one-all", **all_at_once)
    made.alone("one-nf4", model=NF4)
    made.alone("one-dora", model=NF4, lora=DORA)
    made.alone("one-pissa", lora=PISSA)
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
    made.add("sharded-dora", sharded=True, model=NF4, lora=DORA)
    made.add("sharded-pissa", sharded=True, lora=PISSA)
    made.add("one-then-two-all", of="one-all", sharded=True, **all_at_once)
    made.call("weigh")
    made.call("add")
    made.run(2)
    made.alone_from("one-then-two-all", 4, "one-two-one-all", **all_at_once)

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


def test_gradients_are_summed_in_the_layout_of_their_weights(jobs: Jobs) -> None:
    """Fused optimizers go through both by address."""
    for strides, gradient in jobs.told("add"):
        assert strides == [[1, 2], [1, 2], [3, 1], [3, 1]]
        assert gradient == [[0.0, 3.0, 6.0], [9.0, 12.0, 15.0]]


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
    jobs.alone_from("two", 2, "two-then-one")
    jobs.assert_near("two-then-one", "two")


def test_all_that_a_checkpoint_holds_goes_from_one_to_two_and_back(jobs: Jobs) -> None:
    """The ledger with its best reading, trained embeddings, moments in 8 bits, two of the three runs sharded."""
    folder = jobs.folder / "one-two-one-all/train/translation"
    state = torch.load(folder / "step-000004/optimizer.pt", weights_only=True)["optimizer"]["state"]
    held = {moments["__bnb_optimizer_quant_state__"]["state1"].dtype for moments in state.values()}
    assert held == {torch.uint8, torch.float32}  # 32 bits: embeddings
    jobs.assert_near("one-all", "one-two-one-all")
    folders = [jobs.folder / name / "train/translation" for name in ("one-all", "one-two-one-all")]
    readings = [read_lines(stage / "ledger.jsonl") for stage in folders]
    assert [line["step"] for line in readings[1]] == [2, 4, 6]
    for mine, theirs in zip(*readings, strict=True):
        assert theirs["best"] == mine["best"]
        assert theirs["changes"][0]["adapted"] == pytest.approx(mine["changes"][0]["adapted"], abs=1e-4)


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
    for kind in ("nf4", "dora", "pissa"):
        jobs.assert_near(f"one-{kind}", f"sharded-{kind}")
    for own, whole in jobs.told("weigh"):
        assert own == whole / 2 > 100_000


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
        "log_steps": 1,
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


def accelerate_launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run anukul as a user does on two devices."""
    launcher = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1")
    rest = ("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")
    return subprocess.run(
        [sys.executable, "-m", *launcher, *rest, "-m", "anukul.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_accelerate_launch_ends_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("name: t\nlanguage: npi_Deva\n", encoding="utf-8")
    done = accelerate_launch("train", str(path), "--run", str(tmp_path / "r"))
    assert done.returncode == 1  # of the launcher itself; its processes ended with 2
    told = [line for line in done.stderr.splitlines() if line.startswith("anukul:")]
    assert len(told) == 1 and "model: must be given" in told[0]
    _, _, summary = done.stderr.partition("Root Cause")
    assert "exitcode  : 2" in summary and told[0].removeprefix("anukul: ") in summary
    assert done.stderr.count("Traceback") == 1  # the launcher's own


@dataclass(frozen=True)
class Prepared:
    """A run folder whose corpus is made, to be copied."""

    config: Path
    root: Path

    def command(self, root: Path, *more: str) -> tuple[str, ...]:
        """The command that trains in a copy, which is made where it is not there yet."""
        if not root.exists():
            shutil.copytree(self.root, root)
        return "anukul", "train", str(self.config), "--run", str(root), *more


@pytest.fixture(scope="module")
def prepared(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    path = write_run(folder, tiny_base)
    config, root = prepare(path, None, folder / "r")
    pipeline.run_steps(config, path.read_text("utf-8"), root, ("corpus",))
    return Prepared(path, root)


@pytest.fixture(scope="module")
def whole(launcher: Launcher, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all steps, on two machines of one process each, that nothing happened to."""
    root = tmp_path_factory.mktemp("whole") / "r"
    ends = launcher.run(2, "anukul", "run", str(prepared.config), "--run", str(root), machines=True)
    assert [(end.code, end.told) for end in ends] == [(0, []), (0, [])], ends[0].said + ends[1].said
    for unit in ("corpus", "train/read", "report"):
        assert (root / unit / "done.json").exists()
        assert ends[0].said.count(f"{unit}: done in") == 1
    assert ends[1].said == ""
    return root


def test_a_run_is_done_once_and_by_all(whole: Path) -> None:
    assert read_json(whole / "run.json")["processes"] == 2
    assert not (whole / distributed.TOKEN).exists()


def test_accelerate_launch_trains(prepared: Prepared, whole: Path, tmp_path: Path) -> None:
    _, *command = prepared.command(tmp_path / "r")
    done = accelerate_launch(*command)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("train/read: done in") == 1
    assert hash_path(tmp_path / "r/train/read/adapter") == hash_path(whole / "train/read/adapter")


def kept(root: Path) -> list[str]:
    return [path.name for path in checkpoints(root / "train/read")]


def test_an_error_of_all_is_told_by_the_first(launcher: Launcher, prepared: Prepared, tmp_path: Path) -> None:
    first, second = launcher.run(2, *prepared.command(tmp_path / "r", "-s", "train.learning_rate=1e30"))
    assert (first.code, second.code) == (2, 2) and second.said == ""
    assert len(first.told) == 1 and "training diverged" in first.told[0]


@pytest.mark.parametrize(
    ("kind", "index", "code", "said"),
    [
        ("memory", 1, 2, "out of memory (CUDA out of memory. Tried to allocate 2.00 GiB.)"),
        ("error", 1, 1, "ZeroDivisionError: in a step"),
        ("disk", 0, 2, "step-000004: cannot be written"),
    ],
)
def test_an_error_of_one_in_a_step_ends_all_and_is_told_once(
    launcher: Launcher, prepared: Prepared, tmp_path: Path, kind: str, index: int, code: int, said: str
) -> None:
    machines = kind == "memory"  # told once on each
    fault = {"kind": kind, "index": index, "step": 2}
    ends = launcher.run(2, *prepared.command(tmp_path / "r"), fault=fault, machines=machines)
    assert [end.code for end in ends] == [code, code]
    told = ends[index].told
    assert len(told) == 1 and said in told[0]
    assert ends[1 - index].told == (told if machines else [])
    where = "machine-1" if machines else HOST
    assert told[0].startswith(f"anukul: process 1 of 2 on {where}: ") == (index == 1)
    assert ["Traceback" in end.said for end in ends] == [False, kind == "error"]
    assert kept(tmp_path / "r") == ["step-000002"]
    assert not list((tmp_path / "r/train/read").glob(".step*"))


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_and_the_same_command_goes_on_to_the_same_bits(
    launcher: Launcher, prepared: Prepared, whole: Path, tmp_path: Path, killed: int
) -> None:
    command = prepared.command(tmp_path / "r")
    ends = launcher.run(2, *command, fault={"kind": "kill", "index": killed, "step": 3})
    assert ends[killed].code == -signal.SIGKILL and ends[1 - killed].code == 1
    [told] = ends[1 - killed].told
    assert told.startswith(f"anukul: train: process {killed} of 2 on ") and "ended without a word" in told
    assert kept(tmp_path / "r") == ["step-000002"]
    ends = launcher.run(2, *command)
    assert [end.code for end in ends] == [0, 0], ends[0].said + ends[1].said
    stages = [root / "train/read" for root in (tmp_path / "r", whole)]
    assert hash_path(stages[0] / "adapter") == hash_path(stages[1] / "adapter")
    losses = [[line["loss"] for line in read_lines(stage / "metrics.jsonl")] for stage in stages]
    assert losses[0] == losses[1] and len(losses[0]) == 5


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
        distributed.look(Processes(), distributed.Folder(str(tmp_path), "of this one"))


def test_a_base_that_differs_between_machines_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    config = make_run(tmp_path, tiny_base)
    distributed._require_one_base(config, ["a", "a", "b", "b"], ["x", None, "x", None])
    with pytest.raises(UserError, match=f"{tiny_base} on machine b is not what it is on a"):
        distributed._require_one_base(config, ["a", "a", "b", "b"], ["x", None, "y", None])
