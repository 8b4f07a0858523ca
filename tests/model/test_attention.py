"""Captured attention: equal to eager maps, harmless to the model, the same in any batch, small in memory."""

from pathlib import Path

import pytest
import torch
from small_models import ARCHITECTURES, EAGER, small_loaded
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
WORDS = 4


class Seen:
    """Puts the chunks together: `words` `[batch, heads, rows, words]` and `first` `[batch, heads, rows]` by layer."""

    def __init__(self, batch: int, heads: int, rows: int) -> None:
        self.shape = (batch, heads, rows)
        self.words: dict[int, Tensor] = {}
        self.first: dict[int, Tensor] = {}
        self.chunks = 0

    def receive(self, layer: int, start: int, words: Tensor, first: Tensor) -> None:
        rows = slice(start, start + words.shape[2])
        self.words.setdefault(layer, torch.zeros(*self.shape, WORDS))[:, :, rows, : words.shape[3]] = words
        self.first.setdefault(layer, torch.zeros(self.shape))[:, :, rows] = first
        self.chunks += 1


def adapted(settings: ModelSettings) -> Loaded:
    loaded = load_base(settings)
    add_adapter(loaded, LoraSettings(rank=4, alpha=8), "frozen", seed=3)
    torch.manual_seed(0)
    for name, parameter in trainable_parameters(loaded).items():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    loaded.model.eval()
    return loaded


def see(
    loaded: Loaded,
    ids: Tensor = IDS,
    rows: Tensor = ROWS,
    word_of: Tensor = WORD_OF,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return words `[layers, batch, heads, rows, words]`, first `[layers, batch, heads, rows]` and the logits."""
    seen = Seen(len(ids), 4, rows.shape[1])
    with torch.no_grad(), loaded.autocast(), capturing(loaded, Capture(rows, word_of, seen.receive)):
        output = logits(loaded, hidden_states(loaded, ids, mask=mask))
    layers = sorted(seen.words)
    return torch.stack([seen.words[i] for i in layers]), torch.stack([seen.first[i] for i in layers]), output


def plain(loaded: Loaded, mask: Tensor | None = None) -> Tensor:
    with torch.no_grad(), loaded.autocast():
        return logits(loaded, hidden_states(loaded, IDS, mask=mask))


def eager_maps(loaded: Loaded) -> Tensor:
    """The whole maps `[layers, batch, heads, length, length]` that `output_attentions` gives."""
    model, before = loaded.causal_lm, loaded.causal_lm.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = torch.stack(model(IDS, use_cache=False, output_attentions=True).attentions)
    model.set_attn_implementation(before)
    return maps


def eager_words(loaded: Loaded) -> tuple[Tensor, Tensor]:
    """The same rows from the whole maps, summed to words, and on position 0."""
    maps = eager_maps(loaded)
    words = torch.stack([(maps * (w == WORD_OF)[None, :, None, None]).sum(-1) for w in range(WORDS)], -1)
    return (
        torch.stack([words[:, b, :, ROWS[b]] for b in range(2)], 1),
        torch.stack([maps[:, b, :, ROWS[b], 0] for b in range(2)], 1),
    )


@pytest.mark.parametrize("switch", ["off", "on"])
def test_capture_equals_the_whole_eager_maps(tiny_settings: ModelSettings, switch: str) -> None:
    loaded = adapted(tiny_settings)
    if switch == "on":
        words, first, _ = see(loaded)
        expected, _ = eager_words(loaded)
    else:
        with loaded.base_only():
            words, first, _ = see(loaded)
            expected, _ = eager_words(loaded)
    assert words.shape == (2, 2, 4, 3, 4)
    assert (words - expected).abs().max() < 1e-5
    # row 0 of sentence 0 is token 2: it sees BOS and tokens 1 and 2, which are word 0
    assert torch.allclose(first[:, 0, :, 0] + words[:, 0, :, 0, 0], torch.ones(2, 4), atol=1e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_architecture_is_captured_and_not_disturbed(name: str) -> None:
    loaded = small_loaded(name)
    before = plain(loaded)
    words, first, during = see(loaded)
    assert torch.equal(before, during)
    expected, expected_first = eager_words(loaded)
    assert (words - expected).abs().max() < 1e-5
    assert (first - expected_first).abs().max() < 1e-5
    # sharp and of many kinds, so that the equality says something
    assert words.std() > 0.1
    assert loaded.causal_lm.config._attn_implementation == ("eager" if name in EAGER else "sdpa")
    assert torch.equal(before, plain(loaded))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_logits_are_bit_equal_with_and_without_capture(
    tiny_base: Path, quantization: str, dtype: str
) -> None:
    settings = {"path": str(tiny_base), "quantization": quantization, "compute_dtype": dtype}
    loaded = adapted(ModelSettings.model_validate(settings))
    before = plain(loaded)
    _, _, during = see(loaded)
    assert torch.equal(before, during)
    with loaded.base_only():
        base = plain(loaded)
        words_base, _, during_base = see(loaded)
    assert torch.equal(base, during_base)
    assert not torch.equal(base, before)
    words, _, after = see(loaded)
    assert torch.equal(before, after)
    assert not torch.allclose(words, words_base, atol=1e-4)


def test_a_masked_batch_is_bit_equal_too(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    real = (torch.tensor([[1] * 8, [1] * 5 + [0] * 3])[:, None, None] > 0) | torch.eye(8, dtype=torch.bool)
    mask = torch.ones(8, 8, dtype=torch.bool).tril() & real
    words, first, during = see(loaded, mask=mask)
    assert torch.equal(plain(loaded, mask), during)
    unmasked, first_unmasked, _ = see(loaded)  # padding is on the right: no row here sees it
    assert torch.allclose(words, unmasked, atol=1e-6)
    assert torch.allclose(first, first_unmasked, atol=1e-6)


def test_the_model_is_as_before_when_the_receiver_fails(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    before = plain(loaded)

    def receive(layer: int, start: int, words: Tensor, first: Tensor) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), capturing(loaded, Capture(ROWS, WORD_OF, receive)):
        hidden_states(loaded, IDS)
    assert loaded.causal_lm.config._attn_implementation == "sdpa"
    assert torch.equal(before, plain(loaded))


def test_a_forward_ends_with_the_last_layer_that_is_wanted(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    before = plain(loaded)
    whole, _, _ = see(loaded)
    ran: list[int] = []
    handles = [
        layer.mlp.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, layer in enumerate(loaded.causal_lm.model.layers)
    ]
    for last in (0, 1):
        seen = Seen(2, 4, 3)
        ran.clear()
        with torch.no_grad(), capturing(loaded, Capture(ROWS, WORD_OF, seen.receive, last)):
            hidden_states(loaded, IDS)
            raise AssertionError("the forward went on")
        assert ran == list(range(last))
        assert sorted(seen.words) == list(range(last + 1))
        assert torch.equal(seen.words[last], whole[last])
    for handle in handles:
        handle.remove()
    assert loaded.causal_lm.config._attn_implementation == "sdpa"
    assert torch.equal(before, plain(loaded))


def test_padding_changes_nothing(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    together, _, _ = see(loaded)
    alone, _, _ = see(loaded, IDS[1:, :5], ROWS[1:, :2], WORD_OF[1:, :5])
    assert torch.allclose(together[:, 1, :, :2], alone[:, 0], atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_captured_is_refused(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    loaded.causal_lm.set_attn_implementation("flex_attention")
    seen = Seen(2, 4, 3)
    with pytest.raises(UserError, match="flex_attention"):
        see(loaded)
    with pytest.raises(UserError, match=r"this base's attention uses s_aux"):
        see(small_loaded("gpt-oss-sinks"))
    with (
        pytest.raises(UserError, match="BloomForCausalLM"),
        capturing(small_loaded("bloom-alibi"), Capture(ROWS, WORD_OF, seen.receive)),
    ):
        pass
    assert seen.chunks == 0


def together(query: Tensor, key: Tensor, mask: Tensor | None, capture: Capture) -> tuple[Tensor, Tensor]:
    seen = Seen(len(query), query.shape[1], capture.rows.shape[1])
    for start, words, first in word_attention(query, key, mask, 0.25, capture):
        seen.receive(0, start, words, first)
    return seen.words[0], seen.first[0]


def nobody(layer: int, start: int, words: Tensor, first: Tensor) -> None:
    raise AssertionError


def test_masks_of_all_kinds_and_chunks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 8, 16), torch.randn(2, 2, 8, 16)
    seen = torch.ones(8, 8, dtype=torch.bool).tril()[None, None]
    expected, first = together(query, key, None, Capture(ROWS, WORD_OF, nobody))
    additive = torch.zeros(1, 1, 8, 8).masked_fill(~seen, torch.finfo(torch.float32).min)
    for mask in (seen, additive, additive.expand(2, 4, 8, 8)):
        words, again = together(query, key, mask, Capture(ROWS, WORD_OF, nobody))
        assert torch.equal(words, expected)
        assert torch.equal(again, first)
    for elements in (1, 2 * 2 * 4 * 8):  # one row at a time, two rows
        monkeypatch.setattr(attention, "CHUNK_ELEMENTS", {"cpu": elements})
        words, again = together(query, key, None, Capture(ROWS, WORD_OF, nobody))
        assert torch.allclose(words, expected, atol=1e-6)
        assert torch.allclose(again, first, atol=1e-6)


def test_words_need_not_stand_together() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 2, 8, 16), torch.randn(2, 2, 8, 16)
    word_of = torch.tensor([[3, 0, 3, 1, -1, 0, 1, 3], [-1] * 8])
    rows = torch.tensor([[7, 4], [5, 0]])
    words, _ = together(query, key, None, Capture(rows, word_of, nobody))
    scores = (query @ key.transpose(2, 3) * 0.25).masked_fill(~torch.ones(8, 8).tril().bool(), -torch.inf)
    maps = scores.softmax(-1)
    for word in range(WORDS):
        expected = (maps * (word_of == word)[:, None, None]).sum(-1)
        assert torch.allclose(words[0, :, :, word], expected[0][:, rows[0]], atol=1e-6)
    assert not words[1].any()


class Largest(TorchDispatchMode):
    """Remembers the number of bytes of the largest tensor made."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        output = func(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, tuple | list) else [output]:
            if isinstance(tensor, Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return output


def test_memory_grows_with_the_length_and_not_with_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second token a row, every second token the end of a word: both grow with the length."""
    monkeypatch.setattr(attention, "CHUNK_ELEMENTS", {"cpu": 1 << 14})
    largest = {}
    for length in (512, 2048):
        query, key = torch.randn(1, 4, length, 16), torch.randn(1, 2, length, 16)
        rows, word_of = torch.arange(1, length, 2)[None], torch.arange(length)[None] // 2
        with Largest() as mode:
            for _, words, _ in word_attention(query, key, None, 0.25, Capture(rows, word_of, nobody)):
                assert words.shape[2] <= 8
        largest[length] = mode.bytes
    assert 0 < largest[2048] <= 4 * largest[512]
    assert largest[2048] < 4 * 2048 * 2048 / 8
