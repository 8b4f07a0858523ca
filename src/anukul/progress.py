"""What a person watches while a step runs: lines on standard error and progress bars with rate and time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


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
    """A running progress bar; `advance` counts units done, `note` sets the text at its end."""

    def __init__(self, total: int, unit: str) -> None:
        self.total = total
        self.done = 0
        self.unit = unit
        self.text = ""
        self.update: Callable[[], None] = lambda: None

    def advance(self, count: int, note: str | None = None) -> None:
        """Add `count` finished units; `note` replaces the text at the end of the bar."""
        self.done += count
        if note is not None:
            self.text = note
        self.update()

    def grow(self, count: int) -> None:
        """Add `count` units to what there is to do."""
        self.total += count
        self.update()


@contextmanager
def bar(description: str, total: int, unit: str) -> Iterator[Bar]:
    """Show a bar with units/s and time left; on a terminal it moves, elsewhere it prints one closing line."""
    import time

    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    state = Bar(total, unit)
    started = time.monotonic()

    def rate() -> str:
        return f"{state.done / max(time.monotonic() - started, 1e-9):,.0f} {unit}/s"

    if console().is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console(), refresh_per_second=4) as shown:
            task = shown.add_task(description, total=total, rate="", note="")
            state.update = lambda: shown.update(
                task, total=state.total, completed=state.done, rate=rate(), note=state.text
            )
            yield state
    else:
        yield state
    seconds = time.monotonic() - started
    say(f"  {description}: {state.done:,} {unit} in {seconds:.1f} s ({rate()}) {state.text}".rstrip())
