"""Generation: batched equals one by one, sampling ignores its neighbors, stop strings and truncation as lm-eval."""

from pathlib import Path
from typing import Any

import pytest
import torch

from anukul.config import ModelSettings
from anukul.errors import UserError
from anukul.model import generate as generate_module
from anukul.model.base import load_base
from anukul.model.generate import Generated, Sampling, end_tokens, generate, generate_greedy, pick
from anukul.model.loaded import Loaded

TEXTS = [
    "Ram",
    "रामले गाउँमा",
    "The farmer planted maize. Do you drink",
    "सीता विद्यालय गई र किताब पढी। किसानले मकै रोप्यो। के तपाईं",
    "x",
]
SEEDS = (11, 12, 13, 14, 15)


@pytest.fixture(scope="module")
def loaded(tiny_base: Path) -> Loaded:
    return load_base(ModelSettings(path=str(tiny_base), quantization="none", compute_dtype="float32"))


@pytest.fixture(scope="module")
def prompts(loaded: Loaded) -> list[list[int]]:
    encoded = loaded.tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    return [[loaded.prefix_id, *ids] for ids in encoded]


def sampling(*seeds: int, temperature: float = 0.9, top_p: float = 0.95) -> Sampling:
    return Sampling(temperature, top_p, seeds)


def test_greedy_in_a_batch_equals_one_by_one(loaded: Loaded, prompts: list[list[int]]) -> None:
    together = generate(loaded, prompts, 24)
    alone = [generate(loaded, [prompt], 24)[0] for prompt in prompts]
    assert together == alone
    assert all(made.text for made in together)
    assert generate_greedy(loaded, prompts, 24) == [made.text for made in together]


def test_greedy_is_the_argmax_without_a_cache(loaded: Loaded, prompts: list[list[int]]) -> None:
    ids = list(prompts[2])
    for _ in range(10):
        logits = loaded.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        ids.append(int(logits.argmax()))
    expected = loaded.tokenizer.decode(ids[len(prompts[2]) :], skip_special_tokens=True)
    assert generate(loaded, prompts, 10)[2].text == expected


def test_sampling_does_not_depend_on_the_batch(loaded: Loaded, prompts: list[list[int]]) -> None:
    together = generate(loaded, prompts, 24, sampling=sampling(*SEEDS))
    alone = [
        generate(loaded, [prompt], 24, sampling=sampling(seed))[0]
        for prompt, seed in zip(prompts, SEEDS, strict=True)
    ]
    backwards = generate(loaded, prompts[::-1], 24, sampling=sampling(*SEEDS[::-1]))[::-1]
    assert together == alone == backwards
    other = generate(loaded, prompts, 24, sampling=sampling(*(seed + 100 for seed in SEEDS)))
    assert sum(left.text != right.text for left, right in zip(together, other, strict=True)) >= 4
    torch.manual_seed(99)
    assert generate(loaded, prompts, 24, sampling=sampling(*SEEDS)) == together


def test_a_cold_temperature_and_a_small_nucleus_are_greedy(loaded: Loaded, prompts: list[list[int]]) -> None:
    greedy = generate(loaded, prompts, 16)
    assert generate(loaded, prompts, 16, sampling=sampling(*SEEDS, temperature=1e-4)) == greedy
    assert generate(loaded, prompts, 16, sampling=sampling(*SEEDS, top_p=1e-9)) == greedy
    assert generate(loaded, prompts, 16, sampling=Sampling(0.9, 1.0, SEEDS, top_k=1)) == greedy


def test_pick_follows_the_distribution() -> None:
    shares = torch.tensor([0.05, 0.5, 0.15, 0.3], dtype=torch.float64)
    count = 20_000
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    scores = shares.log().float().expand(count, 4)
    found = torch.bincount(pick(scores, uniforms, 1.0, 1.0), minlength=4) / count
    assert torch.allclose(found, shares.float(), atol=2e-4)
    # the fewest tokens whose mass reaches .7 are the second and the fourth
    cut = torch.bincount(pick(scores, uniforms, 1.0, 0.7), minlength=4) / count
    assert torch.allclose(cut, torch.tensor([0, 0.625, 0, 0.375]), atol=2e-4)
    hot = torch.bincount(pick(scores, uniforms, 2.0, 1.0), minlength=4) / count
    assert torch.allclose(hot, shares.sqrt().float() / shares.sqrt().sum().float(), atol=2e-4)
    # of the three likeliest, the fewest whose mass reaches .7 of theirs: .5 and .3 of .95
    likeliest = torch.bincount(pick(scores, uniforms, 1.0, 0.7, 3), minlength=4) / count
    assert torch.allclose(likeliest, torch.tensor([0, 0.625, 0, 0.375]), atol=2e-4)
    three = torch.bincount(pick(scores, uniforms, 1.0, 1.0, 3), minlength=4) / count
    assert torch.allclose(three, torch.tensor([0, 0.5, 0.15, 0.3]) / 0.95, atol=2e-4)
    # of the two likeliest, one alone is .625: what is cut off counts no more
    assert set(pick(scores, uniforms, 1.0, 0.6, 2).tolist()) == {1}
    assert torch.equal(pick(scores, uniforms, 1.0, 0.9, 9), pick(scores, uniforms, 1.0, 0.9))
    edge = pick(scores[:2], torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64), 1.0, 0.7)
    assert edge.tolist() == [1, 3]


def test_the_end_is_told(loaded: Loaded, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    cut = generate(loaded, prompts[:2], 12)
    assert {(made.end, made.tokens) for made in cut} == {("cut", 12)}
    first = cut[0].text.strip()[:1]
    stopped = generate(loaded, prompts[:2], 12, stop=("", first))[0]
    assert stopped.end == "stopped"
    assert first not in stopped.text and cut[0].text.startswith(stopped.text)
    assert 1 <= stopped.tokens < 12
    # with the third token that greedy decoding makes as the end token, the text ends there
    made = loaded.model.generate(torch.tensor([prompts[0]]), max_new_tokens=12, do_sample=False)[0]
    new = made[len(prompts[0]) :].tolist()
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", [new[2]])
    assert end_tokens(loaded) == {new[2], loaded.tokenizer.eos_token_id}
    place = new.index(new[2])
    expected = loaded.tokenizer.decode(new[:place], skip_special_tokens=True)
    assert generate(loaded, prompts[:2], 12)[0] == Generated(expected, place, "ended")


def test_a_long_prompt_loses_its_start(loaded: Loaded) -> None:
    ids = loaded.tokenizer("Ram eats rice. " * 300, add_special_tokens=False)["input_ids"]
    assert len(ids) > loaded.max_positions
    room = loaded.max_positions - 8
    assert generate(loaded, [ids], 8) == generate(loaded, [ids[-room:]], 8)
    with pytest.raises(ValueError, match="less than the window"):
        generate(loaded, [[1]], loaded.max_positions)
    with pytest.raises(ValueError, match="empty prompt"):
        generate(loaded, [[1], []], 8)
    with pytest.raises(ValueError, match="2 seeds for 1 prompts"):
        generate(loaded, [[1]], 8, sampling=sampling(1, 2))
    assert generate(loaded, [], 8) == []


def test_out_of_memory_halves_the_batch(
    loaded: Loaded, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = generate(loaded, prompts, 6, sampling=sampling(*SEEDS))
    real = generate_module._generate
    sizes: list[int] = []
    most = [2]

    def small(loaded: Loaded, prompts: list[list[int]], *rest: Any) -> list[Generated]:
        sizes.append(len(prompts))
        if len(prompts) > most[0]:
            raise torch.OutOfMemoryError("out of memory")
        return real(loaded, prompts, *rest)

    monkeypatch.setattr(generate_module, "_generate", small)
    assert generate(loaded, prompts, 6, sampling=sampling(*SEEDS)) == expected
    assert sizes == [5, 3, 2, 1, 2]
    most[0] = 0
    with pytest.raises(UserError, match="does not fit in the memory"):
        generate(loaded, prompts, 6)


@pytest.mark.parametrize("stop", [("\n",), (" the", "।", "."), ("e",)])
def test_stop_strings_and_truncation_as_lm_eval(loaded: Loaded, stop: tuple[str, ...]) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    texts = [*TEXTS[:4], "The farmer planted maize. " * 120]
    settings = {"until": list(stop), "max_gen_toks": 20, "do_sample": False}
    requests = [Instance("generate_until", {}, (text, dict(settings)), 0) for text in texts]
    peer = HFLM(pretrained=loaded.causal_lm, tokenizer=loaded.tokenizer, batch_size=2, device="cpu")
    expected = peer.generate_until(requests, disable_tqdm=True)
    ids = [loaded.tokenizer(text)["input_ids"] for text in texts]
    assert [made.text for made in generate(loaded, ids, 20, stop)] == expected
