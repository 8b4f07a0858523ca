"""Which rows of a task of lm-eval its exemplars may be."""

POOL = 1000


def spaced(count: int) -> range:
    """Return which of `count` rows our exemplars are drawn from: all, or of many about POOL, evenly spaced."""
    return range(0, count, max(1, count // POOL))
