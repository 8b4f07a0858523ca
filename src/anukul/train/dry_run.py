"""`anukul train --dry-run`: a few real steps of a stage, to measure what `anukul plan` can only predict.

The steps are the run's own, on its own batches, the fullest of them included; what they write goes into a temporary
folder. All that stays is train/dry-run.json, which decides nothing.
"""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from anukul.config import RunConfig, Stage, TrainSettings
from anukul.model.adapter import add_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.model.documents import SHORT
from anukul.model.loaded import Loaded
from anukul.model.vocabulary import add_vocabulary
from anukul.rundir import read_json, write_json
from anukul.train.data import language_texts, own_examples, replay_examples
from anukul.train.formats import Formatter
from anukul.train.gauge import peak_memory, restart_peak
from anukul.train.heap import keep_little
from anukul.train.ledger import COST, Ledger, make_ledger
from anukul.train.limits import within_limits
from anukul.train.loop import train_stage
from anukul.train.metrics import lines_until
from anukul.train.packing import Counts
from anukul.train.plan import StagePlan, plan_stage
from anukul.train.probes import load_probes
from anukul.train.readings import FORWARD
from anukul.train.trackers import open_trackers

STEPS = 5
FILE = "train/dry-run.json"
SCHEMA = 1
# A reading of the ledger is timed where it takes at most so many times as long as the steps, by counted tokens.
WORTH_A_READING = 2.0
# what of `train` changes neither speed nor memory
NEITHER = {
    "stages", "learning_rate", "embedding_learning_rate", "min_learning_rate_share", "warmup_share", "weight_decay",
    "betas", "max_gradient_norm", "replay_share", "checkpoint_steps", "log_steps", "max_skipped_steps", "trackers",
    "schedule", "decay_share",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """What a dry run saw."""

    stage: str
    machine: str
    date: str  # of the machine's clock, with its time zone
    device: str  # "cpu" or "cuda"
    steps: int
    tokens: int  # in these steps, padding left out
    tokens_per_second: float  # median over the steps after the first
    peak_bytes: int  # resident memory; on a GPU what its tensors took
    reserved_bytes: int  # on a GPU what was taken from the driver, else 0
    stage_steps: int
    stage_tokens: int
    trained_parameters: int
    reading_seconds: float | None  # of the ledger; None where none was timed


def key_of(config: RunConfig) -> dict[str, Any]:
    """What of a config decides speed and memory, as plain data."""
    assert config.train is not None
    train = config.train.model_dump(mode="json", exclude=NEITHER)
    if train.get("ledger"):
        train["ledger"] = train["ledger"]["probes"]
    key = {"model": config.model.model_dump(mode="json", exclude={"shape"}), "train": train}
    found: dict[str, Any] = json.loads(json.dumps(key))
    return found


def dry_run(config: RunConfig, root: Path, index: int) -> Measured:
    """Take `STEPS` steps of stage `index` with a new adapter, write what was measured to `FILE`, and return it.

    Raises UserError where training would: data that are not there, an audit that fails.
    """
    settings = config.train
    assert settings is not None
    stage = settings.stages[index]
    # a stage by itself: what it takes does not depend on the weights that it goes on from
    alone = config.model_copy(update={"train": settings.model_copy(update={"stages": (stage,)})})
    restart_peak()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with (
        TemporaryDirectory(prefix="anukul-dry-run-") as folder,
        torch.random.fork_rng(devices),
        within_limits(root / "train" / stage.name),
    ):
        measured = _measure(alone, root, stage, Path(folder))
    write_json(root / FILE, {"schema": SCHEMA, "key": key_of(config), "measured": asdict(measured)})
    return measured


def read_dry_run(root: Path) -> tuple[dict[str, Any], Measured] | None:
    """Return the key and the figures of the run folder's last dry run; None where there is none that can be read."""
    if not (root / FILE).exists():
        return None
    found = read_json(root / FILE)
    if found.get("schema") != SCHEMA:
        return None
    return found["key"], Measured(**found["measured"])


def _measure(config: RunConfig, root: Path, stage: Stage, folder: Path) -> Measured:
    settings = config.train
    assert settings is not None
    keep_little()
    loaded = _load(config, root)
    formatter = Formatter(loaded.tokenizer, loaded.prefix_id, config.language, config.base_language)
    own = own_examples(root, stage, formatter)
    replay = replay_examples(root, formatter) if settings.of(stage).replay_share > 0 else []
    plan = plan_stage(own, replay, settings, stage, config.seed)
    few = first_steps(plan, settings)
    ledger = _ledger(config, loaded, folder, plan)
    if loaded.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    inside = folder / "train" / stage.name
    quick = settings.model_copy(update={"checkpoint_steps": 10**9, "log_steps": 1})
    # TensorBoard writes beside the rest; what writes elsewhere is left out
    shown = config.model_copy(update={"train": settings.model_copy(update={"trackers": _local(settings)})})
    with open_trackers(shown, folder, 0, 0) as trackers:
        end = train_stage(loaded, few, quick, stage, inside, _save_nothing, ledger, trackers=trackers)
    lines = lines_until(inside / "metrics.jsonl", end.steps)
    costs = lines_until(inside / COST, end.steps)
    cuda = loaded.device.type == "cuda"
    return Measured(
        stage=stage.name,
        machine=_machine(),
        date=time.strftime("%Y-%m-%d %H:%M %z"),
        device=loaded.device.type,
        steps=end.steps,
        tokens=sum(line["tokens"] for line in lines),
        tokens_per_second=median(line["tokens_per_second"] for line in (lines[1:] or lines)),
        peak_bytes=round((peak_memory(loaded.device) or 0.0) * 2**30),
        reserved_bytes=torch.cuda.max_memory_reserved() if cuda else 0,
        stage_steps=plan.steps,
        stage_tokens=Counts.of(plan.examples).sums(plan.rows[: plan.steps * plan.rows_per_step])[0],
        trained_parameters=sum(parameter.numel() for parameter in trainable_parameters(loaded).values()),
        reading_seconds=costs[-1]["seconds"] if ledger is not None and costs else None,
    )


def _load(config: RunConfig, root: Path) -> Loaded:
    """The base with a new adapter, and new pieces where they are asked for."""
    settings = config.train
    assert settings is not None
    loaded = load_base(config.model)
    add_adapter(loaded, settings.lora, settings.embeddings, config.seed)
    if settings.vocabulary:
        texts = language_texts(root)
        add_vocabulary(loaded, settings.vocabulary, texts, config.language, config.base_language)
    return loaded


def first_steps(plan: StagePlan, settings: TrainSettings) -> StagePlan:
    """The first steps of a plan; the last of them are those with the micro-batches that take the most memory: by the
    pairs of tokens that see each other, and by the tokens that are learnt."""
    (learnt, _), (seen, _) = fullest(plan, settings)
    most = [learnt] if seen == learnt else [seen, learnt]
    others = [step for step in range(plan.steps) if step not in most]
    chosen = [*others[: STEPS - len(most)], *most]
    rows = [row for step in chosen for row in plan.step_rows(step)]
    return StagePlan(plan.examples, rows, plan.rows_per_step, plan.left_out)


Part = tuple[int, list[list[int]]]  # the step and the packed rows of a micro-batch


def fullest(plan: StagePlan, settings: TrainSettings) -> tuple[Part, Part]:
    """The micro-batch with the most learnt tokens, and that with the most pairs of tokens that see each other."""
    size = settings.rows_per_micro_batch
    counts = Counts.of(plan.examples)
    parts = [
        (step, rows[start : start + size])
        for step, rows in enumerate(map(plan.step_rows, range(plan.steps)))
        for start in range(0, len(rows), size)
    ]
    learnt = max(parts, key=lambda part: counts.sums(part[1])[1])
    return learnt, max(parts, key=lambda part: _pairs(part[1], counts))


def _pairs(rows: Sequence[Sequence[int]], counts: Counts) -> int:
    """Pairs of tokens of a document for which a CPU keeps a probability: those of documents up to `SHORT` tokens."""
    lengths = counts.tokens[[index for row in rows for index in row]]
    return int((lengths[lengths <= SHORT] ** 2).sum())


def _ledger(config: RunConfig, loaded: Loaded, folder: Path, plan: StagePlan) -> Ledger | None:
    """The ledger of the whole stage, writing to `folder`; None where a reading takes too long to be tried."""
    settings = config.train
    assert settings is not None
    if settings.ledger is None:
        return None
    tokens = load_probes(settings.ledger.probes, loaded).tokens(loaded.max_positions)
    if FORWARD * tokens > WORTH_A_READING * STEPS * plan.rows_per_step * settings.context:
        return None
    return make_ledger(config, folder, 0, loaded, plan)


def _local(settings: TrainSettings) -> tuple[str, ...]:
    return tuple(name for name in settings.trackers if name == "tensorboard")


def _save_nothing(_: Loaded, __: Path) -> None:
    """Stands where a run saves its weights."""


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores, {torch.get_num_threads()} threads"


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    if about.exists():
        for line in about.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
