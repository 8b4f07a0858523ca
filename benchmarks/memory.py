"""Memory of this process, now and at its peak."""

import os
from pathlib import Path

import torch


def resident_mib() -> float:
    """Memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_mib() -> float:
    """The most memory that this process has held: of the device where there is one, else resident.

    Not `ru_maxrss`, which a process takes over from the one that started it.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) / 1024


def restart_peak() -> None:
    """Let the peak be counted anew from what is held now."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the high water mark
