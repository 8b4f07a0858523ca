"""Dequantised once, or by bitsandbytes in every forward: the same bits, in training and in evaluation."""

from pathlib import Path

import pytest
import torch
from torch import nn

from anukul.config import LoraSettings, ModelSettings
from anukul.model import nf4
from anukul.model.adapter import add_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.model.build import save_base
from anukul.model.loaded import Loaded, hidden_states, logits

IDS = torch.tensor([[0, 40, 50, 60, 70, 80, 90, 100]])


def load(base: Path, dequantize: str, dtype: str) -> Loaded:
    settings = {"path": str(base), "compute_dtype": dtype, "dequantize": dequantize}
    return load_base(ModelSettings.model_validate(settings))


def quantized_layers(model: nn.Module) -> int:
    return sum(type(module).__name__ == "Linear4bit" for module in model.modules())


@pytest.fixture
def half_base(tiny_base: Path, tmp_path: Path) -> Path:
    """The tiny base as bases are published: in bf16."""
    loaded = load_base(ModelSettings(path=str(tiny_base), quantization="none"))
    save_base(loaded.model.bfloat16(), loaded.tokenizer, tmp_path / "half")
    return tmp_path / "half"


@pytest.mark.parametrize(
    ("stored", "dtype"), [("bfloat16", "bfloat16"), ("float32", "bfloat16"), ("float32", "float32")]
)
def test_cached_weights_give_the_bits_of_bitsandbytes(
    tiny_base: Path, half_base: Path, stored: str, dtype: str
) -> None:
    found = []
    for choice in ("cached", "never"):
        loaded = load(half_base if stored == "bfloat16" else tiny_base, choice, dtype)
        assert quantized_layers(loaded.model) == (0 if choice == "cached" else 2 * 7)
        add_adapter(loaded, LoraSettings(rank=4, alpha=8), "frozen", seed=3)
        with torch.no_grad(), loaded.autocast():
            evaluated = logits(loaded, hidden_states(loaded, IDS))
        loaded.model.train()
        for _ in range(2):  # B is zero at first
            with loaded.autocast():
                loss = logits(loaded, hidden_states(loaded, IDS)).float().logsumexp(-1).mean()
            loaded.model.zero_grad()
            loss.backward()
            gradients = [p.grad.clone() for p in trainable_parameters(loaded).values() if p.grad is not None]
            torch.optim.SGD(trainable_parameters(loaded).values(), lr=0.1).step()
        found.append([evaluated, loss.detach(), *gradients])
    assert len(found[0]) == len(found[1]) == 2 + 2 * 7 * 2
    assert all(bool(tensor.any()) for tensor in found[0])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_auto_caches_on_a_cpu_and_the_growth_is_counted(tiny_base: Path) -> None:
    assert quantized_layers(load(tiny_base, "auto", "bfloat16").model) == 0
    layered = load(tiny_base, "never", "bfloat16").model
    weights = sum(
        m.in_features * m.out_features for m in layered.modules() if type(m).__name__ == "Linear4bit"
    )
    assert nf4.growth(layered, torch.bfloat16) == weights * 2 - weights // 2
