"""Work in portions: nothing is lost or swapped, the scores are the same, and memory does not grow with the length."""

import gc
import json
import random
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anukul.config import ModelSettings, TaskSettings
from anukul.evaluate.tasks import run as run_module
from anukul.evaluate.tasks.run import score_variants, variants_of
from anukul.items.load import load_task
from anukul.model.base import load_base
from anukul.model.loaded import Loaded
from anukul.scoring import harness as harness_module
from anukul.scoring import scorer as scorer_module
from anukul.scoring.harness import AnukulLM
from anukul.scoring.portions import portions
from anukul.scoring.scorer import Scorer

WORDS = ("Ram", "eats", "rice", "in", "the", "village", "and", "Sita", "reads", "a", "book", "near", "farmer")


@pytest.fixture(scope="module")
def loaded(tiny_base: Path) -> Loaded:
    return load_base(ModelSettings(path=str(tiny_base), quantization="none", compute_dtype="float32"))


@given(st.lists(st.integers(0, 50)), st.integers(1, 60))
def test_portions_hold_everything_once_and_no_more_than_they_may(sizes: list[int], limit: int) -> None:
    cut = list(portions(sizes, limit))
    assert [index for part in cut for index in part] == list(range(len(sizes)))
    for part in cut:
        assert len(part) == 1 or sum(sizes[index] for index in part) <= limit
    for left, right in pairwise(cut):
        assert sum(sizes[index] for index in left) + sizes[right.start] > limit  # none is cut too early


def instances(count: int, words: int) -> list[Any]:
    from lm_eval.api.instance import Instance

    draw = random.Random(1)
    made = []
    for _ in range(count):
        context = " ".join(draw.choices(WORDS, k=words))
        for option in (" tea", " rice and tea"):
            made.append(
                Instance(
                    request_type="loglikelihood",
                    doc={},
                    arguments=(context, option),
                    idx=0,
                    metadata=("t", 0, 1),
                )
            )
    return made


def small_portions(monkeypatch: pytest.MonkeyPatch, characters: int) -> None:
    for module in (harness_module, scorer_module, run_module):
        monkeypatch.setattr(module, "PORTION_CHARACTERS", characters)


@pytest.mark.filterwarnings("ignore")
def test_portions_do_not_change_scores(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = instances(60, 12)
    texts = [request.args[0] for request in requests]
    whole = AnukulLM(Scorer(loaded, 512)).loglikelihood(requests)
    whole_texts = Scorer(loaded, 512).score_texts(texts)
    small_portions(monkeypatch, 300)
    cut = AnukulLM(Scorer(loaded, 512)).loglikelihood(requests)
    cut_texts = Scorer(loaded, 512).score_texts(texts)
    for (value, greedy), (wanted, wanted_greedy) in zip(cut, whole, strict=True):
        assert value == pytest.approx(wanted, abs=1e-4)
        assert greedy == wanted_greedy
    assert cut_texts == pytest.approx(whole_texts, abs=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_memory_does_not_grow_with_the_number_of_requests(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_portions(monkeypatch, 20_000)
    scorer = Scorer(loaded, 1024)
    lm = AnukulLM(scorer)
    lm.loglikelihood(instances(4, 30))  # what is made once
    peaks = []
    for count in (150, 1_200):
        requests = instances(count, 30)
        gc.collect()
        tracemalloc.start()
        lm.loglikelihood(requests)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # the results themselves, a pair of numbers and their places, are all that may grow
    assert peaks[1] - peaks[0] < (1_200 - 150) * 2 * 400, peaks
    assert peaks[1] < 2 * peaks[0], peaks


@pytest.mark.filterwarnings("ignore")
def test_the_parts_of_tasks_give_the_items_of_the_whole(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(3)
    variants = []
    for name, count in (("first", 23), ("second", 5)):
        path = tmp_path / f"{name}.jsonl"
        questions = [" ".join(draw.choices(WORDS, k=6)) for _ in range(count)]
        rows = [
            json.dumps({"query": f"{question} {number}?", "choices": ["tea", "rice"], "gold": number % 2})
            for number, question in enumerate(questions)
        ]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        task = load_task(TaskSettings(name=name, path=str(path), language="eng_Latn"))
        variants += variants_of(task, (0, 1, 2), (0, 1), per_item=True)
    whole = score_variants(AnukulLM(Scorer(loaded, 512)), variants, "base")
    small_portions(monkeypatch, 5_000)
    assert len(list(run_module._parts(variants))) > 3
    cut = score_variants(AnukulLM(Scorer(loaded, 512)), variants, "base")
    assert len(cut) == len(whole) == 6 * 28
    for left, right in zip(cut, whole, strict=True):
        assert (left.task, left.shots, left.seed, left.item) == (
            right.task,
            right.shots,
            right.seed,
            right.item,
        )
        assert left.loglikelihoods == pytest.approx(right.loglikelihoods, abs=1e-4)
