"""Trackers show what metrics.jsonl says, go on after a kill, and lose no training when they fail."""

import json
import os
import shutil
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_stage import lines, make_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from anukul import cli, pipeline
from anukul.config import RunConfig
from anukul.digests import hash_path
from anukul.errors import UserError
from anukul.train import loop, step, trackers
from anukul.train.metrics import TRACKED
from anukul.train.trackers import Trackers, flat, require_installed

pytestmark = pytest.mark.filterwarnings(
    # sqlalchemy 2.1 of what mlflow 3.17 does
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)
STAGES = [{"name": "translation", "format": "translation", "max_steps": 6}]
LEDGER = {
    "every_steps": 3,
    "max_cost_share": 1.0,
    "probes": {"bits_per_byte": [{"name": "probe", "path": "probe.txt", "language": "npi_Deva"}]},
}


def mlflow_client(*store: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return MlflowClient(*store)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of MLflow without runs; it takes MLflow seconds to make one."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def made(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder to be, away from the settings of whoever runs the tests."""
    for name in (
        "WANDB_MODE",
        "WANDB_API_KEY",
        "WANDB_PROJECT",
        "WANDB_BASE_URL",
        "MLFLOW_TRACKING_URI",
        "MLFLOW_EXPERIMENT_NAME",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("NETRC", str(tmp_path / "home/netrc"))
    shutil.copyfile(store, tmp_path / "mlflow.db")  # MLflow's default, in the folder where the command runs
    monkeypatch.chdir(tmp_path)
    (tmp_path / "probe.txt").write_text("रामले भात खान्छ।\nसीता विद्यालय गई।\n", encoding="utf-8")
    return tmp_path / "runs" / "first"


def config_of(root: Path, base: Path, *names: str, **more: Any) -> RunConfig:
    given: dict[str, Any] = {"stages": STAGES, "embeddings": "frozen", "trackers": names, **more}
    return make_run(root, base, **given)


def kill_after(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the run die before its step `number` (0-based)."""
    one_step = loop._one_step

    def dying(training: loop.Training, at: int, batches: Any) -> Any:
        if at == number:
            raise KeyboardInterrupt
        return one_step(training, at, batches)

    monkeypatch.setattr(loop, "_one_step", dying)


def killed_and_resumed(config: RunConfig, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train to step 5 of 6; go on from the checkpoint after step 4."""
    with monkeypatch.context() as patch:
        kill_after(patch, 5)
        patch.setattr(trackers, "HURRY", trackers.PATIENCE)  # a busy machine may be slow to begin a run
        with pytest.raises(KeyboardInterrupt):
            step.run_stage(config, root, 0)
    step.run_stage(config, root, 0)


def logged(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(line["step"], line[name]) for line in lines(folder)]


def test_tensorboard_hides_only_what_comes_after_the_checkpoint(
    made: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(made, tiny_base, "tensorboard", ledger=LEDGER)
    killed_and_resumed(config, made, monkeypatch)
    folder = made / "train/translation"
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    for name in TRACKED:
        seen = [(event.step, event.value) for event in board.Scalars(name)]
        assert seen == [(at, pytest.approx(value)) for at, value in logged(folder, name)]
    assert [at for at, _ in logged(folder, "loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in board.Scalars("ledger/bits_per_byte/npi_Deva")] == [3, 6]
    (shown,) = board.Tensors("config/text_summary")
    assert json.loads(shown.tensor_proto.string_val[0]) == config.model_dump(mode="json")


def log_records(data: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format, after W&B's header of 7 bytes."""
    at, parts = 7, b""
    while at < len(data):
        room = 32768 - at % 32768  # in this block
        if room < 7:
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def wandb_records(folder: Path) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in log_records(file.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            yield record


def wandb_history(folder: Path) -> list[dict[str, Any]]:
    found = [r.history for r in wandb_records(folder) if r.WhichOneof("record_type") == "history"]
    return [{i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in h.item} for h in found]


def test_weights_and_biases_without_a_login_is_kept_for_later(
    made: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(made, tiny_base, "wandb", ledger=LEDGER)
    killed_and_resumed(config, made, monkeypatch)
    folder = made / "train/translation"
    said = capsys.readouterr().err
    assert said.count("wandb: no login on this machine, so kept offline, for: wandb sync ") == 2
    assert "failed" not in said
    runs = [r.run for r in wandb_records(folder) if r.WhichOneof("record_type") == "run"]
    assert {(r.project, r.display_name, r.run_group) for r in runs} == {("t", "translation", "first")}
    assert {r.run_id for r in runs} == {(folder / "wandb.run").read_text()}
    settings = {item.key: json.loads(item.value_json) for item in runs[0].config.update}
    assert settings["train"]["lora"] == config.train.lora.model_dump() if config.train else False
    history = wandb_history(folder)
    # step 5 was logged before the kill and after it: W&B keeps the first of one run
    assert [row["_step"] for row in history] == [1, 2, 3, 4, 5, 5, 6]
    kept = {row["_step"]: row for row in history}
    for name in TRACKED:
        assert [(at, kept[at][name]) for at in kept] == logged(folder, name)
    assert [at for at in kept if "ledger/bits_per_byte/npi_Deva" in kept[at]] == [3, 6]
    ends = [r.exit.exit_code for r in wandb_records(folder) if r.WhichOneof("record_type") == "exit"]
    assert ends == [1, 0]


def test_mlflow_goes_on_in_the_same_run_without_a_step_twice(
    made: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(made, tiny_base, "mlflow", ledger=LEDGER)
    killed_and_resumed(config, made, monkeypatch)
    assert "failed" not in capsys.readouterr().err
    client = mlflow_client()
    experiment = client.get_experiment_by_name("t")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("translation", "FINISHED")
    assert run.data.tags["run_folder"] == "first"
    assert run.data.params == dict(flat(config.model_dump(mode="json")))
    assert run.data.params["train.stages.0.max_steps"] == "6"
    folder = made / "train/translation"
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    for name in TRACKED:
        assert [m.step for m in history[name]] == [1, 2, 3, 4, 5, 6]
    # step 5 is the one of before the kill, and the same
    assert [(m.step, m.value) for m in history["loss"]] == logged(folder, "loss")
    assert [m.step for m in history["ledger/bits_per_byte/npi_Deva"]] == [3, 6]


def test_a_server_that_is_away_costs_no_training(
    made: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)  # a login: a run online is tried
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    import wandb

    wandb.teardown()  # and with it what it read of the environment before
    step.run_stage(config_of(made, tiny_base, "mlflow", "wandb"), made, 0)
    wandb.teardown()
    said = capsys.readouterr().err
    for name in ("mlflow", "wandb"):
        failed = f"  {name}: failed and shows no more of this stage, metrics.jsonl holds everything: "
        assert said.count(failed) == 1
    other = made.with_name("second")
    step.run_stage(config_of(other, tiny_base), other, 0)
    assert hash_path(made / "train/translation/adapter") == hash_path(other / "train/translation/adapter")
    assert logged(made / "train/translation", "loss") == logged(other / "train/translation", "loss")


class Full:
    """A tracker whose disk is full from the third step on."""

    name = "full"

    def __init__(self) -> None:
        self.seen: list[int] = []

    def open(self) -> str:
        return ""

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.seen.append(step)
        if step == 3:
            raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise AssertionError("nothing is asked of a tracker that failed")

    def close(self, failed: bool) -> None:
        raise AssertionError("nothing is asked of a tracker that failed")


def test_a_tracker_that_fails_is_told_once_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    full = Full()
    with Trackers([full]) as tracked:
        for at in range(1, 6):
            tracked.log({"loss": 1.0}, at)
        tracked.flush()
    assert full.seen == [1, 2, 3]
    said = capsys.readouterr().err
    assert said.count("full: failed") == 1 and "No space left on device" in said


class Stuck(Full):
    """A tracker that waits for a server that does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = threading.Event()

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.answer.wait(60)

    def close(self, failed: bool) -> None:
        pass


def test_nothing_waits_for_a_tracker(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trackers, "PATIENCE", 0.2)
    stuck = Stuck()
    started = time.monotonic()
    with Trackers([stuck]) as tracked:
        tracked.log({"loss": 1.0}, 1)
        assert time.monotonic() - started < 0.2
    assert time.monotonic() - started < 5
    assert "full: has not taken everything in" in capsys.readouterr().err
    stuck.answer.set()


def test_a_tracker_that_is_not_installed_ends_the_command_before_anything_is_done(
    made: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(made, tiny_base, "tensorboard", "wandb")
    given = config.model_dump(mode="json", exclude_none=True, exclude={"report"})
    made.parent.joinpath("run.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not there
    monkeypatch.setattr(sys, "argv", ["anukul", "train", str(made.parent / "run.yaml"), "--run", str(made)])
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main()
    said = capsys.readouterr().err
    assert (
        "train.trackers: wandb is not installed; pip install 'anukul[wandb]', or take it out of the list"
        in said
    )
    assert not (made / "train").exists() and not (made / "run.json").exists()


def test_a_folder_of_its_name_is_no_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "mlflow")
    with pytest.raises(UserError, match="mlflow is not installed"):
        require_installed(["mlflow"])


def test_another_tracker_makes_no_trained_stage_stale(made: Path, tiny_base: Path) -> None:
    keys = [
        [unit.settings for unit in pipeline.units(config_of(made, tiny_base, *names), made)[:-1]]
        for names in (("tensorboard",), ("wandb", "mlflow"))
    ]
    assert keys[0] == keys[1]


def test_a_report_needs_no_tracker(made: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(made, tiny_base, "wandb")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="no step is done yet"):
        pipeline.run_steps(config, "", made, ("report",))
    with pytest.raises(UserError, match="wandb is not installed"):
        pipeline.run_steps(config, "", made, ("train", "report"))
