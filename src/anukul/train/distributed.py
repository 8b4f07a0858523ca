"""Several processes train as one: rows cut over them, gradients summed, only the main one writes.

`accelerate launch` starts the same command once for each device. Every process holds the same base, the same adapter
and the same plan; a step's rows are cut over the processes, each makes the gradients of its rows divided by the learnt
tokens of the whole step, and the sum over the processes is the gradient that one process would have made
(docs/decisions/0009). All that is trained stays whole in every process, so checkpoints know nothing of processes and
resume on any number of them. Of a sharded run only the frozen weights are shared out (`model.sharded`).
"""

import os
import secrets
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from anukul.config import RunConfig
from anukul.errors import LostProcessError, UserError
from anukul.rundir import write_atomic

# What one process does within a step while the others wait for it; compiling is the longest.
STEP_PATIENCE = timedelta(minutes=30)
# Between steps the others wait as long as the main process works: a corpus takes hours, a download too. They wait on
# connections that break as soon as a process dies, so that this is no wait for the dead.
PATIENCE = timedelta(days=7)
TOKEN = ".processes"
SEEN_WITHIN = 60.0  # seconds; a network file system shows a new file late
BUCKET = 1 << 25  # gradients summed at once: 128 MiB in fp32

Part = TypeVar("Part")
Made = TypeVar("Made")


class AgreedError(UserError):
    """A UserError that every process has raised."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the main process calls the others to."""

    config: str  # the RunConfig as JSON
    root: str
    index: int  # of the stage


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes that train together, seen from one of them; the default is one alone."""

    index: int = 0
    count: int = 1
    local_index: int = 0  # on this machine
    sharded: bool = False  # the frozen weights are shared out over the processes
    seed: int = 0
    control: Any = None  # the group for all that is no training step

    @property
    def is_main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.index == 0

    def cut(self, rows: Sequence[Part], size: int) -> list[list[Sequence[Part]]]:
        """Return the micro-batches of every process: a step's rows in their order and as even as can be, in `size`s.

        Fewer rows than processes leave some without. Sharded processes gather weights in every pass, so all of
        them must make equally many: what some lack is an empty part.
        """
        ends = [len(rows) * i // self.count for i in range(self.count + 1)]
        found = [
            [rows[start : min(start + size, after)] for start in range(first, after, size)]
            for first, after in pairwise(ends)
        ]
        most = max(map(len, found)) if self.sharded else 0
        return [[*parts, *[rows[:0]] * (most - len(parts))] for parts in found]

    def parts(self, rows: Sequence[Part], size: int) -> list[Sequence[Part]]:
        """Return this process's micro-batches of a step's rows."""
        return self.cut(rows, size)[self.index]

    def seed_step(self, stage: str, step: int) -> None:
        """Seed what a step draws (dropout) by seed, stage, step and process, so that no process repeats another's.

        One process alone draws on, as it does from checkpoint to checkpoint.
        """
        if self.count > 1:
            torch.manual_seed(zlib.crc32(f"{self.seed} {stage} {step} {self.index}".encode()))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes; one that had no rows adds nothing.

        The result is the same to the bit in every process: each sum is made in one place and handed round.
        """
        if self.count == 1:
            return
        for bucket in _buckets(parameters):
            flat = torch.cat(
                [torch.zeros_like(p).view(-1) if p.grad is None else p.grad.reshape(-1) for p in bucket]
            )
            self.sum(flat)
            for parameter, part in zip(bucket, torch.split(flat, [p.numel() for p in bucket]), strict=True):
                parameter.grad = part.view_as(parameter)

    def sum(self, figures: Tensor) -> None:
        """Replace `figures` by their sum over the processes."""
        if self.count > 1:
            with _peers():
                dist.all_reduce(figures)

    def agree(self, value: Any) -> Any:
        """Return the main process's value."""
        return self.every(value)[0]

    def every(self, value: Made, failure: str | None = None) -> list[Made]:
        """Return the value of every process, in their order; all wait for the last.

        Where one gives a `failure` instead, an AgreedError is raised in all of them, wherever they had met.
        """
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        with _peers():
            dist.all_gather_object(found, (failure, value), group=self.control)
        failing = next((i for i, (failed, _) in enumerate(found) if failed is not None), None)
        if failing is not None:
            whose = "" if failing == 0 else f"process {failing} of {self.count}: "
            raise AgreedError(f"{whose}{found[failing][0]}")
        return [value for _, value in found]

    def main_does(self, work: Callable[[], None]) -> None:
        """Let the main process do `work` while the others wait; a UserError of it is everyone's."""
        with self.together():
            if self.is_main:
                work()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Leave the block when every process has; a UserError of one is everyone's.

        Any other error ends its process, and the closed connection those that wait for it.
        """
        try:
            yield
        except AgreedError:
            raise
        except UserError as error:
            if self.count > 1:
                with suppress(LostProcessError):  # alone with one's error is no reason to hide it
                    self.every(None, str(error))
            raise
        self.every(None)

    def in_turns(self, work: Callable[[], Made]) -> Made:
        """Let the processes of a machine do `work` one by one: what memory it needs for a while is needed once."""
        made: list[Made] = []
        for turn in range(1 + max(self.every(self.local_index))):
            with self.together():
                if turn == self.local_index:
                    made.append(work())
        return made[0]

    def require_same(self, parameters: Sequence[nn.Parameter], when: str) -> None:
        """Raise UserError where the processes are not at the same place with the same weights, to the bit."""
        if self.count == 1:
            return
        sums = [int(p.detach().contiguous().view(torch.int32).sum(dtype=torch.int64)) for p in parameters]
        found = self.every((when, sums))
        differing = [i for i, other in enumerate(found) if other != found[0]]
        if differing:
            raise UserError(
                f"train: {when} the weights of process {differing[0]} are not those of process 0; do all machines have "
                "the same versions of torch and the same kind of GPU? The same command goes on from the last checkpoint"
            )


ALONE = Processes()
_joined = ALONE


def join() -> Processes:
    """Meet the other processes of the launch and take this one's device.

    Raises UserError, in every process alike, for a launch that anukul does not follow.
    """
    global _joined
    from accelerate import PartialState

    for name, what in (
        ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"),
        ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM"),
    ):
        if _flag(name):
            raise UserError(
                f"accelerate is set up for {what}; use --multi_gpu, or --use_fsdp --fsdp_version 2 for a base that "
                "does not fit on one GPU"
            )
    sharded = _flag("ACCELERATE_USE_FSDP")
    if sharded and os.environ.get("FSDP_VERSION", "1") != "2":
        raise UserError("accelerate is set up for version 1 of FSDP; add --fsdp_version 2")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    gpus = torch.cuda.device_count()
    if 0 < gpus < here:
        raise UserError(
            f"{here} processes on a machine with {gpus} GPUs; give --num_processes one for each GPU"
        )
    # transformers would load empty weights in every process but the first of a machine
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    with _peers():
        state = PartialState(cpu=gpus == 0, timeout=STEP_PATIENCE)
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
    _joined = Processes(
        index=state.process_index,
        count=state.num_processes,
        local_index=state.local_process_index,
        sharded=sharded,
        control=control,
    )
    return _joined


def joined() -> Processes:
    """The processes of this launch."""
    return _joined


def leave() -> None:
    """Part from the other processes; from here on this one is alone."""
    global _joined
    _joined = ALONE
    if dist.is_initialized():
        dist.destroy_process_group()


def begin_stage(config: RunConfig, root: Path, index: int) -> Processes:
    """Return the processes that train stage `index`; the main one calls the others to it (`Turn`).

    Raises UserError, in every process, where one does not see the run folder of the main one.
    """
    processes = replace(_joined, seed=config.seed)
    if processes.count == 1:
        return processes
    token = None
    if processes.is_main:
        token = secrets.token_hex(8)
        write_atomic(root / TOKEN, token)
        processes.agree(Turn(config.model_dump_json(), str(root), index))
    token = processes.agree(token)
    with processes.together():
        _require_seen(root / TOKEN, token)
    return processes


def _require_seen(path: Path, token: str) -> None:
    until = time.monotonic() + SEEN_WITHIN
    while not path.exists() or path.read_text(encoding="utf-8") != token:
        if time.monotonic() > until:
            raise UserError(
                f"{path.parent}: machine {socket.gethostname()} does not see the run folder that the main process "
                "works in; several machines need it on a file system that they share, under the same path"
            )
        time.sleep(0.2)


@contextmanager
def _peers() -> Iterator[None]:
    """Turn what a dead or silent process makes of a collective into one clear error."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise LostProcessError(
            f"train: another process of this run ended or cannot be reached ({reason}); the same command goes on from "
            "the newest checkpoint, on any number of processes"
        ) from error


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbours of one type together, up to `BUCKET` numbers or one parameter that is larger."""
    bucket: list[nn.Parameter] = []
    held = 0
    for parameter in parameters:
        if bucket and (held + parameter.numel() > BUCKET or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, held = [], 0
        bucket.append(parameter)
        held += parameter.numel()
    if bucket:
        yield bucket


def _flag(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes")
