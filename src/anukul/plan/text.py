"""Numbers and tables as a person reads them."""

from collections.abc import Iterable, Sequence

LABEL = 24  # columns that names of lines take


def line(name: str, text: str) -> str:
    """A name and what is said of it; further lines of the text stand below its first."""
    first, *more = text.split("\n")
    return "\n".join([f"{name + ':':<{LABEL}}{first}", *(" " * LABEL + each for each in more)])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as what they hold: the first to the left, figures to the right; two blanks before each row."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in lines) for column in range(len(head))]
    written = []
    for row in lines:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        written.append("  " + "  ".join(cells).rstrip())
    return "\n".join(written)


def unit_of(most: float) -> str:
    """The unit for a table of memory whose largest figure this is: GiB, or MiB where all is small."""
    return "GiB" if most >= 4 * 2**30 else "MiB"


def amount(size: float, unit: str) -> str:
    """Bytes in GiB or MiB, in digits that mean something."""
    if unit == "MiB":
        return f"{size / 2**20:,.0f}"
    value = size / 2**30
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def size(count: float) -> str:
    """Bytes with a decimal unit, as disks are sold."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def number(value: float) -> str:
    """A large count in short."""
    for unit, factor in (("G", 1e9), ("M", 1e6)):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:,.0f}"


def operations(value: float) -> str:
    """Floating-point operations with a unit."""
    for unit, factor in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12)):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value / 1e9:.1f} GFLOP"


def hours(seconds: float) -> str:
    """A time in the unit that fits it."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def percent(share: float) -> str:
    """A share in per cent; small ones with a digit more."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"
