"""Batches laid out in a thread: the same ones in the same order, errors heard, no thread left behind."""

import threading
from collections.abc import Iterator

import pytest
import torch
from made_stage import random_example

from anukul.train.packing import collate
from anukul.train.plan import StagePlan
from anukul.train.prefetch import micro_batches, prefetched


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
