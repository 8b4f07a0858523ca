"""Work through jobs on Ray Data, on this machine or a cluster: the same shards as the processes of `workers` make.

Jobs lie on the disk until a worker takes them, so the folder must be on a file system that all machines share.
"""

import pickle
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from anukul.cluster import mapped
from anukul.corpus.workers import Failure, J, Job, Work, attempt, settle, throw

JOB, SHARD = "job.pickle", "shard"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What this process keeps of a job that lies on the disk."""

    target: Path
    name: str
    folder: Path


def run_on_ray(
    jobs: Iterable[J], work: Work[J], workers: int, done: Callable[[Job], None], address: str | None
) -> None:
    """Make the shards of `jobs`; `done` is called in this process with each that stands.

    Raises UserError where a worker does. A worker that dies is replaced by Ray.
    """
    waiting = [_lay_down(job) for job in jobs]
    given = (work, [job.folder for job in waiting])
    for job, failure in zip(waiting, mapped(_worker, given, len(waiting), workers, address), strict=True):
        if failure is not None:
            throw(failure)
        settle(job, job.folder / SHARD)
        shutil.rmtree(job.folder)
        done(job)


def _lay_down(job: Job) -> Waiting:
    folder = job.target.with_name(f".{job.target.name}.job.tmp")  # what a kill leaves of it is cleared
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JOB).write_bytes(pickle.dumps(job))
    return Waiting(job.target, job.name, folder)


def _worker(given: tuple[Work[J], list[Path]]) -> Callable[[int], Failure | None]:
    work, folders = given

    def make(number: int) -> Failure | None:
        folder = folders[number]
        shutil.rmtree(folder / SHARD, ignore_errors=True)  # of a worker that died at it
        return attempt(work, pickle.loads((folder / JOB).read_bytes()), folder / SHARD)

    return make
