"""lm-eval tasks that sample: a text depends on its prompt, its settings and how often the same was asked, only."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from anukul.config import ModelSettings
from anukul.errors import UserError
from anukul.model.base import load_base
from anukul.model.generate import generate_greedy, pick, seed_of
from anukul.model.loaded import Loaded
from anukul.scoring import harness as harness_module
from anukul.scoring.cache import BatchCache
from anukul.scoring.harness import AnukulLM
from anukul.scoring.scorer import Scorer

SAMPLED = {"until": ["\n"], "max_gen_toks": 16, "do_sample": True, "temperature": 0.9, "top_p": 0.95}
PROMPTS = ["Ram eats rice", "रामले", "The farmer planted maize. Do you", "x"]


@pytest.fixture(scope="module")
def loaded(tiny_base: Path) -> Loaded:
    return load_base(ModelSettings(path=str(tiny_base), quantization="none", compute_dtype="float32"))


def made(
    loaded: Loaded,
    asked: list[tuple[str, dict[str, Any]]],
    rows: int = 16,
    cache: BatchCache | None = None,
) -> list[str]:
    requests = [
        Instance("generate_until", {}, (prompt, dict(settings)), index)
        for index, (prompt, settings) in enumerate(asked)
    ]
    return AnukulLM(Scorer(loaded, 512, cache=cache), generate_rows=rows).generate_until(requests)


def test_a_text_does_not_depend_on_what_stands_beside_it(loaded: Loaded) -> None:
    asked = [(prompt, SAMPLED) for prompt in PROMPTS]
    together = made(loaded, asked)
    assert len(set(together)) == len(PROMPTS)
    assert [made(loaded, [one])[0] for one in asked] == together
    assert made(loaded, asked[::-1], rows=3)[::-1] == together
    torch.manual_seed(99)
    others = [(prompt, {**SAMPLED, "temperature": 0.5}) for prompt in PROMPTS]
    mixed = made(loaded, [*others, *asked])
    assert mixed[len(PROMPTS) :] == together != mixed[: len(PROMPTS)]


def test_repeats_of_a_request_differ_and_come_again(loaded: Loaded) -> None:
    asked = [(PROMPTS[0], SAMPLED)] * 8
    repeats = made(loaded, asked, rows=8)
    assert len(set(repeats)) >= 7
    # the second is the second wherever it stands
    between = [asked[0], (PROMPTS[1], SAMPLED), *asked[:7]]
    assert made(loaded, between, rows=2)[2:] == repeats[1:]
    assert made(loaded, asked[:1]) == repeats[:1]
    seeds = {seed_of(prompt, repeat) for prompt in ([1, 2], [12], [1], [2]) for repeat in range(50)}
    assert len(seeds) == 200 and all(0 <= seed < 2**63 for seed in seeds)


def test_greedy_stays_greedy_beside_sampled(loaded: Loaded) -> None:
    ids = [loaded.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    greedy = generate_greedy(loaded, ids, 16, ["\n"])
    plain = {"until": "\n", "max_gen_toks": 16}
    kinds = [
        {**plain, "do_sample": False, "temperature": 0.7},
        {**plain, "do_sample": True, "temperature": 0.0},
        {**plain, "temperature": 0, "num_beams": 1, "top_p": None},
        plain,
        {**plain, "do_sample": True, "top_k": 1},
    ]
    for kind in kinds:
        both = [(prompt, settings) for prompt in PROMPTS for settings in (kind, SAMPLED)]
        assert made(loaded, both)[::2] == greedy
    # a temperature alone samples, and without one do_sample is at 1, as in lm-eval and transformers
    warm = [(prompt, {**plain, "temperature": 1.0}) for prompt in PROMPTS]
    assert made(loaded, warm) == made(loaded, [(prompt, {**plain, "do_sample": True}) for prompt in PROMPTS])
    assert made(loaded, warm) != greedy


def test_the_cache_knows_how_a_text_was_drawn(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[dict[str, Any]] = [
        SAMPLED,
        {**SAMPLED, "temperature": 0.8},
        {**SAMPLED, "top_p": 0.5},
        {**SAMPLED, "top_k": 7},
        {**SAMPLED, "do_sample": False},
    ]
    asked = [(PROMPTS[0], kind) for kind in kinds]
    cache = BatchCache(tmp_path / "batches.jsonl")
    texts = [made(loaded, [one], cache=cache)[0] for one in asked]
    assert len(cache) == len(kinds)
    assert texts == made(loaded, asked)
    twice = made(loaded, asked[:1] * 2, rows=1, cache=cache)
    assert len(cache) == len(kinds) + 1  # the second draw of the same request is another batch
    assert twice[0] == texts[0] != twice[1]

    def refuse(*_: Any) -> Any:
        raise AssertionError("made again")

    monkeypatch.setattr(harness_module, "generate", refuse)
    monkeypatch.setattr(harness_module, "generate_greedy", refuse)
    again = BatchCache(tmp_path / "batches.jsonl")
    assert [made(loaded, [one], cache=again)[0] for one in asked] == texts
    with pytest.raises(AssertionError, match="made again"):
        made(loaded, [(PROMPTS[0], {**SAMPLED, "temperature": 0.7})], cache=again)


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(0.7, 5, 0.8), (1.3, 0, 0.6), (1.0, 3, 1.0)])
def test_tokens_are_drawn_from_the_distribution_of_transformers(
    loaded: Loaded, temperature: float, top_k: int, top_p: float
) -> None:
    ids = torch.tensor([loaded.tokenizer(PROMPTS[2])["input_ids"]])
    with torch.no_grad():
        # wider than a random model is, so that the cuts fall inside
        scores = 8 * loaded.model(ids).logits[:, -1].float()
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    warpers.append(TopPLogitsWarper(top_p))
    wanted = warpers(ids, scores.clone()).softmax(-1)[0].double()
    assert 1 < int((wanted > 0).sum()) < scores.shape[1]
    count = 4000
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    picked = pick(scores.expand(count, -1), uniforms, temperature, top_p, top_k)
    found = torch.bincount(picked, minlength=scores.shape[1]) / count
    assert torch.allclose(found.double(), wanted, atol=1.5 / count)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 10}, r"generation_kwargs\.num_beams: 10 of an lm-eval task is not supported"),
        ({"do_sample": True, "min_p": 0.1}, r"generation_kwargs\.min_p"),
        ({"do_sample": True, "top_p": 0.0}, "top_p 0 above 0"),
        ({"do_sample": True, "temperature": -1}, "temperature -1"),
        ({"do_sample": True, "top_k": -2}, "top_k -2"),
    ],
)
def test_what_is_not_followed_is_refused(loaded: Loaded, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(loaded, [("Ram", {"max_gen_toks": 4, **settings})])
