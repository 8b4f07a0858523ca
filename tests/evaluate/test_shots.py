"""Exemplars are nested in k, and depend on nothing but the seed, the pool and the item."""

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anukul.config import TaskSettings
from anukul.evaluate.tasks.run import Variant, variants_of
from anukul.evaluate.tasks.shots import SEPARATOR, draw_exemplars, prompt
from anukul.items.load import LoadedTask, TaskItem

SHOTS = (0, 1, 2, 5)
SEEDS = (0, 1, 7)


def pool_of(count: int, clusters: int) -> list[TaskItem]:
    return [
        TaskItem(f"i{n}", (f"Question {n}?",), ("yes", "no"), n % 2, f"c{n % clusters}", "")
        for n in range(count)
    ]


def ids(drawn: list[list[TaskItem]]) -> list[list[str]]:
    return [[exemplar.id for exemplar in chosen] for chosen in drawn]


@pytest.mark.parametrize("per_item", [False, True])
@settings(max_examples=60, deadline=None)
@given(st.integers(12, 60), st.integers(6, 40), st.integers(0, 10**6))
def test_nested_in_k_for_every_item_and_seed(per_item: bool, count: int, clusters: int, seed: int) -> None:
    pool = pool_of(count, min(clusters, count))
    most = ids(draw_exemplars(pool, pool, seed, 5, "t", per_item))
    for k in range(5):
        assert ids(draw_exemplars(pool, pool, seed, k, "t", per_item)) == [chosen[:k] for chosen in most]
    for item, chosen in zip(pool, most, strict=True):
        assert len(set(chosen)) == 5
        assert item.cluster not in {f"c{int(name[1:]) % min(clusters, count)}" for name in chosen}


@pytest.mark.parametrize("per_item", [False, True])
def test_prompts_of_more_shots_extend_those_of_fewer(per_item: bool) -> None:
    task = LoadedTask(TaskSettings(name="t", path="t", language="eng_Latn"), tuple(pool_of(30, 30)), ())
    task = LoadedTask(task.settings, task.items, task.items)
    variants = variants_of(task, SHOTS, SEEDS, per_item)
    assert [(v.seed, v.shots) for v in variants] == [(seed, k) for seed in SEEDS for k in SHOTS]
    at: dict[tuple[int, int], Variant] = {(v.seed, v.shots): v for v in variants}
    for seed in SEEDS:
        for index, item in enumerate(task.items):
            texts = [at[seed, k].pairs(index)[0][0] for k in SHOTS]
            heads = [text.removesuffix(item.contexts[0]) for text in texts]
            assert heads[0] == ""
            for fewer, more in pairwise(heads):
                # all that stands before the question stands there again: the trie holds it once
                assert more.startswith(fewer) and len(more) > len(fewer)
            assert texts[-1] == prompt(at[seed, 5].exemplars[index], item.contexts[0])
            assert texts[-1].count(SEPARATOR) == 5
    assert at[0, 5].exemplars != at[1, 5].exemplars


@pytest.mark.parametrize("per_item", [False, True])
def test_an_item_s_exemplars_do_not_depend_on_the_other_items(per_item: bool) -> None:
    pool = pool_of(40, 20)
    whole = dict(
        zip((item.id for item in pool), ids(draw_exemplars(pool, pool, 3, 4, "t", per_item)), strict=True)
    )
    for part in (pool[:7], pool[::-1], [pool[31]], pool[5:25:3]):
        drawn = ids(draw_exemplars(pool, part, 3, 4, "t", per_item))
        assert drawn == [whole[item.id] for item in part]


def test_per_item_draws_are_spread_evenly_and_shared_ones_are_shared() -> None:
    pool = pool_of(50, 50)
    query = [TaskItem(f"q{n}", (f"Other {n}?",), ("yes", "no"), 0, f"q{n}", "") for n in range(4000)]
    assert len({tuple(chosen) for chosen in ids(draw_exemplars(pool, query, 0, 3, "t"))}) == 1
    drawn = ids(draw_exemplars(pool, query, 0, 3, "t", per_item=True))
    for place in range(3):
        counts = [sum(chosen[place] == exemplar.id for chosen in drawn) for exemplar in pool]
        # each row of the pool is as likely as any other: 80 expected, chi-square of 49 degrees of freedom
        assert sum((count - 80) ** 2 / 80 for count in counts) < 94


def test_the_draw_is_the_same_in_every_process(tmp_path: Path) -> None:
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1]); from test_shots import pool_of, ids, draw_exemplars\n"
        "pool = pool_of(40, 20)\n"
        "print(json.dumps([ids(draw_exemplars(pool, pool, 3, 4, 't', own)) for own in (False, True)]))"
    )
    pool = pool_of(40, 20)
    here = [ids(draw_exemplars(pool, pool, 3, 4, "t", own)) for own in (False, True)]
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "77"},
    )  # fmt: skip
    assert json.loads(done.stdout) == here


def test_per_item_draws_stay_cheap_for_large_pools() -> None:
    pool = pool_of(20_000, 20_000)
    started = time.process_time()
    draw_exemplars(pool, pool, 0, 5, "t", per_item=True)
    # whole permutations would take 4 x 10^8 draws, minutes
    assert time.process_time() - started < 10
