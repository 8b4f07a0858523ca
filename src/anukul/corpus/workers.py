"""Work through jobs in several processes; a shard is whole or absent, and a worker that dies is noticed at once.

A worker writes a shard into a folder that is its own; only this process gives it its name. So what a worker leaves
behind that was killed, or that outlives this process, never counts as done.
"""

import os
import shutil
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, TypeVar

from anukul.disk import full_by
from anukul.errors import UserError
from anukul.progress import say
from anukul.rundir import sync_folder

ATTEMPTS = 3  # at one shard, before it is the shard that kills
PATIENCE = 5.0  # seconds that a worker has to leave when it is no longer wanted


class Job(Protocol):
    """A shard to be made: the folder it becomes, and what the user knows it by."""

    @property
    def target(self) -> Path:
        """The folder of the finished shard."""

    @property
    def name(self) -> str:
        """Such as "news.jsonl, rows 1 to 20,000"."""


J = TypeVar("J", bound=Job)
Work = Callable[[J, Path], None]  # makes a job's shard in the folder given


@dataclass(frozen=True, slots=True)
class Failure:
    """What a worker says of an error, in words that can be sent."""

    kind: str  # user | full | bug
    message: str
    number: int = 0  # of the operating system's error


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def clear(folder: Path) -> None:
    """Delete what unfinished shards have left behind."""
    for path in folder.rglob(".*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


class Crew:
    """Makes the shards of jobs, in any order; its processes begin with their first work and stay until `close`."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.pool = _Pool(workers)

    def run(self, jobs: Iterable[J], work: Work[J], done: Callable[[J], None]) -> None:
        """Do all `jobs`; `done` is called in this process with each that stands.

        One job alone, or one worker, needs no process beside this one. Raises UserError where a worker does, or where
        one shard ends every worker that is put to it.
        """
        remaining = iter(jobs)
        first = list(islice(remaining, 2))
        if self.workers > 1 and len(first) == 2:
            self.pool.run(_chained(first, remaining), work, done)
            return
        for job in _chained(first, remaining):
            scratch = _scratch(job, 0)
            try:
                work(job, scratch)
                settle(job, scratch)
            except OSError as error:
                shutil.rmtree(scratch, ignore_errors=True)
                throw(_failure(error))
            done(job)

    def close(self) -> None:
        """End the processes."""
        self.pool.close()


def _chained(first: list[J], rest: Iterator[J]) -> Iterator[J]:
    while first:
        yield first.pop(0)  # not held any longer: a job may be large
    yield from rest


def _scratch(job: Job, number: int) -> Path:
    """Return a new folder for an unfinished shard, which no other process writes into."""
    scratch = job.target.with_name(f".{job.target.name}.{os.getpid()}-{number}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    return scratch


def settle(job: Job, scratch: Path) -> None:
    """Give a finished shard its name."""
    if job.target.exists():  # nothing that counted: it would not have been made again
        shutil.rmtree(job.target)
    scratch.replace(job.target)
    sync_folder(job.target.parent)


class _Worker:
    """A process, this end of its line, and what it works at."""

    def __init__(self) -> None:
        context = get_context("spawn")  # a fork of a process with threads may hang
        self.line, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # so that its end is noticed
        self.job: Job | None = None
        self.scratch = Path()

    def give(self, job: J, work: Work[J], number: int) -> bool:
        """Hand over a job; false where the worker is gone."""
        self.job, self.scratch = job, _scratch(job, number)
        try:
            self.line.send((work, job, self.scratch))
        except OSError:
            return False
        return True

    def answer(self) -> tuple[bool, Failure | None]:
        """Return whether it is alive, and what went wrong; waits."""
        try:
            return True, self.line.recv()
        except (EOFError, OSError):
            return False, None

    def end(self) -> str:
        """Wait for a worker that is gone; return how it ended, in words."""
        self.line.close()
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        code = self.process.exitcode or 0
        shutil.rmtree(self.scratch, ignore_errors=True)
        if code >= 0:
            return f"ended with code {code}"
        return f"was ended by {signal.Signals(-code).name}"


class _Pool:
    """The workers, each with at most one job; started as there is work for them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.workers: list[_Worker] = []
        self.again: list[Any] = []  # jobs whose worker died
        self.deaths: dict[Path, int] = {}
        self.given = 0

    def run(self, jobs: Iterator[J], work: Work[J], done: Callable[[J], None]) -> None:
        """Do all jobs."""
        ahead = next(jobs, None)  # read while all workers are at work
        while ahead is not None or self.again or any(worker.job for worker in self.workers):
            idle = [worker for worker in self.workers if worker.job is None]
            if (ahead is not None or self.again) and (idle or len(self.workers) < self.size):
                if not idle:
                    idle.append(self._new())
                if self.again:
                    self._give(idle[0], self.again.pop(), work)
                elif ahead is not None:
                    self._give(idle[0], ahead, work)
                    ahead = next(jobs, None)
                self._collect(done, 0.0)
            else:
                self._collect(done, None)

    def close(self) -> None:
        """End the workers: those at rest leave when their line is closed, the others are told to."""
        for worker in self.workers:
            worker.line.close()
            if worker.job is not None:
                worker.process.terminate()
        for worker in self.workers:
            worker.end()
        self.workers = []

    def _new(self) -> _Worker:
        worker = _Worker()
        self.workers.append(worker)
        return worker

    def _give(self, worker: _Worker, job: J, work: Work[J]) -> None:
        self.given += 1
        if not worker.give(job, work, self.given):
            self._lost(worker)

    def _collect(self, done: Callable[[Any], None], timeout: float | None) -> None:
        """Take in the answers that are there; with no `timeout` wait for one."""
        lines: dict[Any, _Worker] = {worker.line: worker for worker in self.workers if worker.job}
        for line in wait(list(lines), timeout):
            worker = lines[line]
            alive, failure = worker.answer()
            if not alive:
                self._lost(worker)
                continue
            if failure is not None:
                shutil.rmtree(worker.scratch, ignore_errors=True)
                throw(failure)
            job, worker.job = worker.job, None
            assert job is not None
            try:
                settle(job, worker.scratch)
            except OSError as error:
                throw(_failure(error))
            done(job)

    def _lost(self, worker: _Worker) -> None:
        """Put the job of a worker that is gone back, unless it has ended too many."""
        job = worker.job
        assert job is not None
        how = worker.end()
        self.workers.remove(worker)
        self.deaths[job.target] = self.deaths.get(job.target, 0) + 1
        if self.deaths[job.target] == ATTEMPTS:
            raise UserError(
                f"corpus: {job.name}: {ATTEMPTS} workers in turn ended at it, the last one {how}: short of memory? "
                "Fewer of them (corpus.workers) have more of it each; what is done is kept"
            )
        self.again.append(job)
        say(f"corpus: a worker {how}; its shard is made again: {job.name}")


def _serve(line: Connection) -> None:
    """Be a worker: make shards until nobody asks for one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks says what happens
    threading.Thread(target=_leave_alone, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            work, job, scratch = line.recv()
            line.send(attempt(work, job, scratch))
            del job


def _leave_alone() -> None:
    """End this process at once when the one that asks is gone: what it writes would be in the next one's way."""
    asking = parent_process()
    if asking is not None:
        asking.join()
        os._exit(1)


def attempt(work: Work[J], job: J, scratch: Path) -> Failure | None:
    """Make a shard in the folder `scratch`; return what went wrong."""
    try:
        work(job, scratch)
    except Exception as error:
        return _failure(error)
    return None


def _failure(error: Exception) -> Failure:
    if isinstance(error, UserError):
        return Failure("user", str(error))
    number = full_by(error)
    if number is not None:
        return Failure("full", str(getattr(error, "filename", None) or ""), number)
    return Failure("bug", "".join(traceback.format_exception(error)))


def throw(failure: Failure) -> None:
    """Raise here what went wrong in a worker."""
    if failure.kind == "user":
        raise UserError(failure.message)
    if failure.kind == "full":
        raise OSError(failure.number, os.strerror(failure.number), failure.message or None)
    raise RuntimeError(f"corpus: a worker failed:\n{failure.message}")
