"""Memory that a CPU run does not need, kept from growing from step to step (docs/decisions/0012).

Documents differ in length from step to step, and so do the shapes of matrix products. oneDNN keeps the code that it
made for the last 1,024 shapes, and glibc keeps freed blocks that fit no later one.
"""

import ctypes
import os
from time import monotonic

import torch

KERNELS = 128  # fewer cost a fifth of the time where steps are small
SECONDS = 3.0  # between two givings back: what is given back and needed again costs about 0.1 s


def keep_few_kernels() -> None:
    """Let oneDNN keep few kernels, unless the environment says how many; heard only before its first product."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))


class Heap:
    """The C library's free memory, on a CPU and where the library can give it back (glibc); else nothing is done."""

    def __init__(self, device: torch.device) -> None:
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if device.type == "cpu" else None
        self._last = monotonic()

    def give_back(self) -> None:
        """Give free pages back to the system, if some time has passed since the last time."""
        if self._trim is not None and monotonic() - self._last > SECONDS:
            self._trim(0)
            self._last = monotonic()
