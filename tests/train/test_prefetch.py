"""Batches laid out in a thread: the same ones in the same order, errors heard, no thread left behind."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from made_stage import random_example

from anukul.train.packing import collate
from anukul.train.plan import StagePlan
from anukul.train.prefetch import AHEAD, micro_batches, prefetched


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prefetch"]


def test_gives_the_rows_of_every_step_in_order() -> None:
    examples = [random_example(seed, 5 + seed) for seed in range(9)]
    plan = StagePlan(examples, [[i] for i in range(9)], 4, 0)  # 2 steps, the ninth row is left
    with prefetched(micro_batches(plan, 1, 32, 3, 0, pinned=False), ahead=1) as batches:
        found = list(batches)
    expected = [collate(rows, examples, 32, 0, torch.device("cpu")) for rows in ([[4], [5], [6]], [[7]])]
    assert [batch.ids.tolist() for batch in found] == [batch.ids.tolist() for batch in expected]
    assert [batch.targets.tolist() for batch in found] == [batch.targets.tolist() for batch in expected]
    assert running() == []


def test_an_error_of_the_thread_is_raised_where_its_items_are_taken() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"), prefetched(items()) as taken:
        assert next(taken) == 1
        next(taken)
    assert running() == []


def test_leaving_early_ends_the_thread() -> None:
    with prefetched(iter(range(10**9)), ahead=2) as taken:
        assert [next(taken) for _ in range(5)] == [0, 1, 2, 3, 4]
        assert running() == ["prefetch"]
    assert running() == []


def test_the_next_batches_are_laid_out_while_a_step_is_computed() -> None:
    made = 0
    ready = threading.Event()

    def items() -> Iterator[int]:
        nonlocal made
        while True:
            made += 1
            if made > AHEAD + 1:
                ready.set()
            yield made

    with prefetched(items()) as taken:
        assert next(taken) == 1
        # the step that is computed now takes nothing: all the same there are as many as are to be ahead
        assert ready.wait(20)
        assert [next(taken) for _ in range(AHEAD)] == list(range(2, 2 + AHEAD))


def test_laying_out_is_faster_than_any_device_that_waits_for_it() -> None:
    """An 8B model takes 32 GFLOP and more for a token: a thousand TFLOP/s are 30,000 tokens in a second."""
    examples = [random_example(seed, 60) for seed in range(34)]
    rows = [list(range(34))] * 8
    rates = []
    for _ in range(7):
        started = time.perf_counter()
        batch = collate(rows, examples, 2048, 0, torch.device("cpu"))
        rates.append(batch.ids.numel() / (time.perf_counter() - started))
    assert max(rates) > 10 * 30_000
