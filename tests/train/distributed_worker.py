"""Launches of several processes, forked from one that has loaded the libraries and computed nothing.

Reads orders from standard input, one JSON object a line: `count` processes, the `arguments` of each, a `folder` for
what they print, a `fault` for one of them to meet, and whether each is on one of many `machines`. Writes their exit
codes, one list a line. An order's first argument is `jobs` (a file of stages to train) or `anukul` (its command line).
"""

import json
import os
import resource
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import bitsandbytes  # noqa: F401  loaded here, so that the forked processes need not
import peft  # noqa: F401
import pyarrow.parquet  # noqa: F401
import rich.console  # noqa: F401
import torch
import torch.distributed.fsdp
import torch.utils.tensorboard
import transformers.models.llama.modeling_llama  # noqa: F401

from anukul import cli, launch, lifeline, pipeline  # noqa: F401
from anukul.config import RunConfig
from anukul.model.recompute import decoder_layers
from anukul.model.sharded import own_part
from anukul.train import distributed, loop, step
from anukul.train.distributed import Processes


def stop_at(whole: Path, root: Path, finished: int) -> None:
    """Make `root` what `whole` was when its first stage had been killed after a checkpoint."""
    stage = Path("train/translation")
    for name in ("corpus", "synth", stage / f"step-{finished:06d}", stage / "best"):
        if (whole / name).exists():
            shutil.copytree(whole / name, root / name)
    for file in (whole / stage).glob("*.json*"):
        shutil.copyfile(file, root / stage / file.name)


def lead(job: dict[str, Any]) -> None:
    """Do a job as the first process."""
    root = Path(job["root"])
    if job["of"]:
        stop_at(Path(job["of"]), root, job["step"])
    config = RunConfig.model_validate(job["config"])
    for index in job["stages"]:
        step.run_stage(config, root, index)


def weigh(processes: Processes, job: dict[str, Any]) -> None:
    """Load a sharded base; write how many bytes of its layers this process holds, and of how many."""
    root = Path(job["root"])
    loaded = step._load_sharded(RunConfig.model_validate(job["config"]), root, 0, processes)
    layers = [p for layer in decoder_layers(loaded) for p in layer.parameters() if not p.requires_grad]
    sizes = [[t.numel() * t.element_size() for t in (own_part(p), p)] for p in layers]
    own, whole = (sum(column) for column in zip(*sizes, strict=True))
    (root / f"{processes.index}.json").write_text(json.dumps([own, whole]))


def add(processes: Processes, job: dict[str, Any]) -> None:
    """Sum the gradients of a weight that lies in columns and of one in rows; write their strides, and the sum."""
    held = torch.arange(6.0).view(2, 3)
    weights = [torch.nn.Parameter(held.t().contiguous().t()), torch.nn.Parameter(held.clone())]
    for weight in weights:
        weight.grad = held * (processes.index + 1)
    processes.sum_gradients(weights)
    sums = [weight.grad for weight in weights if weight.grad is not None]
    assert torch.equal(*sums)
    strides = [tensor.stride() for pair in zip(weights, sums, strict=True) for tensor in pair]
    (Path(job["root"]) / f"{processes.index}.json").write_text(json.dumps([strides, sums[0].tolist()]))


CALLS = {"weigh": weigh, "add": add}


def do_jobs(path: str) -> None:
    """Do every job together with the other processes."""
    processes = distributed.join()
    for job in json.loads(Path(path).read_text(encoding="utf-8")):
        distributed._joined = replace(processes, sharded=job["sharded"])
        if "call" in job:
            CALLS[job["call"]](distributed._joined, job)
        elif processes.is_main:
            lead(job)
            processes.agree(None)
        else:
            launch.follow(processes)
    distributed.leave()


def raise_error() -> NoReturn:
    """Meet what nobody has thought of."""
    raise ZeroDivisionError("in a step")


def fill_memory() -> NoReturn:
    """Raise what torch raises when a GPU's memory is full."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def fill_disk() -> None:
    """Let no file of this process grow beyond 64 KiB from now on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))


def die() -> None:
    """Die as when the machine is short of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


FAULTS: dict[str, Callable[[], None]] = {
    "error": raise_error,
    "memory": fill_memory,
    "disk": fill_disk,
    "kill": die,
}


def plant(fault: dict[str, Any], folder: Path) -> None:
    """Let this process meet a fault in a step of training, and write down when it did."""
    whole = loop._one_step

    def faulty(training: loop.Training, step: int, batches: Any) -> Any:
        if step == fault["step"]:
            (folder / "fault").write_text(str(time.time()))
            FAULTS[fault["kind"]]()
        return whole(training, step, batches)

    loop._one_step = faulty


def work(arguments: Sequence[str]) -> int:
    """Be one of the processes; return its exit code."""
    try:
        if arguments[0] == "jobs":
            do_jobs(arguments[1])
        else:
            sys.argv = list(arguments)
            cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def start(order: dict[str, Any], index: int, port: int) -> int:
    """Fork process `index` of an order; return its id."""
    child = os.fork()
    if child:
        return child
    count = order["count"]
    here, local = (1, 0) if order["machines"] else (count, index)
    if order["machines"]:
        lifeline.HOST = f"machine-{index}"
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(here)}
    os.environ |= {"RANK": str(index), "LOCAL_RANK": str(local)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{order['folder']}/{index}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if order["fault"] and order["fault"]["index"] == index:
        plant(order["fault"], Path(order["folder"]))
    code = work(order["arguments"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Serve orders until there are no more."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = [start(order, index, port) for index in range(order["count"])]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    main()
