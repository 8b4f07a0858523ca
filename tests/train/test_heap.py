"""Memory of a CPU run goes back to the system."""

import os
from pathlib import Path

import pytest
import torch

from anukul.train import heap

CPU = torch.device("cpu")


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_lies_free_between_blocks_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "SECONDS", 0.0)
    library = heap.Heap(CPU)
    if library._trim is None:
        assert not hasattr(heap.ctypes.CDLL(None), "malloc_trim")
        return
    # small enough for the heap; the pins in between keep its end from shrinking by itself
    blocks, pins = [], []
    for _ in range(4_000):
        blocks.append(torch.ones(50_000 // 4))
        pins.append(torch.ones(64))
    blocks.clear()
    before = resident()
    library.give_back()
    assert before - resident() > 100e6 and len(pins) == 4_000


def test_a_gpu_run_leaves_the_host_alone() -> None:
    assert heap.Heap(torch.device("meta"))._trim is None


def test_it_is_not_given_back_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    library = heap.Heap(CPU)
    called: list[int] = []
    monkeypatch.setattr(library, "_trim", called.append)
    now = library._last
    for seconds in (0.1, heap.SECONDS - 0.1, heap.SECONDS + 0.1):
        monkeypatch.setattr(heap, "monotonic", lambda at=now + seconds: at)
        library.give_back()
    assert called == [0]


def test_the_environment_has_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.delenv(name, raising=False)
    heap.keep_few_kernels()
    assert os.environ[name] == str(heap.KERNELS)
    monkeypatch.setenv(name, "7")
    heap.keep_few_kernels()
    assert os.environ[name] == "7"
