"""Silenced heads: equal to closed forms in every architecture and way of running, and gone without a trace."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import ARCHITECTURES, WINDOW, small_loaded
from torch import Tensor, nn

from anukul.config import LoraSettings, ModelSettings
from anukul.errors import UserError
from anukul.model.adapter import add_adapter, trainable_parameters
from anukul.model.attention import own_attention
from anukul.model.base import load_base
from anukul.model.generate import generate_greedy
from anukul.model.loaded import Loaded, attention_function, hidden_states, logits
from anukul.model.silence import How, head_means, silenced
from anukul.scoring.padded import score_padded
from anukul.scoring.scorer import Scorer
from anukul.scoring.trie import Request

IDS = torch.randint(3, 400, (2, 12), generator=torch.Generator().manual_seed(1))
ONE = [(1, 2)]
SET = [(1, 0), (0, 3), (1, 3), (0, 3)]  # over both layers, one named twice
WAYS: tuple[How, ...] = ("zero", "uniform", "mean")
TEXTS = ["Ram eats rice in the village.", "रामले गाउँमा भात खायो।", "Sita went to school and read a book."]


def run(loaded: Loaded, ids: Tensor = IDS) -> Tensor:
    with torch.no_grad(), loaded.autocast():
        return logits(loaded, hidden_states(loaded, ids))


def adapted(settings: ModelSettings) -> Loaded:
    loaded = load_base(settings)
    add_adapter(loaded, LoraSettings(rank=4, alpha=8), "frozen", seed=3)
    torch.manual_seed(0)
    for name, parameter in trainable_parameters(loaded).items():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    loaded.model.eval()
    return loaded


def means_of(loaded: Loaded) -> Tensor:
    """Some output for every head, of the size that the heads of the models here have."""
    config = loaded.causal_lm.config.get_text_config()
    size = config.to_dict().get("head_dim") or config.hidden_size // 4
    return torch.randn(2, 4, size, generator=torch.Generator().manual_seed(2))


def given(how: How, loaded: Loaded) -> Tensor | None:
    return means_of(loaded) if how == "mean" else None


def even(value: Tensor, heads: int, window: int | None) -> Tensor:
    """The mean of the values of all visible tokens, `[batch, length, heads, size]`."""
    length = value.shape[2]
    place = torch.arange(length)
    seen = (place <= place[:, None]) & (place > place[:, None] - (window or length))
    values = value.repeat_interleave(heads // value.shape[1], 1)
    return ((seen / seen.sum(-1, keepdim=True)).to(values) @ values).transpose(1, 2)


@contextmanager
def written_out(loaded: Loaded, heads: list[tuple[int, int]], how: How) -> Iterator[None]:
    """The closed form: the output of the attention function, the heads in it put in by hand."""
    attend, mask = own_attention(loaded)
    means = means_of(loaded)

    def attending(module: Any, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **more: Any) -> Any:
        output, weights = attend(module, query, key, value, *rest, **more)
        output = output.clone()
        mean_of_values = even(value, query.shape[1], more.get("sliding_window"))
        for layer, head in heads:
            if layer == module.layer_idx:
                forms = {"zero": 0.0, "uniform": mean_of_values[:, :, head], "mean": means[layer, head]}
                output[:, :, head] = forms[how]
        return output, weights

    with attention_function(loaded, "test_written_out", attending, mask):
        yield


@pytest.mark.parametrize("heads", [ONE, SET], ids=["one", "set"])
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_heads_are_silent_as_the_closed_form_has_it(
    name: str, how: How, heads: list[tuple[int, int]]
) -> None:
    loaded = small_loaded(name)
    before = run(loaded)
    with written_out(loaded, heads, how):
        expected = run(loaded)
    with silenced(loaded, heads, how, given(how, loaded)):
        found = run(loaded)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert (found - before).abs().max() > 0.05
    assert torch.equal(run(loaded), before)
    assert IDS.shape[1] > WINDOW


def test_zero_is_an_output_projection_without_the_columns_of_the_head(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    cut = copy.deepcopy(loaded)
    for layer, head in SET:
        cut.causal_lm.model.layers[layer].self_attn.o_proj.weight.data[:, head * 16 : head * 16 + 16] = 0.0
    with silenced(loaded, SET, "zero"):
        assert torch.allclose(run(loaded), run(cut), atol=1e-5)
    assert not torch.allclose(run(loaded), run(cut), atol=1e-4)


def requests() -> list[Request]:
    draw = torch.Generator().manual_seed(4)
    stem = torch.randint(5, 300, (40,), generator=draw).tolist()
    return [
        Request(tuple(stem[:cut]), tuple(torch.randint(5, 300, (size,), generator=draw).tolist()))
        for cut in (1, 8, 30, 39)
        for size in (1, 4)
    ]


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_scores_along_a_trie_are_those_of_each_text_alone_and_the_model_is_untouched(
    tiny_base: Path, quantization: str, how: How, adapter: bool
) -> None:
    settings = {"path": str(tiny_base), "quantization": quantization, "compute_dtype": "float32"}
    loaded = adapted(ModelSettings.model_validate(settings))
    scorer = Scorer(loaded, 16, adapter=adapter)  # several slices: keys and values are carried
    weights = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    before = scorer.score(requests())
    with silenced(loaded, SET, how, given(how, loaded)):
        assert scorer.follows
        found = scorer.score(requests())
        with scorer.active(), torch.no_grad():
            beside = score_padded(loaded, requests())
        for request, (value, _), (wanted, _) in zip(requests(), found, beside, strict=True):
            assert value == pytest.approx(wanted, abs=1e-4 * len(request.continuation))
    assert max(abs(a - b) for (a, _), (b, _) in zip(before, found, strict=True)) > 1e-3
    assert scorer.score(requests()) == before
    after = loaded.model.state_dict()
    assert weights.keys() == after.keys()
    assert all(torch.equal(weights[name], after[name]) for name in weights)


@pytest.mark.parametrize("how", WAYS)
def test_generation_with_a_cache_is_silenced_too(tiny_settings: ModelSettings, how: How) -> None:
    loaded = load_base(tiny_settings)
    for layer in loaded.causal_lm.model.layers:
        layer.self_attn.v_proj.weight.data.mul_(20)
        layer.self_attn.q_proj.weight.data.mul_(30)
    prompts = [[0, 40 + i, 90 - 2 * i, 60 + 3 * i, 200 + 7 * i] for i in range(8)]
    plain = generate_greedy(loaded, prompts, 6)
    with silenced(loaded, SET, how, given(how, loaded)):
        made = generate_greedy(loaded, prompts, 6)
        for prompt, text in zip(prompts, made, strict=True):
            tokens = list(prompt)
            for _ in range(6):
                tokens.append(int(run(loaded, torch.tensor([tokens]))[0, -1].argmax()))
            assert text == loaded.tokenizer.decode(tokens[5:], skip_special_tokens=True)
    assert made != plain


@pytest.mark.parametrize("how", WAYS)
def test_the_model_has_another_name_inside_and_nothing_stays(tiny_settings: ModelSettings, how: How) -> None:
    loaded = adapted(tiny_settings)
    name, base = loaded.fingerprint, Scorer(loaded, 64, adapter=False)
    hooks = hooks_of(loaded.model)
    names = []
    for heads in (ONE, SET):
        means = given(how, loaded)
        with silenced(loaded, heads, how, means):
            names.append(loaded.fingerprint)
            assert base.name == f"{loaded.fingerprint} base"
    if how == "mean":
        with silenced(loaded, ONE, how, means_of(loaded) + 1):
            names.append(loaded.fingerprint)
    else:
        with silenced(loaded, ONE, "uniform" if how == "zero" else "zero"):
            names.append(loaded.fingerprint)
    assert len({name, *names}) == 4
    with pytest.raises(RuntimeError, match="stop"), silenced(loaded, SET, how, given(how, loaded)):
        raise RuntimeError("stop")
    assert loaded.fingerprint == name
    assert hooks_of(loaded.model) == hooks
    assert loaded.causal_lm.config._attn_implementation == "sdpa"


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_means_are_those_of_every_token_but_the_prefix(tiny_settings: ModelSettings) -> None:
    loaded = adapted(tiny_settings)
    heard: dict[int, list[Tensor]] = {0: [], 1: []}
    attend, mask = own_attention(loaded)

    def listen(module: Any, *states: Any, **more: Any) -> Any:
        output, weights = attend(module, *states, **more)
        heard[module.layer_idx].append(output[0, 1:])
        return output, weights

    with attention_function(loaded, "test_listen", listen, mask):
        for text in TEXTS:
            run(loaded, torch.tensor([[0, *loaded.tokenizer(text, add_special_tokens=False)["input_ids"]]]))
    expected = torch.stack([torch.cat(heard[layer]).mean(0) for layer in (0, 1)])
    hooks = hooks_of(loaded.model)
    found = head_means(loaded, TEXTS)
    assert found.shape == (2, 4, 16)
    assert torch.allclose(found, expected, atol=1e-6)
    assert hooks_of(loaded.model) == hooks
    with loaded.base_only():
        assert not torch.allclose(head_means(loaded, TEXTS), found, atol=1e-4)
    assert torch.allclose(head_means(loaded, [*TEXTS, ""]), found)
    loaded.model.config.max_position_embeddings = 4
    assert not torch.allclose(head_means(loaded, TEXTS), found, atol=1e-4)
    with pytest.raises(UserError, match="have no tokens"):
        head_means(loaded, [""])


def test_long_texts_are_measured_in_several_batches(
    tiny_settings: ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_base(tiny_settings)
    whole = head_means(loaded, TEXTS * 3)
    for tokens in (1, 100):
        monkeypatch.setattr("anukul.model.silence.BATCH_TOKENS", tokens)
        assert torch.allclose(head_means(loaded, TEXTS * 3), whole, atol=1e-6)


def test_nothing_chosen_silences_nothing(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    before = run(loaded)
    for how in WAYS:
        with silenced(loaded, [], how, given(how, loaded)):
            assert torch.equal(run(loaded), before)


@pytest.mark.parametrize("heads", [[(0, 4)], [(2, 0)], [(0, -1)], [(-1, 0)]])
def test_a_head_that_there_is_not_is_refused(
    tiny_settings: ModelSettings, heads: list[tuple[int, int]]
) -> None:
    loaded = load_base(tiny_settings)
    message = r"no head -?\d in layer -?\d; the model has layers 0 to 1 with 4 heads each"
    with pytest.raises(UserError, match=message), silenced(loaded, heads, "zero"):
        pass


def test_means_go_with_mean(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    for how, means in (("mean", None), ("zero", means_of(loaded))):
        with pytest.raises(ValueError, match="means go with"), silenced(loaded, ONE, how, means):  # type: ignore[arg-type]
            pass
    with (
        pytest.raises(ValueError, match="means of shape"),
        silenced(loaded, ONE, "mean", torch.zeros(2, 4, 3)),
    ):
        pass


def test_queries_that_do_not_become_zero_are_refused() -> None:
    """A norm with a bias after the projection turns a query of zeros into another."""
    loaded = small_loaded("qwen3-norm")
    for layer in loaded.causal_lm.model.layers:
        layer.self_attn.q_norm = nn.LayerNorm(8)
        layer.self_attn.q_norm.bias.data.fill_(0.1)
    before, hooks = run(loaded), hooks_of(loaded.model)
    with (
        pytest.raises(UserError, match="Qwen3Attention cannot be made to attend evenly"),
        silenced(loaded, ONE, "uniform"),
    ):
        pass
    assert hooks_of(loaded.model) == hooks
    with silenced(loaded, ONE, "zero"):
        assert not torch.equal(run(loaded), before)
    assert torch.equal(run(loaded), before)


@pytest.mark.parametrize(("how", "names"), [("zero", "OUTPUTS"), ("uniform", "QUERIES")])
def test_projections_of_other_names_are_refused(
    tiny_settings: ModelSettings, monkeypatch: pytest.MonkeyPatch, how: How, names: str
) -> None:
    loaded = load_base(tiny_settings)
    monkeypatch.setattr(f"anukul.model.silence.{names}", ("another",))
    message = r"heads of LlamaAttention cannot be silenced: it is not known where .* \(it has q_proj, k_proj"
    with pytest.raises(UserError, match=message), silenced(loaded, ONE, how):
        pass


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "message"), [("gpt-oss-sinks", "s_aux cannot be silenced"), ("bloom-alibi", "BloomForCausalLM")]
)
def test_attention_that_is_not_seen_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message), silenced(small_loaded(name), ONE, "uniform"):
        pass
