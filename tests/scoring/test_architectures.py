"""Models of other kinds: where attention follows a trie it is scored along it, else padded; both are right."""

from typing import Any

import pytest
import torch
from test_scorer import random_requests

from anukul.model import trie_attention
from anukul.model.loaded import Loaded
from anukul.scoring.scorer import Scorer, why_not


def small(name: str) -> Any:
    import transformers as hf

    common = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    rope = {**common, "intermediate_size": 64, "max_position_embeddings": 256}
    configs = {
        "mistral-window": hf.MistralConfig(**rope, num_key_value_heads=2, sliding_window=6),
        "qwen2": hf.Qwen2Config(**rope, num_key_value_heads=2),
        "gpt2": hf.GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4, n_positions=256),
        "gpt-neox": hf.GPTNeoXConfig(**rope),
        "gemma2-softcap": hf.Gemma2Config(**rope, num_key_value_heads=2, head_dim=8, sliding_window=6),
        "bloom-alibi": hf.BloomConfig(vocab_size=400, hidden_size=32, n_layer=2, n_head=4),
        "mamba-recurrent": hf.MambaConfig(vocab_size=400, hidden_size=32, num_hidden_layers=2, state_size=4),
    }
    torch.manual_seed(0)
    # wide weights, so that a wrong mask shows
    config = configs[name]
    config.initializer_range = 0.3
    return hf.AutoModelForCausalLM.from_config(config).eval()


def loaded_of(model: Any) -> Loaded:
    if not hasattr(model.config, "max_position_embeddings"):
        model.config.max_position_embeddings = 256
    return Loaded(model, None, torch.device("cpu"), torch.float32, "small")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "follows"),
    [
        ("mistral-window", True),
        ("qwen2", True),
        ("gpt2", True),
        ("gpt-neox", True),
        ("gemma2-softcap", False),
        ("bloom-alibi", False),
        ("mamba-recurrent", False),
    ],
)
def test_scores_are_those_of_each_text_alone(
    name: str, follows: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = loaded_of(small(name))
    assert (why_not(loaded) is None) == follows
    requests = random_requests(40)
    scorer = Scorer(loaded, 256)
    found = scorer.score(requests)
    assert scorer.follows == follows
    assert ("padded, which is slower" in "".join(capsys.readouterr())) == (not follows)
    assert (scorer.unique_tokens < scorer.alone_tokens) == follows
    for request, (value, greedy) in zip(requests, found, strict=True):
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
