"""Several processes train as one: rows cut over them, gradients summed, only the main one writes.

`accelerate launch` starts the same command once for each device. Every process holds the same base, the same adapter
and the same plan; a step's rows are cut over the processes, each makes the gradients of its rows divided by the learnt
tokens of the whole step, and the sum over the processes is the gradient that one process would have made
(docs/decisions/0009). All that is trained stays whole in every process, so checkpoints know nothing of processes and
resume on any number of them. Of a sharded run only the frozen weights are shared out (`model.sharded`).
"""

import os
import secrets
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from anukul import lifeline
from anukul.config import RunConfig
from anukul.digests import hash_model
from anukul.errors import LostProcessError, UserError
from anukul.rundir import write_atomic

# What one process does within a step while the others wait for it; compiling is the longest. The dead and the failed
# are not waited for: `lifeline` ends who waits.
STEP_PATIENCE = timedelta(minutes=30)
# Between steps the others wait as long as the main process works: a corpus takes hours or weeks, a download too.
PATIENCE = timedelta(days=365)
TOKEN = ".processes"
SEEN_WITHIN = 60.0  # seconds; a network file system shows a new file late
BUCKET = 1 << 25  # gradients summed at once: 128 MiB in fp32

Part = TypeVar("Part")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Folder:
    """What the main process calls the others to see."""

    root: str
    token: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What the main process calls the others to train."""

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
                whole = part.view_as(parameter)
                # fused optimizers go through weights and gradients by address
                same = whole.stride() == parameter.stride()
                parameter.grad = whole if same else torch.empty_like(parameter).copy_(whole)

    def sum(self, figures: Tensor) -> None:
        """Replace `figures` by their sum over the processes."""
        if self.count > 1:
            with _peers():
                dist.all_reduce(figures)

    def agree(self, value: Any) -> Any:
        """Return the main process's value."""
        return self.every(value)[0]

    def every(self, value: Made) -> list[Made]:
        """Return the value of every process, in their order; all wait for the last."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        with _peers():
            dist.all_gather_object(found, value, group=self.control)
        return found

    def main_does(self, work: Callable[[], None]) -> None:
        """Let the main process do `work` while the others wait."""
        if self.is_main:
            work()
        self.every(None)

    def in_turns(self, work: Callable[[], Made]) -> Made:
        """Let the processes of a machine do `work` one by one: what memory it needs for a while is needed once."""
        made: list[Made] = []
        for turn in range(1 + max(self.every(self.local_index))):
            if turn == self.local_index:
                made.append(work())
            self.every(None)
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
        control = dist.new_group(backend="gloo", timeout=STEP_PATIENCE)
    _joined = Processes(
        index=state.process_index,
        count=state.num_processes,
        local_index=state.local_process_index,
        sharded=sharded,
        control=control,
    )
    return _joined


def wait_long(processes: Processes) -> Processes:
    """Let the others wait for the main process without an end; once `lifeline` tells them of the dead."""
    global _joined
    with _peers():
        _joined = replace(processes, control=dist.new_group(backend="gloo", timeout=PATIENCE))
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


def show_folder(processes: Processes, root: Path) -> None:
    """As the main process, let the others look for the run folder; returns when all have seen it."""
    call = Folder(str(root), secrets.token_hex(8))
    path = root / TOKEN
    write_atomic(path, call.token)
    processes.agree(call)
    processes.every(None)
    path.unlink()


def look(processes: Processes, call: Folder) -> None:
    """As another process, see the run folder; raises UserError where it is not the main process's."""
    path = Path(call.root) / TOKEN
    until = time.monotonic() + SEEN_WITHIN
    while not path.exists() or path.read_text(encoding="utf-8") != call.token:
        if time.monotonic() > until:
            raise UserError(
                f"{call.root}: this machine does not see the run folder that the first process works in; several "
                "machines need it on a file system that they share, under the same path"
            )
        time.sleep(0.2)
    processes.every(None)


def begin_stage(config: RunConfig, root: Path, index: int) -> Processes:
    """Return the processes that train stage `index`; the main one calls the others to it (`Turn`).

    Raises UserError where the base of a machine is not that of the others.
    """
    processes = replace(_joined, seed=config.seed)
    if processes.count == 1:
        return processes
    if processes.is_main:
        processes.agree(Turn(config.model_dump_json(), str(root), index))
    machines = processes.every(lifeline.HOST)
    if len(set(machines)) > 1:
        own = hash_model(config.model) if processes.local_index == 0 else None
        _require_one_base(config, machines, processes.every(own))
    return processes


def _require_one_base(config: RunConfig, machines: Sequence[str], found: Sequence[str | None]) -> None:
    """Raise UserError where a machine has another base, as gradients of two bases are the gradient of neither."""
    for machine, base in zip(machines, found, strict=True):
        if base not in (None, found[0]):
            raise UserError(
                f"model.path: {config.model.path} on machine {machine} is not what it is on {machines[0]}: weights, "
                "tokenizer or revision differ"
            )


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
