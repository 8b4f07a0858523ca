"""Long work is encoded, planned and scored a portion at a time, so that memory does not grow with its length."""

from collections.abc import Iterable, Iterator

# About two million tokens of English: a hundred megabytes while they are planned.
PORTION_CHARACTERS = 1 << 23


def portions(sizes: Iterable[int], limit: int) -> Iterator[range]:
    """Cut things of `sizes` into runs of at most `limit` in all, in order; one that is larger stands alone."""
    first, held, count = 0, 0, 0
    for size in sizes:
        if count > first and held + size > limit:
            yield range(first, count)
            first, held = count, 0
        held += size
        count += 1
    if count > first:
        yield range(first, count)
