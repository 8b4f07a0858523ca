"""The trie scorer against lm-eval's own Hugging Face model, and against itself under other budgets."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from anukul.config import LoraSettings, ModelSettings
from anukul.errors import UserError
from anukul.model import loaded as loaded_module
from anukul.model.adapter import add_adapter
from anukul.model.base import load_base
from anukul.model.loaded import Loaded
from anukul.scoring import budget as budget_module
from anukul.scoring import scorer as scorer_module
from anukul.scoring import trie as trie_module
from anukul.scoring import walk as walk_module
from anukul.scoring.cache import BatchCache
from anukul.scoring.harness import AnukulLM
from anukul.scoring.scorer import Scorer, rolling_windows
from anukul.scoring.trie import Request

CONTEXTS = [
    "",
    "Ram eats rice",
    "Ram eats rice in the village. Sita",
    "रामले गाउँमा भात",
    "Do you drink tea?  ",
    "x " * 700,
]
CONTINUATIONS = [
    " in the village.",
    " went to school",
    " खायो।",
    " a",
    " read a book. The farmer planted maize.",
]
PAIRS = [(context, continuation) for context in CONTEXTS for continuation in CONTINUATIONS]


@pytest.fixture(scope="module")
def loaded(tiny_base: Path) -> Loaded:
    return load_base(ModelSettings(path=str(tiny_base), quantization="none", compute_dtype="float32"))


@pytest.fixture(scope="module")
def adapted(tiny_base: Path) -> Loaded:
    loaded = load_base(ModelSettings(path=str(tiny_base), quantization="none", compute_dtype="float32"))
    add_adapter(loaded, LoraSettings(rank=4, alpha=8), "frozen", seed=0)
    perturb(loaded)
    return loaded


def known(scorer: Scorer) -> Scorer:
    """A scorer that need not find out whether the model's attention follows a trie."""
    scorer.follows = True
    return scorer


def perturb(loaded: Loaded) -> None:
    generator = torch.Generator().manual_seed(5)
    for name, parameter in loaded.model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type=kind, doc={}, arguments=args, idx=0, metadata=("t", 0, 1)) for args in arguments
    ]


def hflm(loaded: Loaded) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=loaded.causal_lm, tokenizer=loaded.tokenizer, batch_size=4, device="cpu")


def random_requests(count: int, seed: int = 0) -> list[Request]:
    draw = random.Random(seed)
    stems = [tuple(draw.randrange(5, 300) for _ in range(draw.randrange(1, 90))) for _ in range(6)]
    requests = []
    for _ in range(count):
        stem = draw.choice(stems)
        context = stem[: draw.randrange(1, len(stem) + 1)] + tuple(draw.randrange(5, 300) for _ in range(3))
        requests.append(Request(context, tuple(draw.randrange(5, 300) for _ in range(draw.randrange(1, 6)))))
    return requests


@pytest.mark.filterwarnings("ignore")
def test_loglikelihood_equals_hflm(loaded: Loaded) -> None:
    requests = instances("loglikelihood", PAIRS)
    expected = hflm(loaded).loglikelihood(requests, disable_tqdm=True)
    found = AnukulLM(Scorer(loaded, 512)).loglikelihood(requests)
    assert len(found) == len(PAIRS)
    for (context, continuation), (value, greedy), (wanted, wanted_greedy) in zip(
        PAIRS, found, expected, strict=True
    ):
        tokens = len(loaded.tokenizer.encode(continuation))
        assert value == pytest.approx(wanted, abs=1e-4 * tokens), (context[:20], continuation)
        assert greedy == wanted_greedy


@pytest.mark.filterwarnings("ignore")
def test_greedy_continuations_are_found_greedy(loaded: Loaded) -> None:
    lm = hflm(loaded)
    context = loaded.tokenizer.encode("Ram eats rice")
    made = loaded.causal_lm.generate(torch.tensor([context]), max_new_tokens=4, do_sample=False)[0].tolist()
    continuation = tuple(made[len(context) :])
    requests = [Request(tuple(context), continuation), Request(tuple(context), (*continuation[:-1], 7))]
    expected = lm._loglikelihood_tokens(
        [(("", ""), list(request.context), list(request.continuation)) for request in requests],
        disable_tqdm=True,
    )
    found = Scorer(loaded, 512).score(requests)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected] == [True, False]


@pytest.mark.filterwarnings("ignore")
def test_rolling_equals_hflm(loaded: Loaded) -> None:
    texts = ["Ram eats rice.", "The farmer planted maize. " * 90, "रामले गाउँमा भात खायो। " * 60]
    requests = instances("loglikelihood_rolling", [(text,) for text in texts])
    expected = hflm(loaded).loglikelihood_rolling(requests, disable_tqdm=True)
    found = AnukulLM(Scorer(loaded, 2048)).loglikelihood_rolling(requests)
    for text, value, wanted in zip(texts, found, expected, strict=True):
        assert value == pytest.approx(wanted, abs=1e-4 * len(loaded.tokenizer.encode(text)))


@pytest.mark.filterwarnings("ignore")
def test_generation_equals_hflm(loaded: Loaded) -> None:
    settings = {"until": ["re", "।"], "max_gen_toks": 12, "do_sample": False}
    prompts = ["Ram eats rice", "रामले", "x " * 900, "The farmer planted maize. Do you"]
    requests = instances("generate_until", [(prompt, dict(settings)) for prompt in prompts])
    expected = hflm(loaded).generate_until(requests, disable_tqdm=True)
    found = AnukulLM(Scorer(loaded, 512), generate_rows=3).generate_until(requests)
    assert found == expected
    assert any(found)


@pytest.mark.parametrize("budget", [64, 300, 5000])
def test_budget_changes_nothing_but_rounding(loaded: Loaded, budget: int) -> None:
    requests = random_requests(80)
    one_by_one = [Scorer(loaded, 4096).score([request])[0] for request in requests]
    scorer = Scorer(loaded, budget)
    together = scorer.score(requests)
    assert scorer.unique_tokens < scorer.alone_tokens
    for request, alone, shared in zip(requests, one_by_one, together, strict=True):
        assert shared[0] == pytest.approx(alone[0], abs=1e-4 * len(request.continuation))
    assert scorer.score(requests) == together


def test_adapter_off_is_the_base(loaded: Loaded, adapted: Loaded) -> None:
    requests = random_requests(20)
    base = Scorer(loaded, 512).score(requests)
    assert Scorer(adapted, 512, adapter=False).score(requests) == base
    with_adapter = Scorer(adapted, 512).score(requests)
    assert max(abs(left[0] - right[0]) for left, right in zip(base, with_adapter, strict=True)) > 0.1


def test_out_of_memory_halves_and_loses_nothing(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = random_requests(60)
    expected = Scorer(loaded, 1024).score(requests)
    real = loaded_module.hidden_states
    sizes: list[int] = []

    def short_of_memory(model: Loaded, ids: Any, positions: Any, layout: Any) -> Any:
        if ids.numel() > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(ids.numel())
        return real(model, ids, positions, layout=layout)

    monkeypatch.setattr(walk_module, "hidden_states", short_of_memory)
    found = known(Scorer(loaded, 1024)).score(requests)
    assert len(sizes) > 5
    for left, right, request in zip(found, expected, requests, strict=True):
        assert left[0] == pytest.approx(right[0], abs=1e-4 * len(request.continuation))
        assert left[1] == right[1]


def test_a_text_too_long_for_memory_is_told(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any, layout: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: Out of memory")

    monkeypatch.setattr(walk_module, "hidden_states", no_memory)
    with pytest.raises(UserError, match="does not fit in the memory"):
        known(Scorer(loaded, 1024)).score([Request((1, 2), (3,))])


def test_other_errors_are_not_swallowed(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, layout: Any) -> Any:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(walk_module, "hidden_states", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        known(Scorer(loaded, 1024)).score([Request((1, 2), (3,))])


def test_what_cannot_be_scored_is_refused(loaded: Loaded) -> None:
    for request in (Request((1,), ()), Request((), (1,)), Request((1,), (5,) * 513)):
        with pytest.raises(UserError, match="cannot be scored"):
            Scorer(loaded, 1024).score([request])
    assert Scorer(loaded, 1024).score([]) == []


def test_small_logit_chunks_give_the_same(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = random_requests(30)
    expected = Scorer(loaded, 1024).score(requests)
    monkeypatch.setitem(walk_module.LOGIT_ELEMENTS, "cpu", 1000)
    for left, right in zip(Scorer(loaded, 1024).score(requests), expected, strict=True):
        assert left[0] == pytest.approx(right[0], abs=1e-4)


def test_windows_follow_lm_eval() -> None:
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    for length in (1, 7, 8, 9, 16, 17, 30):
        tokens = list(range(100, 100 + length))
        expected = [
            make_disjoint_window(pair)
            for pair in get_rolling_token_windows(tokens, prefix_token=1, max_seq_len=8, context_len=1)
        ]
        found = [(list(w.context), list(w.continuation)) for w in rolling_windows(tokens, 1, 8)]
        assert found == expected
    assert rolling_windows([], 1, 8) == []


def test_cache_resumes_bit_for_bit(loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trie_module, "LARGEST_TREE", 128)
    requests = random_requests(200)
    expected = Scorer(loaded, 32).score(requests)
    real = scorer_module.score_wave
    calls: list[int] = []

    def counted(wave_model: Loaded, trees: Any, size: int) -> Any:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(len(trees))
        return real(wave_model, trees, size)

    monkeypatch.setattr(scorer_module, "score_wave", counted)
    with pytest.raises(KeyboardInterrupt):
        known(Scorer(loaded, 32, cache=BatchCache(tmp_path / "scores.txt"))).score(requests)
    monkeypatch.setattr(scorer_module, "score_wave", real)
    cache = BatchCache(tmp_path / "scores.txt")
    assert len(cache) == 3
    assert Scorer(loaded, 32, cache=cache).score(requests) == expected
    held = len(cache)
    assert held > 3
    assert Scorer(loaded, 32, cache=BatchCache(tmp_path / "scores.txt")).score(requests) == expected
    assert len(BatchCache(tmp_path / "scores.txt")) == held


def test_cache_never_serves_the_other_model(adapted: Loaded, tmp_path: Path) -> None:
    requests = random_requests(10)
    cache = BatchCache(tmp_path / "scores.txt")
    base = Scorer(adapted, 512, adapter=False, cache=cache).score(requests)
    with_adapter = Scorer(adapted, 512, cache=cache).score(requests)
    assert with_adapter != base
    assert with_adapter == Scorer(adapted, 512).score(requests)


def test_the_budget_is_where_memory_ends(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    real = loaded_module.hidden_states
    tried: list[int] = []

    def short_of_memory(model: Loaded, ids: Any, positions: Any, layout: Any) -> Any:
        tried.append(ids.numel())
        if ids.numel() > 1100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, ids, positions, layout=layout)

    monkeypatch.setattr(walk_module, "hidden_states", short_of_memory)
    monkeypatch.setattr(budget_module, "FASTER", 0.0)
    assert budget_module.try_budgets(loaded, (256, 512, 1024, 2048, 4096)) == 1024
    assert max(tried) == 2048
    assert Scorer(loaded).token_budget == budget_module.ON_CPU
