"""Several processes of one command, as `accelerate launch` starts them: the first leads, the others follow.

The first process runs the command. The others take part in the training stages that it calls them to and do nothing
else: they read no config, write no file and say nothing, so that what one process does is done once. Where one fails
all end at once, and it says why (`lifeline`). Nothing here imports torch before there is something to follow.
"""

import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from anukul import progress
from anukul.errors import LostProcessError, UserError
from anukul.lifeline import Lifeline, Place, leave_note, tie

if TYPE_CHECKING:
    from anukul.train.distributed import Processes

SHARED = ("run", "train")  # commands that train; any other is the first process's alone, and so is a dry run

Guarded = Callable[[Callable[[], None]], int]

_held: "tuple[Processes, Lifeline] | None" = None  # while there are others to lead or to follow


def place() -> tuple[int, int]:
    """Return this process's number and how many there are, by the variables that launchers set."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ["RANK"]), count) if count > 1 and "RANK" in os.environ else (0, 1)


def run(guarded: Guarded, work: Callable[[], None], arguments: Sequence[str]) -> int:
    """Do `work`, the command named by `arguments[0]`, in the first process; return this process's exit code.

    `guarded` runs something and turns its errors into lines and an exit code. Of several processes, one that fails
    ends all others and itself, and does not return.
    """
    index, count = place()
    if count == 1:
        return guarded(work)
    if not set(arguments[:1]).intersection(SHARED) or "--dry-run" in arguments:
        return guarded(work) if index == 0 else 0
    here = Place(index, count, int(os.environ.get("LOCAL_RANK", index)))
    if index > 0:
        progress.mute()
    try:
        processes = _meet(here)
        if processes.is_main:
            work()
        else:
            follow(processes)
        release()
    except BaseException as error:
        return _fail(guarded, here, error)
    return 0


def share(root: Path) -> None:
    """Make sure that every process sees the run folder; raises UserError, in one that does not."""
    if _held is not None:
        from anukul.train.distributed import show_folder

        show_folder(_held[0], root)


def release() -> None:
    """Part from the other processes: what is left to do is for the first, and nothing for the rest."""
    global _held
    if _held is None:
        return
    from anukul.train.distributed import leave

    processes, line = _held
    if processes.is_main:
        processes.agree(None)
    line.part()
    _held = None
    leave()


def follow(processes: "Processes") -> None:
    """Take part in all that the first process calls to, until it calls no more."""
    from anukul.config import RunConfig
    from anukul.train.distributed import Folder, look
    from anukul.train.step import run_stage

    while (call := processes.agree(None)) is not None:
        if isinstance(call, Folder):
            look(processes, call)
        else:
            run_stage(RunConfig.model_validate_json(call.config), Path(call.root), call.index)


def _meet(here: Place) -> "Processes":
    """Join the other processes and be tied to them."""
    global _held
    from anukul.train.distributed import join, wait_long

    processes = join()
    line = tie(here, processes.agree)
    _held = processes, line
    processes = wait_long(processes)
    _held = processes, line
    return processes


def _fail(guarded: Guarded, here: Place, error: BaseException) -> int:
    """Say an error, unless another process has failed before, and end all; return the code of one that is by itself."""
    trace = error.__traceback__
    user = isinstance(error, UserError)
    reason = str(error) if user or isinstance(error, LostProcessError) else _in_a_line(error)
    if here.index > 0 or not user:
        reason = f"{here.name()}: {reason}"

    def speak() -> int:
        try:
            return guarded(lambda: _throw(UserError(reason) if user else error))
        except BaseException:  # it is none of those that are meant to be read
            traceback.print_exception(type(error), error, trace)
            guarded(lambda: _throw(LostProcessError(reason)))
            return 1

    if _held is not None:
        _held[1].fail(user or isinstance(error, KeyboardInterrupt), reason, speak)
    leave_note(reason)
    if here.local_index == 0:  # alone, or a launch that every process of this machine refuses
        return speak()
    return 2 if user else 1


def _throw(error: BaseException) -> NoReturn:
    raise error


def _in_a_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
