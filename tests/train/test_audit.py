"""The audit before the first long step: it finds what would not be trained, and leaves no trace."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_stage import ENGLISH, NEPALI, settings_of, texts, with_adapter

from anukul.config import ModelSettings, TrainSettings
from anukul.errors import UserError
from anukul.model.adapter import trainable_parameters
from anukul.model.base import load_base
from anukul.model.build import build_llama, save_base
from anukul.model.documents import packed_attention
from anukul.model.loaded import Loaded
from anukul.train.audit import Findings, audit, untrained_tokens
from anukul.train.formats import Example
from anukul.train.optimizer import make_optimizer
from anukul.train.packing import collate


def run(loaded: Loaded, settings: TrainSettings, folder: Path) -> Findings:
    examples = texts(loaded, [*ENGLISH, *NEPALI])
    batch = collate([[0, 1], [2, 3]], examples, 64, 2, torch.device("cpu"))
    loaded.model.train()

    def make() -> torch.optim.Optimizer:
        return make_optimizer(loaded, settings.of(settings.stages[0]))

    with packed_attention(loaded):
        return audit(loaded, settings, batch, examples, make, folder)


@pytest.mark.parametrize("embeddings", ["frozen", "full"])
def test_passes_and_leaves_no_trace(tiny_settings: ModelSettings, tmp_path: Path, embeddings: str) -> None:
    loaded = with_adapter(tiny_settings, dropout=0.1, embeddings=embeddings)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    random = torch.random.get_rng_state()
    found = run(loaded, settings_of(embeddings=embeddings), tmp_path)
    after = loaded.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
    assert set(found.trained) == set(trainable_parameters(loaded))
    assert len(found.trained) == 2 * 7 * 2 + (embeddings == "full") and found.untrained_tokens == []
    assert [sorted(name.split(".")[-2] for name in group) for group in found.tied] != []
    assert json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))["tied"] == found.tied


def test_a_weight_that_gets_no_gradient_is_named(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    loaded = with_adapter(tiny_settings)
    layer = loaded.causal_lm.get_decoder().layers[1].mlp.up_proj
    layer.lora_B["default"].weight.requires_grad_(False)  # zero for good: its A learns nothing
    with pytest.raises(UserError, match=r"1 tensors receive no gradient: .*layers\.1\.mlp\.up_proj\.lora_A"):
        run(loaded, settings_of(), tmp_path)
    assert not (tmp_path / "audit.json").exists()


def test_a_layer_without_adapter_is_named(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    loaded = with_adapter(tiny_settings)
    attention = loaded.causal_lm.get_decoder().layers[0].self_attn
    attention.q_proj = attention.q_proj.base_layer
    with pytest.raises(UserError, match=r"1 linear layers have no adapter: layers\.0\.self_attn\.q_proj"):
        run(loaded, settings_of(), tmp_path)


def test_embeddings_that_stay_frozen_are_found(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    loaded = with_adapter(tiny_settings, embeddings="frozen")
    with pytest.raises(UserError, match=r"train\.embeddings is full but the embeddings stay frozen"):
        run(loaded, settings_of(embeddings="full"), tmp_path)


def test_a_rate_too_small_to_move_a_weight_is_found(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    loaded = with_adapter(tiny_settings)
    table = loaded.causal_lm.get_input_embeddings().weight
    table.data += 1 + table.data.abs()  # weights near zero would move by any rate
    before = {name: parameter.clone() for name, parameter in trainable_parameters(loaded).items()}
    with pytest.raises(UserError, match=r"1 tensors receive a gradient but do not move.*embed_tokens"):
        run(loaded, settings_of(embedding_learning_rate=1e-12), tmp_path)
    assert all(torch.equal(p, before[name]) for name, p in trainable_parameters(loaded).items())


def test_a_frozen_tensor_that_changes_is_named(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    loaded = with_adapter(tiny_settings)
    norm = loaded.causal_lm.get_decoder().norm

    def creep(*_: object) -> None:
        norm.weight.data.mul_(1.001)

    norm.register_forward_hook(creep)
    with pytest.raises(UserError, match=r"1 tensors are not to be trained and changed: .*norm\.weight"):
        run(loaded, settings_of(), tmp_path)


def test_a_base_that_is_no_number_is_refused(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    loaded = with_adapter(tiny_settings)
    loaded.causal_lm.get_decoder().norm.weight.data[3] = torch.nan
    with pytest.raises(UserError, match="the loss is nan before the first step"):
        run(loaded, settings_of(), tmp_path)


def test_tokens_that_the_base_never_learnt_are_counted(
    tiny_base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tokenizer = load_base(ModelSettings(path=str(tiny_base))).tokenizer
    model = build_llama(len(tokenizer), hidden=64, layers=1, heads=4, seed=1, tied=False)
    model.get_input_embeddings().weight.data[[50, 60, 70]] *= 1e-6
    model.get_output_embeddings().weight.data[80] = 0.0
    save_base(model, tokenizer, tmp_path / "base")
    settings = ModelSettings(path=str(tmp_path / "base"), quantization="none", compute_dtype="float32")
    loaded = with_adapter(settings, embeddings="frozen")
    ids = np.array([0, 50, 60, 60, 80, 80, 80, 40], np.int32)
    examples = [Example(ids, np.array([False, False, True, True, True, True, False, True]))]
    found = untrained_tokens(loaded, examples)
    assert [(token.id, token.times, token.where) for token in found] == [
        (60, 2, "embedding"),
        (80, 2, "output head"),  # of three, two are learnt
        (50, 1, "embedding"),
    ]
    assert found[0].piece == tokenizer.convert_ids_to_tokens(60)
    token = int(texts(loaded, [ENGLISH[0]])[0].ids[1])
    loaded.causal_lm.get_input_embeddings().weight.data[token] = 0.0
    run(loaded, settings_of(embeddings="frozen"), tmp_path)
    said = capfd.readouterr().err
    assert f"({token}, " in said and "train.embeddings is frozen: set it to full" in said
