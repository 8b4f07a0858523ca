"""The training loop: one stage from its plan to its last step, resumable to the same bits.

The host never waits for the device within a step: batches are laid out in a thread, a bad step is skipped where it is
found, and losses are read when the device has them. Only checkpoints and readings of the ledger wait.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from anukul.config import Stage, TrainSettings
from anukul.model.adapter import trainable_parameters
from anukul.model.documents import packed_attention
from anukul.model.loaded import Loaded, check_logits
from anukul.model.speed import compile_layers, keep_input_dtype
from anukul.progress import bar, say
from anukul.train.audit import audit
from anukul.train.checkpoint import (
    Cursor,
    forget_others,
    load_best,
    read_cursor,
    require_finite,
    restore,
    save_best,
    save_checkpoint,
)
from anukul.train.distributed import ALONE, Processes
from anukul.train.gauge import Gauge
from anukul.train.heap import Heap
from anukul.train.ledger import Ledger
from anukul.train.loss import token_losses
from anukul.train.memory import fit_activations
from anukul.train.metrics import LateReader, MetricsLog, StepMetrics
from anukul.train.optimizer import learning_rate_factor, make_optimizer, set_learning_rate, take_step
from anukul.train.packing import Batch, Counts, collate
from anukul.train.plan import StagePlan
from anukul.train.prefetch import micro_batches, prefetched
from anukul.train.spikes import Skipped, SpikeGuard
from anukul.train.trackers import Trackers


@dataclass(frozen=True, slots=True)
class StageEnd:
    """How a stage ended."""

    steps: int  # finished steps
    skipped: int  # of them, those that changed no weight
    stopped: str | None  # why the ledger ended it before its last step
    best_step: int | None  # the step whose weights it ends with, where that is not the last


@dataclass(slots=True)
class Training:
    """A stage in training: what its steps share."""

    loaded: Loaded
    plan: StagePlan
    settings: TrainSettings  # those of the stage
    stage: Stage
    folder: Path
    optimizer: torch.optim.Optimizer
    parameters: list[torch.nn.Parameter]
    counts: Counts
    guard: SpikeGuard
    skipped: Skipped
    pad_id: int
    processes: Processes


def train_stage(
    loaded: Loaded,
    plan: StagePlan,
    settings: TrainSettings,
    stage: Stage,
    folder: Path,
    save_weights: Callable[[Loaded, Path], None],
    ledger: Ledger | None = None,
    processes: Processes = ALONE,
    trackers: Trackers | None = None,
) -> StageEnd:
    """Train the loaded model's trainable weights through `plan`; metrics and checkpoints go to `folder`.

    The weights of the newest checkpoint, where there is one, must already be in `loaded`. Ends with the weights of the
    last step, or of the ledger's best reading where it keeps one. Raises UserError where the audit fails, and where
    more steps are bad than may be skipped.
    """
    settings = settings.of(stage)
    heap = Heap(loaded.device)
    heap.give_back(now=True)  # what was free after the rows were read is in the way of the first pass
    training = _prepare(loaded, plan, settings, stage, folder, processes)
    heap.give_back(now=True)
    cursor = _resume(training, ledger)
    processes.require_same(training.parameters, f"before step {cursor.step + 1}")
    main = processes.is_main
    gauge = Gauge.of(loaded, plan, processes.count) if main else None
    with (
        packed_attention(loaded, settings.compile),
        MetricsLog(folder, cursor.step, trackers or Trackers()) if main else nullcontext() as log,
        bar(f"train {stage.name}", plan.steps, "steps", cursor.step) as shown,
        prefetched(_batches(training, cursor.step if cursor.stopped is None else plan.steps)) as batches,
    ):

        def seen(metrics: StepMetrics) -> None:
            if log is not None and gauge is not None:
                log.write(gauge.read(metrics), settings.log_steps)
                shown.advance(1, gauge.line(ledger.last_word if ledger is not None else ""))
            training.skipped.count(metrics.step, metrics.skipped, metrics.loss, metrics.gradient_norm)

        reader = LateReader(seen)
        for step in range(cursor.step, plan.steps if cursor.stopped is None else cursor.step):
            known, figures = _one_step(training, step, batches)
            reader.put(known, figures)
            heap.give_back()
            done, last = step + 1, step + 1 == plan.steps
            stop = _read(training, ledger, reader, done, last)
            if log is not None and gauge is not None and ledger is not None and ledger.due(done, last):
                log.scalars(ledger.scalars, done)
                shown.advance(0, gauge.line(ledger.last_word))
            if not last and (stop or done % settings.checkpoint_steps == 0):
                _checkpoint(training, Cursor(done, stopped=stop), ledger, reader, log, save_weights)
            cursor = Cursor(done, stopped=None if last else stop)
            if stop:
                break
        reader.flush()
        training.skipped.end()
    return _end(training, cursor, ledger)


def _one_step(training: Training, step: int, batches: Iterator[Batch]) -> tuple[StepMetrics, Tensor]:
    """Forward, backward and update; the gradient is of the mean over all learnt tokens of the step.

    Returns what the host knows of the step, and on the device `[3]` its loss, gradient norm and whether it was bad.
    """
    loaded, settings, plan, processes = training.loaded, training.settings, training.plan, training.processes
    processes.seed_step(training.stage.name, step)
    rate = set_learning_rate(training.optimizer, learning_rate_factor(step, plan.steps, settings))
    rows = plan.step_rows(step)
    tokens, loss_tokens, replayed = training.counts.sums(rows)
    total = torch.zeros((), dtype=torch.float64, device=loaded.device)
    for _ in processes.parts(rows, training.settings.rows_per_micro_batch):
        batch = next(batches).to(loaded.device)
        with loaded.autocast():
            loss = token_losses(loaded, batch).sum() / loss_tokens
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships it without annotations
        total += loss.detach()
    processes.sum_gradients(training.parameters)
    processes.sum(total)
    norm = torch.nn.utils.clip_grad_norm_(training.parameters, settings.max_gradient_norm)
    bad = training.guard.judge(total, norm)
    take_step(training.optimizer, bad)
    known = StepMetrics(training.stage.name, step + 1, plan.steps, tokens, loss_tokens, replayed, rate)
    return known, torch.stack([total, norm.double(), bad.double()])


def _prepare(
    loaded: Loaded,
    plan: StagePlan,
    settings: TrainSettings,
    stage: Stage,
    folder: Path,
    processes: Processes,
) -> Training:
    """Make the model ready for its first step: activations that fit, compiled parts, an audit that was passed."""
    counts = Counts.of(plan.examples)
    training = Training(
        loaded=loaded,
        plan=plan,
        settings=settings,
        stage=stage,
        folder=folder,
        optimizer=make_optimizer(loaded, settings),
        parameters=list(trainable_parameters(loaded).values()),
        counts=counts,
        guard=SpikeGuard(loaded.device),
        skipped=Skipped(settings.max_skipped_steps, folder),
        pad_id=loaded.tokenizer.pad_token_id or 0,
        processes=processes,
    )
    keep_input_dtype(loaded)
    check_logits(loaded)
    loaded.model.train()
    fullest = _fullest(training)
    with packed_attention(loaded, settings.compile):
        fit_activations(loaded, settings, fullest, processes)
        if settings.compile:
            compile_layers(loaded)
        audit(
            loaded,
            settings,
            fullest,
            plan.examples,
            lambda: make_optimizer(loaded, settings),
            folder,
            processes,
        )
    return training


def _fullest(training: Training) -> Batch:
    """The micro-batch of any process with the most learnt tokens: what fits it fits every other."""
    plan, size = training.plan, training.settings.rows_per_micro_batch
    parts = [
        part
        for rows in map(plan.step_rows, range(plan.steps))
        for parts in training.processes.cut(rows, size)
        for part in parts
    ]
    fullest = max(parts, key=lambda rows: training.counts.sums(rows)[1])
    context, cpu = training.settings.context, torch.device("cpu")
    return collate(fullest, plan.examples, context, training.pad_id, cpu)


def _batches(training: Training, first: int) -> Iterator[Batch]:
    return micro_batches(
        training.plan,
        first,
        training.settings.context,
        training.settings.rows_per_micro_batch,
        training.pad_id,
        pinned=training.loaded.device.type == "cuda",
        processes=training.processes,
    )


def _resume(training: Training, ledger: Ledger | None) -> Cursor:
    """Take up the newest checkpoint's optimizer, random state and history; return where the stage stands."""
    cursor = read_cursor(training.folder)
    if cursor.step:
        training.guard.restore(restore(training.folder, training.loaded, training.optimizer))
        training.skipped.total = cursor.skipped
    if ledger is not None:
        ledger.resume(cursor.step)
    return cursor


def _read(training: Training, ledger: Ledger | None, reader: LateReader, done: int, last: bool) -> str | None:
    """Take a reading of the ledger where one is due, and keep a copy of weights that are the best so far.

    Returns why the stage must stop, None to go on.
    """
    if ledger is None or not ledger.due(done, last):
        return None
    reader.flush()
    training.loaded.model.eval()
    reading = ledger.check(training.loaded, done)
    training.loaded.model.train()
    if reading.best:
        training.processes.main_does(lambda: save_best(training.folder, training.loaded, done))
    reader.restart_clock()
    return reading.stop


def _checkpoint(
    training: Training,
    cursor: Cursor,
    ledger: Ledger | None,
    reader: LateReader,
    log: MetricsLog | None,
    save_weights: Callable[[Loaded, Path], None],
) -> None:
    """Write a checkpoint, unless the step just done was bad: what made it bad may be the weights themselves."""
    reader.flush()
    if training.skipped.first_bad is not None and cursor.stopped is None:
        return
    require_finite(training.loaded, cursor.step, training.folder)
    training.processes.require_same(training.parameters, f"after step {cursor.step}")
    cursor = replace(cursor, skipped=training.skipped.total)

    def write() -> None:
        if log is not None:
            log.sync()
        state = training.guard.state()
        save_checkpoint(training.folder, cursor, training.loaded, training.optimizer, state, save_weights)
        forget_others(training.folder, ledger.best_step if ledger is not None else None)

    training.processes.main_does(write)
    reader.restart_clock()


def _end(training: Training, cursor: Cursor, ledger: Ledger | None) -> StageEnd:
    """Settle the weights that the stage ends with."""
    loaded, folder, skipped = training.loaded, training.folder, training.skipped
    require_finite(loaded, cursor.step, folder)
    loaded.model.eval()
    best = ledger.best_step if ledger is not None else None
    if best is not None:
        load_best(folder, loaded, best)
        training.processes.main_does(lambda: forget_others(folder, best))
    if cursor.stopped:
        say(f"  {training.stage.name}: stopped after step {cursor.step:,} of {training.plan.steps:,}")
    if best is not None and best != cursor.step:
        say(f"  {training.stage.name}: ends with the weights of step {best:,}, the ledger's best reading")
    if skipped.total:
        say(f"  {training.stage.name}: {skipped.total:,} bad steps were skipped, see metrics.jsonl")
    return StageEnd(cursor.step, skipped.total, cursor.stopped, best)
