"""Memory that a CPU run does not need, kept from growing from step to step (docs/decisions/0012).

Documents differ in length from step to step, and so do the shapes of matrix products. oneDNN keeps the code that it
made for the last 1,024 shapes, torch keeps as many beside it, and glibc keeps freed blocks that fit no later one.
"""

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import torch

KERNELS = 128  # that oneDNN keeps; fewer cost a fifth of the time where steps are small
SHAPES = 64  # whose kernels torch keeps in use by itself
SECONDS = 3.0  # between two givings back: what is given back and needed again costs about 0.1 s
# Blocks from this size on are taken from the system one by one and go back to it at once: none of them is lost to the
# next. Bytes; what torch takes in large pages begins here.
ALONE = 2 << 20
BY_ITSELF = 32 << 20  # from here on glibc does so if nobody asks
PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MMAP_THRESHOLD = -3  # of malloc.h


def keep_little() -> None:
    """Let oneDNN and torch keep few kernels and large blocks stand alone, unless the environment says otherwise.

    Heard only before the first product and the first tensor of the process.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    os.environ.setdefault("LRU_CACHE_CAPACITY", str(SHAPES))
    if standing_alone() == ALONE:
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
        _c("mallopt")(_MMAP_THRESHOLD, ALONE)


def standing_alone() -> int:
    """Return from which size on a block stands alone under `keep_little`, on this machine.

    Small ones only where the system has large pages to give: without them, pages that come one by one cost more time
    than the memory is worth.
    """
    asked = "MALLOC_MMAP_THRESHOLD_" in os.environ or os.environ.get("THP_MEM_ALLOC_ENABLE", "1") != "1"
    if asked or _c("mallopt") is None:
        return BY_ITSELF
    with suppress(OSError):
        if "[never]" not in PAGES.read_text(encoding="ascii"):
            return ALONE
    return BY_ITSELF


def _c(name: str) -> Any:
    """A function of the C library, None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None)


class Heap:
    """The C library's free memory, on a CPU and where the library can give it back (glibc); else nothing is done."""

    def __init__(self, device: torch.device) -> None:
        self._trim = _c("malloc_trim") if device.type == "cpu" else None
        self._last = monotonic()

    def give_back(self, now: bool = False) -> None:
        """Give free pages back to the system, at once or if some time has passed since the last time."""
        if self._trim is not None and (now or monotonic() - self._last > SECONDS):
            self._trim(0)
            self._last = monotonic()
