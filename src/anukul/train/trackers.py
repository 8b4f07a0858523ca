"""Where else the figures of training can be seen: TensorBoard, Weights & Biases, MLflow.

metrics.jsonl is the record, trackers are for the eye: each works in a thread of its own, so that training waits for
none of them, and one that fails is told once and left out from there on. A stage is a run of its own, by the stage's
name, in a project by the config's; a resumed stage goes on in its run.
"""

import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, Self

from anukul.config import RunConfig
from anukul.errors import UserError
from anukul.progress import say
from anukul.rundir import write_atomic

PATIENCE = 60.0  # seconds that the end of a stage waits for a tracker to take what it was given
HURRY = 2.0  # the same after an error, which other processes wait to hear of


@dataclass(frozen=True, slots=True)
class Tracked:
    """The stage that is tracked."""

    project: str  # the config's name
    group: str  # the run folder's name: variants of a config are told apart by it
    stage: str
    folder: Path
    first: int  # finished steps of the checkpoint that training goes on from
    settings: dict[str, Any]  # the resolved config

    def known(self, tracker: str) -> str | None:
        """The id of the stage's run in `tracker`, where it was begun before."""
        path = self.folder / f"{tracker}.run"
        return path.read_text(encoding="utf-8") if path.exists() else None

    def remember(self, tracker: str, run: str) -> None:
        """Keep the id of the stage's run in `tracker`."""
        write_atomic(self.folder / f"{tracker}.run", run)


class Tracker(Protocol):
    """What figures are shown in. All but `open` is called after `open`, in one thread."""

    name: str

    def open(self) -> str:
        """Begin the run or go on with it; return where it can be seen, nothing where that needs no word."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Show figures of a finished step; steps come in order."""

    def flush(self) -> None:
        """Bring to the disk what was logged."""

    def close(self, failed: bool) -> None:
        """End the run."""


class TensorBoard:
    """Event files in the stage's folder; what an earlier process logged after the checkpoint is hidden."""

    name = "tensorboard"

    def __init__(self, stage: Tracked) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.stage = stage
        self.folder = stage.folder / self.name
        # steps from `purge_step` on are hidden, that step included
        self.begin = partial(SummaryWriter, str(self.folder), purge_step=stage.first + 1)

    def open(self) -> str:
        """Begin an event file."""
        self.board = self.begin()
        if self.stage.first == 0:
            indented = json.dumps(self.stage.settings, ensure_ascii=False, indent=1).replace("\n", "\n    ")
            self.board.add_text("config", f"    {indented}")  # four blanks are Markdown's sign of code
        return ""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Show figures of a step."""
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def flush(self) -> None:
        """Bring to the disk what was logged."""
        self.board.flush()

    def close(self, failed: bool) -> None:
        """Close the event file."""
        self.board.close()


class WeightsAndBiases:
    """A run of Weights & Biases; without a login it stays on this disk, for `wandb sync`.

    Steps that the run holds already are left as they are: it takes no step twice.
    """

    name = "wandb"

    def __init__(self, stage: Tracked) -> None:
        # what goes wrong inside it is not reported to its makers
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.stage = stage
        self.settings = wandb.Settings(console="off", silent=True)
        self.login: Callable[..., bool] = wandb.login
        self.begin: Callable[..., Any] = wandb.init

    def open(self) -> str:
        """Begin the run; never ask for a login."""
        run = self.stage.known(self.name) or secrets.token_hex(4)
        self.stage.remember(self.name, run)
        asked = os.environ.get("WANDB_MODE")
        mode = asked or ("online" if self.login(prompt=False, verify=False) else "offline")
        self.run = self.begin(
            project=os.environ.get("WANDB_PROJECT", self.stage.project),
            group=self.stage.group,
            name=self.stage.stage,
            id=run,
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            dir=str(self.stage.folder),
            config=self.stage.settings,
            mode=mode,
            settings=self.settings,
        )
        if not self.run.offline:
            return str(self.run.url)
        why = "" if asked else "no login on this machine, so "
        return f"{why}kept offline, for: wandb sync {Path(self.run.dir).parent}"

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Show figures of a step."""
        if step >= self.run.starting_step:
            self.run.log(dict(values), step=step)

    def flush(self) -> None:
        """It writes by itself."""

    def close(self, failed: bool) -> None:
        """End the run."""
        self.run.finish(exit_code=int(failed))


class MLflow:
    """A run of MLflow, in the store that MLFLOW_TRACKING_URI names.

    Figures that the run holds already are left as they are: MLflow would show a step twice.
    """

    name = "mlflow"

    def __init__(self, stage: Tracked) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
        self.stage = stage
        self.begin = MlflowClient
        self.metric: Callable[..., Any] = Metric
        self.param: Callable[..., Any] = Param
        self.held: dict[str, int] = {}  # the last step of each figure that the run holds

    def open(self) -> str:
        """Begin the run, or go on with it."""
        self.client: Any = self.begin()
        known = self.stage.known(self.name)
        if known is None:
            self.run = self._create()
            self.stage.remember(self.name, self.run)
        else:
            self.run = known
            self.client.update_run(self.run, status="RUNNING")
            for name in self.client.get_run(self.run).data.metrics:
                self.held[name] = max(m.step for m in self.client.get_metric_history(self.run, name))
        return f"run {self.run} in {self.client.tracking_uri}"

    def _create(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", self.stage.project)
        experiment = self.client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self.client.create_experiment(name)
        tags = {"mlflow.source.name": "anukul", "run_folder": self.stage.group}
        run: str = self.client.create_run(number, tags=tags, run_name=self.stage.stage).info.run_id
        parameters = [self.param(key, value) for key, value in flat(self.stage.settings)]
        for start in range(0, len(parameters), 100):  # the most that it takes at once
            self.client.log_batch(run, params=parameters[start : start + 100])
        return run

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Show figures of a step."""
        now = int(time.time() * 1000)
        new = [
            self.metric(key, value, now, step)
            for key, value in values.items()
            if step > self.held.get(key, 0)
        ]
        self.client.log_batch(self.run, metrics=new)

    def flush(self) -> None:
        """It writes at once."""

    def close(self, failed: bool) -> None:
        """End the run."""
        self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every leaf of nested settings, by MLflow's rules for parameters."""
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(item, f"{path}.{key}" if path else str(key))
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield re.sub(r"[^\w\-. :/]", "_", path)[:250], text[:6000]


TRACKERS: dict[str, Callable[[Tracked], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


class Trackers:
    """The trackers of a stage; a context that ends their runs."""

    def __init__(self, trackers: list[Tracker] | None = None) -> None:
        self.couriers = [_Courier(tracker) for tracker in trackers or []]

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Show figures of a finished step."""
        for courier in self.couriers:
            courier.waiting.put(partial(courier.tracker.log, values, step))

    def flush(self) -> None:
        """Bring to the disk what was logged; nothing waits for it."""
        for courier in self.couriers:
            courier.waiting.put(courier.tracker.flush)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for courier in self.couriers:
            courier.waiting.put(partial(courier.tracker.close, kind is not None))
            courier.waiting.put(None)
        until = time.monotonic() + (PATIENCE if kind is None else HURRY)
        for courier in self.couriers:
            courier.end(max(0.0, until - time.monotonic()))


class _Courier:
    """Brings a tracker what it is to do, in a thread that no one waits for."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.thread = Thread(target=self._work, name=f"tracker {tracker.name}", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        name = self.tracker.name
        try:
            if where := self.tracker.open():
                say(f"  {name}: {where}")
            while (work := self.waiting.get()) is not None:
                work()
        except Exception as error:
            # whatever a tracker's library or server raises is no reason to lose training
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            say(f"  {name}: failed and shows no more of this stage, metrics.jsonl holds everything: {reason}")

    def end(self, seconds: float) -> None:
        """Wait until everything was taken."""
        self.thread.join(seconds)
        if self.thread.is_alive():
            say(
                f"  {self.tracker.name}: has not taken everything in {seconds:.0f} s; metrics.jsonl holds everything"
            )


def open_trackers(config: RunConfig, root: Path, index: int, first: int) -> Trackers:
    """Return the trackers of stage `index`, which goes on after `first` finished steps.

    Raises UserError for one that is not installed.
    """
    assert config.train is not None
    stage = config.train.stages[index].name
    names = list(dict.fromkeys(config.train.trackers))
    require_installed(names)
    tracked = Tracked(
        config.name, root.name, stage, root / "train" / stage, first, config.model_dump(mode="json")
    )
    tracked.folder.mkdir(parents=True, exist_ok=True)
    return Trackers([_load(name, tracked) for name in names])


def _load(name: str, tracked: Tracked) -> Tracker:
    try:
        return TRACKERS[name](tracked)
    except Exception as error:  # a package that does not fit to others raises anything when it is imported
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"train.trackers: {name} is installed and cannot be loaded: {reason}") from error


def require_installed(names: Sequence[str]) -> None:
    """Raise UserError that names every tracker which is not installed."""
    missing = [name for name in names if not _installed(name)]
    if missing:
        which = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        raise UserError(
            f"train.trackers: {which}; pip install 'anukul[{','.join(missing)}]', or take it out of the list"
        )


def _installed(name: str) -> bool:
    spec = find_spec(name)
    # a folder of this name, such as the one wandb makes where it is used, passes for a package without origin
    return spec is not None and spec.origin is not None
