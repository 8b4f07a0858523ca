"""Several processes of one command, as `accelerate launch` starts them: the first leads, the others follow.

The first process runs the command. The others take part in the training stages that it calls them to and do nothing
else: they read no config, write no file and say nothing, so that what one process does is done once and a mistake is
told once. Nothing here imports torch before there is something to follow.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anukul import progress
from anukul.errors import LostProcessError, UserError

if TYPE_CHECKING:
    from anukul.train.distributed import Processes

SHARED = ("run", "train")  # commands that train; any other is the first process's alone

_led: "Processes | None" = None


def place() -> tuple[int, int]:
    """Return this process's number and how many there are, by the variables that launchers set."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ["RANK"]), count) if count > 1 and "RANK" in os.environ else (0, 1)


def run(
    guarded: Callable[[Callable[[], None]], int], work: Callable[[], None], arguments: Sequence[str]
) -> int:
    """Do `work`, the command named by `arguments[0]`, in the first process; return this process's exit code.

    `guarded` runs something and turns its errors into lines and an exit code.
    """
    index, count = place()
    if count == 1:
        return guarded(work)
    if not set(arguments[:1]).intersection(SHARED):
        return guarded(work) if index == 0 else 0
    if index > 0:
        progress.mute()
        return _follow()

    def lead() -> None:
        global _led
        from anukul.train.distributed import join

        _led = join()
        work()

    code = guarded(lead)
    # after any other end the others may be in the middle of a step: the closed connection tells them
    if code in (0, 2):
        release(code)
    return code


def release(code: int = 0) -> None:
    """Send the other processes away with an exit code; what is left to do is for one."""
    global _led
    if _led is None:
        return
    from anukul.train.distributed import leave

    processes, _led = _led, None
    try:
        processes.agree(code)
        processes.every(None)  # nobody hangs up before all have heard
    except LostProcessError:
        return  # they are gone already
    leave()


def follow(processes: "Processes") -> Any:
    """Take part in every stage that the first process calls to; return what it sends instead of another call."""
    from anukul.config import RunConfig
    from anukul.train.distributed import Turn
    from anukul.train.step import run_stage

    while isinstance(turn := processes.agree(None), Turn):
        try:
            run_stage(RunConfig.model_validate_json(turn.config), Path(turn.root), turn.index)
        except UserError:
            continue  # the first process has raised it too, says it and sends us away
    return turn


def _follow() -> int:
    from anukul.train.distributed import join, leave

    try:
        processes = join()
        code = follow(processes)
        processes.every(None)
        leave()
    except UserError:
        return 2  # a launch that the first process refuses as well
    except LostProcessError:
        return 1
    return int(code)
