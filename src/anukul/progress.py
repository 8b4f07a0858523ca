"""What a person watches while a step runs: lines on standard error and progress bars with rate and time left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# Seconds from a bar's start to the first line in a log, and between later ones: doubled from line to line up to these.
FIRST, LONGEST = 60.0, 600.0


@cache
def console() -> "Console":
    """Return the console on standard error that all steps share."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def mute() -> None:
    """Say and show nothing more in this process: another one speaks for it."""
    console().quiet = True


def say(message: str) -> None:
    """Print one line for the user; square brackets are text, not markup."""
    console().print(message, markup=False)


class Bar:
    """A running progress bar; `advance` counts units done, its `note` is the text beside it."""

    def __init__(self, total: int, unit: str, done: int = 0) -> None:
        self.total = total
        self.done = done
        self.unit = unit
        self.text = ""
        self.update: Callable[[], None] = lambda: None
        self._before = done  # by an earlier process: no part of the rate
        self._started = time.monotonic()

    def advance(self, count: int, note: str | None = None) -> None:
        """Add `count` finished units; `note` replaces the text beside the bar."""
        self.done += count
        if note is not None:
            self.text = note
        self.update()

    def grow(self, count: int) -> None:
        """Add `count` units to what there is to do."""
        self.total += count
        self.update()

    def skip(self, count: int) -> None:
        """Add `count` units that an earlier process finished: they are no part of the rate."""
        self.done += count
        self._before += count
        self.update()

    @property
    def seconds(self) -> float:
        """Since the bar began."""
        return time.monotonic() - self._started

    @property
    def made(self) -> int:
        """Units done since the bar began."""
        return self.done - self._before

    @property
    def rate(self) -> float:
        """Units per second since the bar began."""
        return self.made / max(self.seconds, 1e-9)

    @property
    def speed(self) -> str:
        """The rate in words."""
        return f"{self.rate:{',.0f' if self.rate >= 10 else '.2g'}} {self.unit}/s"

    @property
    def left(self) -> str:
        """The time left, as if all went on as it did until now; empty before anything is done."""
        if self.done <= self._before:
            return ""
        return f"{timedelta(seconds=round(max(0, self.total - self.done) / self.rate))} left"


@contextmanager
def bar(description: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
    """Show a bar with units/s and time left, of which `done` units were done before.

    On a terminal it moves; elsewhere it prints a line now and then, and one at its end.
    """
    state = Bar(total, unit, done)
    moves = console().is_terminal
    with _moving(description, state) if moves else _told(description, state):
        yield state
    text = "" if moves else state.text  # which stands there already
    made = state.made
    say(f"  {description}: {made:,} {unit} in {state.seconds:.1f} s ({state.speed}) {text}".rstrip())


@contextmanager
def _moving(description: str, state: Bar) -> Iterator[None]:
    """Draw the bar, and below it its text, each in one line of the terminal."""
    from rich.console import RenderableType
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Lines(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            if state.text:
                yield Text(f"  {state.text}", no_wrap=True, overflow="ellipsis")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Lines(*columns, console=console(), refresh_per_second=4) as shown:
        task = shown.add_task(description, total=state.total, count="", speed="", left="")

        def update() -> None:
            count = f"{state.done:,}/{state.total:,}"
            shown.update(
                task,
                total=state.total,
                completed=state.done,
                count=count,
                speed=state.speed,
                left=state.left,
            )

        state.update = update
        update()
        yield


@contextmanager
def _told(description: str, state: Bar) -> Iterator[None]:
    """Print where the work stands after a minute, then ever more rarely; nothing of what is soon done."""
    last, gap = 0.0, FIRST

    def update() -> None:
        nonlocal last, gap
        now = state.seconds
        if now - last < gap or state.done >= state.total:
            return
        last, gap = now, min(2 * gap, LONGEST)
        where = f"{state.done:,} of {state.total:,} {state.unit}, {state.left or state.speed}"
        say(f"  {description}: {where}  {state.text}".rstrip())

    state.update = update
    yield
