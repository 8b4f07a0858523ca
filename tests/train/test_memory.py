"""Recomputed activations: the same numbers, less memory, and as few layers as the memory asks for."""

import pytest
import torch
from made_stage import ENGLISH, NEPALI, settings_of, texts, with_adapter

from anukul.config import ModelSettings
from anukul.model.adapter import trainable_parameters
from anukul.model.documents import packed_attention
from anukul.model.loaded import Loaded
from anukul.model.recompute import decoder_layers, recompute
from anukul.train.loss import token_losses
from anukul.train.memory import bytes_kept_by_a_layer, fit_activations, layers_to_recompute, untouched
from anukul.train.packing import Batch, collate


def batch_of(loaded: Loaded, context: int) -> Batch:
    examples = texts(loaded, [*ENGLISH, *NEPALI])
    return collate([[0, 1], [2, 3]], examples, context, 2, torch.device("cpu"))


def test_recomputed_layers_give_the_same_bits(tiny_settings: ModelSettings) -> None:
    loaded = with_adapter(tiny_settings, dropout=0.1, embeddings="frozen")
    loaded.model.train()
    batch = batch_of(loaded, 64)
    found = []
    for count in (0, 1, 2):
        recompute(loaded, count)
        torch.manual_seed(3)  # dropout
        with packed_attention(loaded):
            token_losses(loaded, batch).mean().backward()
        found.append([p.grad.clone() for p in trainable_parameters(loaded).values() if p.grad is not None])
        loaded.model.zero_grad()
    assert len(found[0]) == 2 * 7 * 2 and any(bool(gradient.any()) for gradient in found[0])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_what_a_layer_keeps_grows_with_the_batch(tiny_settings: ModelSettings) -> None:
    loaded = with_adapter(tiny_settings)
    loaded.model.train()
    with packed_attention(loaded):
        small, large = (bytes_kept_by_a_layer(loaded, batch_of(loaded, context)) for context in (64, 256))
    # a Llama layer of hidden 64 and intermediate 192 keeps a few dozen vectors of its tokens in fp32
    assert 10 * 2 * 64 * 64 * 4 < small < 60 * 2 * 64 * 64 * 4
    assert 2.5 * small < large < 6 * small
    assert all(layer.gradient_checkpointing for layer in decoder_layers(loaded))  # as it was set before


def test_as_few_layers_as_needed() -> None:
    assert layers_to_recompute(32, 100, 32 * 100) == 0
    assert layers_to_recompute(32, 100, 32 * 100 - 1) == 1
    assert layers_to_recompute(32, 100, 1000) == 22
    assert layers_to_recompute(32, 100, 99) == layers_to_recompute(32, 100, -5000) == 32


@pytest.mark.parametrize(("choice", "expected"), [("auto", 0), ("none", 0), ("full", 2)])
def test_a_cpu_recomputes_only_when_told_to(tiny_settings: ModelSettings, choice: str, expected: int) -> None:
    loaded = with_adapter(tiny_settings)
    fit_activations(loaded, settings_of(activation_checkpointing=choice), batch_of(loaded, 64))
    assert sum(bool(layer.gradient_checkpointing) for layer in decoder_layers(loaded)) == expected


def test_a_trial_leaves_no_trace(tiny_settings: ModelSettings) -> None:
    loaded = with_adapter(tiny_settings, dropout=0.5)
    loaded.model.train()
    random = torch.random.get_rng_state()
    with packed_attention(loaded), untouched(loaded):
        token_losses(loaded, batch_of(loaded, 64)).mean().backward()
        assert not torch.equal(torch.random.get_rng_state(), random)
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
