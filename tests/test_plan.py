"""`anukul plan`: the paper's figures without weights or network."""

from pathlib import Path

import pytest

from anukul import configfile, plan
from anukul.config import ModelSettings
from anukul.errors import UserError
from anukul.model.shape import read_shape

PAPER = Path(__file__).parents[1] / "configs" / "paper-nepali-llama3-8b.yaml"


def test_llama_3_8b_has_its_published_size_and_the_papers_trainable_parameters() -> None:
    shape = read_shape(ModelSettings(path="nowhere", shape="llama-3-8b"))
    assert shape.parameters == 8_030_261_248
    assert shape.lora_parameters(128) == 335_544_320
    assert not shape.tied and len(shape.linear_shapes) == 32 * 7


def test_the_shape_of_a_local_base_is_counted_as_torch_counts_it(tiny_base: Path) -> None:
    from transformers import AutoModelForCausalLM

    shape = read_shape(ModelSettings(path=str(tiny_base)))
    model = AutoModelForCausalLM.from_pretrained(str(tiny_base))
    assert shape.tied and shape.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_the_paper_plan_prints_what_it_costs(capsys: pytest.CaptureFixture[str]) -> None:
    plan.print_plan(configfile.load(PAPER), None)
    out = capsys.readouterr().out
    assert "335,544,320 (4.2% of the base)" in out
    assert "predicted peak memory" in out and "tokenizer:" in out and "not there yet:" in out


def test_memory_falls_with_quantization_and_checkpointing() -> None:
    shape = read_shape(ModelSettings(path="nowhere", shape="llama-3-8b"))
    nf4 = plan.predict_memory(configfile.load(PAPER), shape)
    plain = plan.predict_memory(configfile.load(PAPER, ["model.quantization=none"]), shape)
    kept = plan.predict_memory(configfile.load(PAPER, ["train.activation_checkpointing=none"]), shape)
    assert plain.frozen > 2.5 * nf4.frozen and kept.activations > 10 * nf4.activations
    assert nf4.trained == 335_544_320 * 16
    full = plan.predict_memory(configfile.load(PAPER, ["train.embeddings=full"]), shape)
    assert full.trained - nf4.trained == 2 * 128_256 * 4096 * 16  # about 17 GB, as PyTorch users find out


def test_an_unknown_shape_names_those_that_ship() -> None:
    with pytest.raises(UserError, match="llama-3-8b"):
        read_shape(ModelSettings(path="nowhere", shape="llama-9"))


@pytest.mark.real
def test_fertility_on_flores(
    real_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANUKUL_REAL_DATA", str(real_data))
    config = configfile.load(PAPER, [f"model.tokenizer={real_data / 'tokenizer/llama3/hf'}"])
    plan.print_plan(config, 1000.0)
    out = capsys.readouterr().out
    assert "tokenizer, npi_Deva:    3.75 tokens per whitespace word" in out
    assert "tokenizer, eng_Latn:    1.24 tokens per whitespace word" in out
    assert "at 1,000 tokens/s" in out and "max_examples" in out
