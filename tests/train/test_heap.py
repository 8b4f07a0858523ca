"""Memory of a CPU run goes back to the system."""

import os
import subprocess
import sys
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


def test_free_memory_is_given_back_at_once_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    library = heap.Heap(CPU)
    called: list[int] = []
    monkeypatch.setattr(library, "_trim", called.append)
    library.give_back()
    assert not called
    library.give_back(now=True)
    assert called == [0]


def test_the_environment_has_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": heap.KERNELS, "LRU_CACHE_CAPACITY": heap.SHAPES}
    for name in (*defaults, "THP_MEM_ALLOC_ENABLE"):
        monkeypatch.setenv(name, "")  # so that what is set below goes again after the test
        monkeypatch.delenv(name)
    heap.keep_little()
    assert {name: os.environ[name] for name in defaults} == {n: str(v) for n, v in defaults.items()}
    for name in defaults:
        monkeypatch.setenv(name, "7")
    heap.keep_little()
    assert {os.environ[name] for name in defaults} == {"7"}


@pytest.mark.parametrize(
    ("pages", "said", "alone"),
    [
        ("always [madvise] never\n", {}, heap.ALONE),
        ("[always] madvise never\n", {}, heap.ALONE),
        ("always madvise [never]\n", {}, heap.BY_ITSELF),
        ("always [madvise] never\n", {"MALLOC_MMAP_THRESHOLD_": "1048576"}, heap.BY_ITSELF),
        ("always [madvise] never\n", {"THP_MEM_ALLOC_ENABLE": "0"}, heap.BY_ITSELF),
        (None, {}, heap.BY_ITSELF),
    ],
)
def test_large_blocks_stand_alone_where_there_are_large_pages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pages: str | None, said: dict[str, str], alone: int
) -> None:
    for name in ("MALLOC_MMAP_THRESHOLD_", "THP_MEM_ALLOC_ENABLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(heap, "PAGES", tmp_path / "enabled")
    if pages is not None:
        heap.PAGES.write_text(pages, encoding="ascii")
    there = heap._c("mallopt") is not None
    assert heap.standing_alone() == (alone if there else heap.BY_ITSELF)


USED = """
import ctypes, os, sys
import torch
from anukul.train.heap import keep_little

class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

library = ctypes.CDLL(None)
library.mallinfo2.restype = Info
if sys.argv[1] == "little":
    keep_little()
one = torch.ones(64, 300, dtype=torch.bfloat16)
for length in range(10, 30):
    one @ torch.ones(300, length, dtype=torch.bfloat16)
before = library.mallinfo2().uordblks
for length in range(30, 430):
    one @ torch.ones(300, length, dtype=torch.bfloat16)
print(library.mallinfo2().uordblks - before)
"""


def test_products_of_new_shapes_leave_little_behind() -> None:
    """The kernels of 400 shapes: all are kept where nobody asks for less."""
    if heap._c("mallinfo2") is None:
        assert heap.Heap(torch.device("meta"))._trim is None
        return
    kept = {}
    for how in ("little", "all"):
        environment = {k: v for k, v in os.environ.items() if not k.endswith("_CACHE_CAPACITY")}
        done = subprocess.run(
            [sys.executable, "-c", USED, how], capture_output=True, text=True, check=True, env=environment
        )
        kept[how] = int(done.stdout)
    assert kept["little"] < 0.5 * kept["all"], kept
