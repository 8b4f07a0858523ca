"""Numbers as words: three significant digits, percent where natural, intervals in brackets, a dash for nothing."""

import math

from anukul.report.data import Measure

NOTHING = "–"
MINUS = "−"


def number(value: float | None, signed: bool = False) -> str:
    """Return `value` with three significant digits, whole from 1,000 up; a dash for None, NaN and infinities."""
    if value is None or not math.isfinite(value):
        return NOTHING
    sign = MINUS if value < 0 else "+" if signed and value > 0 else ""
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-4 or size >= 1e12:
        return f"{sign}{size:.2e}"
    exponent = math.floor(math.log10(size))
    rounded = round(size, max(0, 2 - exponent))
    # rounding may carry over, such as 9.996 to 10.0: then one digit fewer stands after the point
    exponent = math.floor(math.log10(rounded))
    return f"{sign}{rounded:,.{max(0, 2 - exponent)}f}"


def count(value: float | None) -> str:
    """Return a whole number with thousands separated by commas."""
    return NOTHING if value is None or not math.isfinite(value) else f"{round(value):,}"


def percent(value: float | None, signed: bool = False) -> str:
    """Return a share of 1 as percent with three significant digits."""
    if value is not None and 0 < abs(value) < 1e-5 and not signed:
        return "< 0.001 %"
    text = number(None if value is None else 100 * value, signed)
    return text if text == NOTHING else f"{text} %"


def points(value: float | None) -> str:
    """Return a difference of shares as signed percentage points, without the unit."""
    return number(None if value is None else 100 * value, signed=True)


def p_value(value: float | None) -> str:
    """Return a probability with three decimals; below .001 only that it is below."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return "< .001" if value < 0.0005 else f"{value:.3f}".removeprefix("0")


def interval(measure: Measure, share: bool, signed: bool = False) -> str:
    """Return `value [low, high]`; shares of 1 as percent, or as signed points when they are a difference.

    The three numbers have as many decimals as the largest needs for three digits, unless an end would show as 0.
    """
    factor = 100 if share else 1
    # sums of differences leave rounding where they cancel: that is 0
    value, low, high = (
        None if end is None else 0.0 if abs(end) < 1e-12 else factor * end
        for end in (measure.value, measure.low, measure.high)
    )
    if value is None or not math.isfinite(value):
        return NOTHING
    unit = " %" if share and not signed else ""
    if low is None or high is None:
        return number(value, signed) + unit
    size = max(abs(value), abs(low), abs(high))
    decimals = min(6, max(0, 2 - math.floor(math.log10(size)))) if size > 0 else 0

    def text(end: float) -> str:
        rounded = round(end, decimals)
        if rounded == 0 and end != 0:
            return number(end, signed)
        sign = MINUS if rounded < 0 else "+" if signed and rounded > 0 else ""
        return f"{sign}{abs(rounded):,.{decimals}f}" if rounded else "0"

    return f"{text(value)}{unit} [{text(low)}, {text(high)}]"


def duration(seconds: float | None) -> str:
    """Return seconds as `12.3 s`, `4 min 05 s` or `3 h 20 min`."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{number(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def plural(amount: int, word: str, words: str | None = None) -> str:
    """Return `1 task`, `3 tasks`."""
    return f"{amount:,} {word if amount == 1 else words or word + 's'}"


def listing(parts: list[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
