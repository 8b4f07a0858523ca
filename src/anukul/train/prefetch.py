"""Lay out the next micro-batches in a thread while the device works on this one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Full, Queue
from typing import TypeVar

import torch

from anukul.train.distributed import ALONE, Processes
from anukul.train.packing import Batch, collate
from anukul.train.plan import StagePlan

AHEAD = 8  # micro-batches laid out in advance: some hundred kilobytes, and a device that never waits for them
_PATIENCE = 0.1  # seconds between two looks at whether the other side is gone

Item = TypeVar("Item")


def micro_batches(
    plan: StagePlan,
    first: int,
    context: int,
    rows: int,
    pad_id: int,
    pinned: bool,
    processes: Processes = ALONE,
) -> Iterator[Batch]:
    """This process's micro-batches of every step from `first` on, `rows` packed rows each, on the CPU."""
    cpu = torch.device("cpu")
    for step in range(first, plan.steps):
        whole = plan.step_rows(step)
        for part in processes.parts(whole, rows):
            batch = collate(part or whole[:1], plan.examples, context, pad_id, cpu)
            if not part:
                batch = batch.without_loss()
            # a copy to the device runs beside the computation only from pinned memory
            yield batch.pinned() if pinned else batch


@contextmanager
def prefetched(items: Iterator[Item], ahead: int = AHEAD) -> Iterator[Iterator[Item]]:
    """Draw `items` in a thread, at most `ahead` in advance; what it raises is raised where the items are taken."""
    queue: Queue[Item | BaseException | None] = Queue(ahead)
    stop = threading.Event()

    def put(item: Item | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return queue.put(item, timeout=_PATIENCE)
            except Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:  # handed on: the thread must not die unheard
            put(error)

    def taken() -> Iterator[Item]:
        while True:
            try:
                item = queue.get(timeout=_PATIENCE)
            except Empty:
                continue  # the thread always ends with None or an error
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stop.set()
        thread.join()
