"""Loading, NF4, adapters off and on, tied embeddings."""

from pathlib import Path

import pytest
import torch

from anukul.config import LoraSettings, ModelSettings
from anukul.errors import UserError
from anukul.model.adapter import add_adapter, is_embedding, load_adapter, save_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.model.loaded import Loaded, hidden_states, logits

IDS = torch.tensor([[0, 40, 50, 60, 70, 80, 90, 100]])


def run(loaded: Loaded) -> torch.Tensor:
    with torch.no_grad(), loaded.autocast():
        return logits(loaded, hidden_states(loaded, IDS))


def test_cached_nf4_gives_the_numbers_of_bitsandbytes(tiny_base: Path) -> None:
    from transformers import AutoModelForCausalLM

    from anukul.model import nf4

    settings = ModelSettings(path=str(tiny_base), quantization="nf4")
    cached = load_base(settings)
    config = nf4.quantization_config(torch.bfloat16)
    layered = AutoModelForCausalLM.from_pretrained(str(tiny_base), quantization_config=config, dtype="auto")
    layered.train()  # the training path: bitsandbytes repacks in eval mode
    layer = layered.model.layers[0].mlp.down_proj
    plain = cached.model.model.layers[0].mlp.down_proj
    x = torch.randn(3, layer.in_features, dtype=torch.bfloat16)
    assert type(layer).__name__ == "Linear4bit"
    assert torch.equal(layer(x), plain(x))
    unquantized = load_base(ModelSettings(path=str(tiny_base), quantization="none"))
    assert not torch.equal(run(cached), run(unquantized))


@pytest.mark.parametrize("embeddings", ["frozen", "full"])
@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_adapter_off_is_the_base_and_reloads_to_the_same_bits(
    tiny_base: Path, tmp_path: Path, embeddings: str, quantization: str
) -> None:
    settings = ModelSettings.model_validate({"path": str(tiny_base), "quantization": quantization})
    loaded = load_base(settings)
    before = run(loaded)
    add_adapter(loaded, LoraSettings(rank=4, alpha=8), embeddings, seed=3)  # type: ignore[arg-type]
    trained = trainable_parameters(loaded)
    names = [name for name in trained if is_embedding(name)]
    assert len(names) == (1 if embeddings == "full" else 0)  # tied: one tensor
    assert {name.split(".")[-4] for name in trained if "lora_A" in name} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert all(parameter.dtype == torch.float32 for parameter in trained.values())
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2)
    for _ in range(3):
        with loaded.autocast():
            loss = logits(loaded, hidden_states(loaded, IDS)).float().logsumexp(-1).mean()
        loss.backward()
        optimizer.step()
    after = run(loaded)
    assert not torch.equal(before, after)
    with loaded.base_only():
        assert torch.equal(before, run(loaded))
    save_adapter(loaded, tmp_path / "adapter")
    again = load_base(settings)
    load_adapter(again, tmp_path / "adapter")
    assert torch.equal(after, run(again))
    with again.base_only():
        assert torch.equal(before, run(again))
    if embeddings == "full":
        head = again.causal_lm.get_output_embeddings()
        assert head(torch.eye(64)).T.allclose(
            again.causal_lm.get_input_embeddings()(torch.arange(len(again.tokenizer)))
        )


def test_a_base_without_a_tokenizer_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny_base / name).read_bytes())
    with pytest.raises(UserError, match="no tokenizer in this folder"):
        load_base(ModelSettings(path=str(tmp_path)))


def test_a_missing_base_is_refused() -> None:
    with pytest.raises(UserError, match="no such folder"):
        load_base(ModelSettings(path="./nowhere"))
