"""Captured attention: equal to eager maps, harmless to the model, the same in any batch."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from anukul.config import LoraSettings, ModelSettings
from anukul.errors import UserError
from anukul.model import attention
from anukul.model.adapter import add_adapter, trainable_parameters
from anukul.model.attention import Capture, capturing, word_attention
from anukul.model.base import load_base
from anukul.model.loaded import Loaded, hidden_states, logits

IDS = torch.tensor([[0, 40, 50, 60, 70, 80, 90, 100], [0, 41, 51, 61, 71, 2, 2, 2]])
WORD_OF = torch.tensor([[-1, 0, 0, 1, 2, 2, 2, 3], [-1, 0, 1, 1, 2, -1, -1, -1]])
ROWS = torch.tensor([[2, 3, 7], [3, 4, 0]])


def adapted(settings: ModelSettings) -> Loaded:
    loaded = load_base(settings)
    add_adapter(loaded, LoraSettings(rank=4, alpha=8), "frozen", seed=3)
    torch.manual_seed(0)
    for name, parameter in trainable_parameters(loaded).items():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    loaded.model.eval()
    return loaded


def see(loaded: Loaded, ids: Tensor, rows: Tensor, word_of: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return words `[layers, batch, heads, rows, words]`, first `[layers, batch, heads, rows]` and the logits."""
    got: dict[int, tuple[Tensor, Tensor]] = {}

    def receive(layer: int, words: Tensor, first: Tensor) -> None:
        got[layer] = (words, first)

    capture = Capture(rows, word_of, 4, receive)
    with torch.no_grad(), loaded.autocast(), capturing(loaded, capture):
        output = logits(loaded, hidden_states(loaded, ids))
    words, first = zip(*(got[layer] for layer in sorted(got)), strict=True)
    return torch.stack(words), torch.stack(first), output


def plain(loaded: Loaded) -> Tensor:
    with torch.no_grad(), loaded.autocast():
        return logits(loaded, hidden_states(loaded, IDS))


def eager_words(loaded: Loaded) -> Tensor:
    """The same rows from the whole maps that `output_attentions` gives, summed to words."""
    model = loaded.causal_lm
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = torch.stack(model(IDS, attention_mask=(IDS != 2).long(), output_attentions=True).attentions)
    model.set_attn_implementation("sdpa")
    words = torch.stack([(maps * (w == WORD_OF)[None, :, None, None]).sum(-1) for w in range(4)], -1)
    return torch.stack([words[:, b, :, ROWS[b]] for b in range(2)], 1)


@pytest.mark.parametrize("switch", ["off", "on"])
def test_capture_equals_the_whole_eager_maps(tiny_settings: ModelSettings, switch: str) -> None:
    loaded = adapted(tiny_settings)
    if switch == "on":
        words, first, _ = see(loaded, IDS, ROWS, WORD_OF)
        expected = eager_words(loaded)
    else:
        with loaded.base_only():
            words, first, _ = see(loaded, IDS, ROWS, WORD_OF)
            expected = eager_words(loaded)
    assert words.shape == (2, 2, 4, 3, 4)
    assert (words - expected)[:, 0].abs().max() < 1e-5
    assert (words - expected)[:, 1, :, :2].abs().max() < 1e-5  # the third row there is padding
    # row 0 of sentence 0 is token 2: it sees BOS and tokens 1 and 2, which are word 0
    assert torch.allclose(first[:, 0, :, 0] + words[:, 0, :, 0, 0], torch.ones(2, 4), atol=1e-6)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_logits_are_bit_equal_with_and_without_capture(tiny_base: Path, quantization: str) -> None:
    loaded = adapted(ModelSettings.model_validate({"path": str(tiny_base), "quantization": quantization}))
    before = plain(loaded)
    _, _, during = see(loaded, IDS, ROWS, WORD_OF)
    assert torch.equal(before, during)
    with loaded.base_only():
        base = plain(loaded)
        words_base, _, during_base = see(loaded, IDS, ROWS, WORD_OF)
    assert torch.equal(base, during_base)
    assert not torch.equal(base, before)
    words, _, after = see(loaded, IDS, ROWS, WORD_OF)
    assert torch.equal(before, after)
    assert not torch.allclose(words, words_base, atol=1e-4)


def test_the_model_is_as_before_when_the_receiver_fails(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    before = plain(loaded)

    def receive(layer: int, words: Tensor, first: Tensor) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), capturing(loaded, Capture(ROWS, WORD_OF, 4, receive)):
        hidden_states(loaded, IDS)
    assert loaded.causal_lm.config._attn_implementation == "sdpa"
    assert torch.equal(before, plain(loaded))


def test_padding_changes_nothing(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    together, _, _ = see(loaded, IDS, ROWS, WORD_OF)
    alone, _, _ = see(loaded, IDS[1:, :5], ROWS[1:, :2], WORD_OF[1:, :5])
    assert torch.allclose(together[:, 1, :, :2], alone[:, 0], atol=1e-6)


def test_only_sdpa_is_captured(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    loaded.causal_lm.set_attn_implementation("eager")
    capture = Capture(ROWS, WORD_OF, 4, lambda layer, words, first: None)
    with pytest.raises(UserError, match="eager"), capturing(loaded, capture):
        pass


def test_masks_of_both_kinds_equal_plain_causal(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 8, 16), torch.randn(2, 2, 8, 16)
    capture = Capture(ROWS, WORD_OF, 4, lambda layer, words, first: None)
    seen = torch.ones(8, 8, dtype=torch.bool).tril()[None, None]
    expected, first = word_attention(query, key, None, 0.25, capture)
    additive = torch.zeros(1, 1, 8, 8).masked_fill(~seen, torch.finfo(torch.float32).min)
    for mask in (seen, additive):
        words, again = word_attention(query, key, mask, 0.25, capture)
        assert torch.equal(words, expected)
        assert torch.equal(again, first)
    # one row at a time
    monkeypatch.setattr(attention, "CHUNK_ELEMENTS", 1)
    words, again = word_attention(query, key, None, 0.25, capture)
    assert torch.allclose(words, expected, atol=1e-6)
    assert torch.allclose(again, first, atol=1e-6)


class Largest(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor):
            self.elements = max(self.elements, output.untyped_storage().nbytes() // output.element_size())
        return output


def test_memory_grows_with_the_length_and_not_with_its_square() -> None:
    largest = {}
    for length in (512, 2048):
        query, key = torch.randn(1, 4, length, 16), torch.randn(1, 2, length, 16)
        rows = torch.tensor([[length // 2, length - 1]])
        capture = Capture(rows, torch.zeros(1, length, dtype=torch.long), 1, lambda layer, words, first: None)
        with Largest() as mode:
            word_attention(query, key, None, 0.25, capture)
        largest[length] = mode.elements
    assert 0 < largest[2048] <= 4 * largest[512]
    assert largest[2048] < 2048 * 2048 / 8
