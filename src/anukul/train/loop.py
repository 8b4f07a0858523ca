"""The training loop: one stage from its plan to its last step, resumable to the same bits."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch

from anukul.config import Stage, TrainSettings
from anukul.model.adapter import trainable_parameters
from anukul.model.documents import packed_attention
from anukul.model.loaded import Loaded
from anukul.progress import Bar, bar
from anukul.train.checkpoint import (
    checkpoints,
    diverged,
    require_finite,
    restore_optimizer,
    save_checkpoint,
)
from anukul.train.loss import token_losses
from anukul.train.optimizer import learning_rate_factor, make_optimizer, set_learning_rate
from anukul.train.packing import collate
from anukul.train.plan import StagePlan


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One line of metrics.jsonl."""

    stage: str
    step: int  # finished steps, from 1
    steps: int
    tokens: int  # seen in this step, padding left out
    loss_tokens: int
    loss: float  # nats per learnt token
    replay_loss_tokens: int
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    seconds: float


def train_stage(
    loaded: Loaded,
    plan: StagePlan,
    settings: TrainSettings,
    stage: Stage,
    folder: Path,
    save_weights: Callable[[Loaded, Path], None],
) -> None:
    """Train the loaded model's trainable weights through `plan`; metrics and checkpoints go to `folder`.

    The weights of the newest checkpoint, where there is one, must already be in `loaded`. Raises UserError on a loss
    or weight that is not finite.
    """
    optimizer = make_optimizer(loaded, settings, stage)
    kept = checkpoints(folder)
    first = restore_optimizer(kept[-1], optimizer) if kept else 0
    parameters = list(trainable_parameters(loaded).values())
    loaded.model.train()
    with (
        packed_attention(loaded),
        MetricsLog(folder, first) as log,
        bar(f"train {stage.name}", plan.steps, "steps") as shown,
    ):
        shown.advance(first)
        for step in range(first, plan.steps):
            factor = learning_rate_factor(
                step, plan.steps, settings.warmup_share, settings.min_learning_rate_share
            )
            rate = set_learning_rate(optimizer, factor)
            metrics = _one_step(loaded, plan, settings, stage, step, rate, parameters, folder)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            log.write(metrics, every=settings.log_steps)
            _show(shown, metrics)
            if (step + 1) % settings.checkpoint_steps == 0 and step + 1 < plan.steps:
                require_finite(loaded, step + 1, folder)
                log.sync()
                save_checkpoint(folder, step + 1, loaded, optimizer, save_weights)
    require_finite(loaded, plan.steps, folder)
    loaded.model.eval()


def _one_step(
    loaded: Loaded,
    plan: StagePlan,
    settings: TrainSettings,
    stage: Stage,
    step: int,
    rate: float,
    parameters: list[torch.nn.Parameter],
    folder: Path,
) -> StepMetrics:
    """Forward and backward over the step's micro-batches; the gradient is of the mean over all learnt tokens."""
    started = time.monotonic()
    rows = plan.step_rows(step)
    micro = (settings.micro_batch_tokens or settings.context) // settings.context
    examples = plan.examples
    loss_tokens = sum(int(examples[i].learnt[1:].sum()) for row in rows for i in row)
    pad_id = loaded.tokenizer.pad_token_id or 0
    total, replayed = 0.0, 0
    for start in range(0, len(rows), micro):
        batch = collate(rows[start : start + micro], examples, settings.context, pad_id, loaded.device)
        with loaded.autocast():
            loss = token_losses(loaded, batch).sum() / loss_tokens
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships it without annotations
        total += float(loss.detach())
        replayed += int(batch.replay.sum())
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, settings.max_gradient_norm))
    if not (math.isfinite(total) and math.isfinite(norm)):
        raise diverged(f"loss {total} with gradient norm {norm} at step {step + 1} of '{stage.name}'", folder)
    tokens = sum(len(examples[i].ids) for row in rows for i in row)
    seconds = time.monotonic() - started
    return StepMetrics(
        stage=stage.name,
        step=step + 1,
        steps=plan.steps,
        tokens=tokens,
        loss_tokens=loss_tokens,
        loss=total,
        replay_loss_tokens=replayed,
        learning_rate=rate,
        gradient_norm=norm,
        tokens_per_second=tokens / seconds,
        seconds=seconds,
    )


def _show(shown: Bar, metrics: StepMetrics) -> None:
    rate = f"{metrics.tokens_per_second:,.0f} tokens/s"
    shown.advance(1, f"loss {metrics.loss:.3f}  {rate}  lr {metrics.learning_rate:.1e}")


class MetricsLog:
    """metrics.jsonl and TensorBoard; on resume, lines of steps after the checkpoint are forgotten."""

    def __init__(self, folder: Path, first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        path = folder / "metrics.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        kept = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                # a line torn by a kill is after the checkpoint, hence not wanted
                if line.endswith("}") and json.loads(line)["step"] <= first:
                    kept.append(line + "\n")
        self.file = path.open("w", encoding="utf-8")
        self.file.writelines(kept)
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=first)

    def write(self, metrics: StepMetrics, every: int) -> None:
        """Log every `every`-th step, the first and the last."""
        if metrics.step % every and metrics.step not in (1, metrics.steps):
            return
        self.file.write(json.dumps(asdict(metrics)) + "\n")
        for name in ("loss", "learning_rate", "gradient_norm", "tokens_per_second"):
            self.board.add_scalar(name, getattr(metrics, name), metrics.step)

    def sync(self) -> None:
        """Bring what was logged to the disk."""
        self.file.flush()
        self.board.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.board.close()
