"""Models of other kinds: where attention follows a trie it is scored along it, else padded; both are right."""

from typing import Any

import pytest
import torch
from test_scorer import random_requests

from anukul.model import trie_attention
from anukul.model.loaded import Loaded
from anukul.scoring.padded import score_padded
from anukul.scoring.scorer import Scorer, why_not
from anukul.scoring.trie import Request


def small(name: str, seed: int = 0) -> Any:
    import transformers as hf

    common = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    rope = {**common, "intermediate_size": 64, "max_position_embeddings": 256}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # Phi's own are beyond 400 tokens
    experts = {"intermediate_size_mlp": 64, "num_local_experts": 2, "num_experts_per_tok": 1}
    configs = {
        "mistral-window": hf.MistralConfig(**rope, num_key_value_heads=2, sliding_window=6),
        # wider than the texts that detection scores, narrower than the longest scored here
        "mistral-wide-window": hf.MistralConfig(**rope, num_key_value_heads=2, sliding_window=100),
        "gemma3-windows": hf.Gemma3TextConfig(
            **rope,
            num_key_value_heads=2,
            head_dim=8,
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "phi3": hf.Phi3Config(**rope, **ends, num_key_value_heads=2),
        "phi3-window": hf.Phi3Config(**rope, **ends, num_key_value_heads=2, sliding_window=6),
        "qwen2": hf.Qwen2Config(**rope, num_key_value_heads=2),
        "qwen3": hf.Qwen3Config(**rope, num_key_value_heads=2, head_dim=8),
        "llama4-chunks": hf.Llama4TextConfig(
            **rope, **ends, **experts, num_key_value_heads=2, head_dim=8, attention_chunk_size=6
        ),
        "gpt2": hf.GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4, n_positions=256),
        "gpt-neox": hf.GPTNeoXConfig(**rope),
        "gemma2-softcap": hf.Gemma2Config(**rope, num_key_value_heads=2, head_dim=8, sliding_window=6),
        "bloom-alibi": hf.BloomConfig(vocab_size=400, hidden_size=32, n_layer=2, n_head=4),
        "mpt-alibi": hf.MptConfig(
            vocab_size=400, d_model=32, n_layers=2, n_heads=4, expansion_ratio=2, max_seq_len=256
        ),
        "mamba-recurrent": hf.MambaConfig(vocab_size=400, hidden_size=32, num_hidden_layers=2, state_size=4),
    }
    torch.manual_seed(seed)
    # wide weights, so that a wrong mask shows
    config = configs[name]
    config.initializer_range = 0.3
    return hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def loaded_of(model: Any) -> Loaded:
    if not hasattr(model.config, "max_position_embeddings"):
        model.config.max_position_embeddings = 256
    return Loaded(model, None, torch.device("cpu"), torch.float32, "small")


def long_requests() -> list[Request]:
    """Texts of one beginning, 90 to 230 tokens, longer than any window or chunk here, that part late."""
    draw = torch.Generator().manual_seed(5)
    stem = torch.randint(3, 400, (240,), generator=draw).tolist()
    return [
        Request(tuple(stem[:cut]), tuple(torch.randint(3, 400, (size,), generator=draw).tolist()))
        for cut in (90, 150, 230)
        for size in (1, 4)
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "seed", "follows"),
    [
        ("mistral-window", 0, True),
        ("mistral-wide-window", 0, True),
        ("gemma3-windows", 0, True),
        ("phi3", 0, True),
        ("phi3-window", 0, True),
        ("qwen2", 0, True),
        ("qwen3", 0, True),
        ("gpt2", 0, True),
        ("gpt-neox", 0, True),
        ("gemma2-softcap", 0, False),
        ("bloom-alibi", 0, False),
        ("mpt-alibi", 0, False),
        *(("llama4-chunks", seed, False) for seed in range(3)),
        # what a recurrent model gets wrong along a trie differs from model to model
        *(("mamba-recurrent", seed, False) for seed in range(5)),
    ],
)
def test_scores_are_those_of_each_text_alone(
    name: str, seed: int, follows: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = loaded_of(small(name, seed))
    assert (why_not(loaded) is None) == follows
    requests = random_requests(30) + long_requests()
    scorer = Scorer(loaded, 256)
    found = scorer.score(requests)
    assert scorer.follows == follows
    assert ("padded, which is slower" in "".join(capsys.readouterr())) == (not follows)
    assert (scorer.unique_tokens < scorer.alone_tokens) == follows
    with torch.no_grad():
        padded = score_padded(loaded, requests)
    for request, (value, greedy), (beside, _) in zip(requests, found, padded, strict=True):
        assert value == pytest.approx(beside, abs=1e-4 * len(request.continuation))
        tokens = torch.tensor([request.context + request.continuation])
        with torch.no_grad():
            scores = loaded.causal_lm(tokens[:, :-1]).logits[0, len(request.context) - 1 :].log_softmax(-1)
        targets = tokens[0, len(request.context) :]
        wanted = float(scores.gather(1, targets[:, None]).sum())
        assert value == pytest.approx(wanted, abs=1e-4 * len(targets))
        assert greedy == bool((scores.argmax(-1) == targets).all())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mistral-window", "qwen2"])
def test_flex_attention_gives_the_scores_of_the_dense_mask(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block mask that a GPU compiles, run uncompiled on the CPU."""
    loaded = loaded_of(small(name))
    requests = random_requests(12)
    dense = Scorer(loaded, 64).score(requests)
    monkeypatch.setattr(trie_attention, "FLEX_DEVICES", {"cpu"})
    for request, (value, greedy), (wanted, wanted_greedy) in zip(
        requests, Scorer(loaded, 64).score(requests), dense, strict=True
    ):
        assert value == pytest.approx(wanted, abs=1e-4 * len(request.continuation))
        assert greedy == wanted_greedy
