"""Merging: the model loaded again says what the adapter on its base said, tied or untied, whatever was trained."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from anukul.config import LoraSettings, ModelSettings, VocabularySettings
from anukul.errors import UserError
from anukul.model import merge
from anukul.model.adapter import add_adapter, load_adapter, save_adapter
from anukul.model.base import load_base
from anukul.model.build import build_llama, save_base
from anukul.model.loaded import Loaded
from anukul.model.merge_check import check_layers
from anukul.model.vocabulary import add_vocabulary

TEXT = "रामले गाउँमा भात खायो। Sita went to school."
LORA = LoraSettings(rank=4, alpha=8)


@pytest.fixture(scope="module")
def bases(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The tiny base, by whether its embeddings are tied."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("untied")
    tokenizer = AutoTokenizer.from_pretrained(str(tiny_base))
    model = build_llama(len(tokenizer), 64, 2, 4, seed=2, key_value_heads=2, max_positions=512, tied=False)
    save_base(model, tokenizer, folder)
    return {True: tiny_base, False: folder}


def load(path: Path, quantization: str = "none", compute: str = "float32") -> Loaded:
    return load_base(ModelSettings(path=str(path), quantization=quantization, compute_dtype=compute))  # type: ignore[arg-type]


def stir(loaded: Loaded) -> None:
    """Move every trained weight: an adapter that does nothing would hide a merge that does nothing."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in loaded.model.named_parameters():
        if parameter.requires_grad:
            step = torch.randn(parameter.shape, generator=generator)
            parameter.data += 0.05 * step.to(parameter) * (1 if "lora" in name else parameter.data.std())
    loaded.model.eval()


def logits(loaded: Loaded) -> Tensor:
    ids = torch.tensor([[0, *loaded.tokenizer.encode(TEXT, add_special_tokens=False)]])
    with torch.no_grad(), loaded.autocast():
        found: Tensor = loaded.model(input_ids=ids).logits.float()
    return found


def again(loaded: Loaded, folder: Path, shard_bytes: int = 1 << 30) -> tuple[merge.Merged, Loaded]:
    merged = merge.merge_into(loaded, folder, "float32", shard_bytes)
    found = check_layers(loaded, folder, torch.float32)
    assert found.layers > 0 and found.least_share == pytest.approx(1, abs=1e-3)
    return merged, load(folder)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("embeddings", "quantization"), [("full", "nf4"), ("lora", "nf4"), ("frozen", "nf4"), ("full", "none")]
)
def test_the_merged_model_says_what_the_adapter_said(
    bases: dict[bool, Path], tmp_path: Path, tied: bool, embeddings: Any, quantization: str
) -> None:
    loaded = load(bases[tied], quantization)
    before = logits(loaded)
    add_adapter(loaded, LORA, embeddings, 0)
    stir(loaded)
    adapted = logits(loaded)
    merged, reloaded = again(loaded, tmp_path)
    assert torch.allclose(logits(reloaded), adapted, atol=2e-4)
    assert float((adapted - before).abs().max()) > 0.1
    assert merged.tied == tied == reloaded.causal_lm.config.tie_word_embeddings
    names = set(reloaded.causal_lm.state_dict())
    assert names == set(load(bases[tied]).causal_lm.state_dict())
    config = json.loads((tmp_path / "config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "float32"


def with_peft(loaded: Loaded, **settings: Any) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, **settings)
    loaded.model = get_peft_model(loaded.model, config)


LINEAR = ["q_proj", "down_proj"]


@pytest.mark.parametrize(
    ("settings", "stays_tied"),
    [
        # what peft#2777 and transformers#45127 are about: the input side of a tied pair is changed alone
        ({"target_modules": LINEAR, "modules_to_save": ["embed_tokens"]}, False),
        ({"target_modules": [*LINEAR, "embed_tokens"]}, False),
        ({"target_modules": LINEAR, "trainable_token_indices": [7, 9, 300]}, True),
        ({"target_modules": LINEAR, "use_dora": True}, True),
        ({"target_modules": LINEAR, "use_rslora": True}, True),
    ],
    ids=["one of a tied pair", "lora on embeddings", "token rows", "dora", "rslora"],
)
@pytest.mark.filterwarnings("ignore")
def test_what_peft_can_train_is_merged_on_a_tied_base(
    bases: dict[bool, Path], tmp_path: Path, settings: dict[str, Any], stays_tied: bool
) -> None:
    loaded = load(bases[True])
    with_peft(loaded, **settings)
    stir(loaded)
    adapted = logits(loaded)
    merged, reloaded = again(loaded, tmp_path)
    assert torch.allclose(logits(reloaded), adapted, atol=2e-4)
    assert merged.tied == stays_tied
    assert ("lm_head.weight" in weights_in(tmp_path)) == (not stays_tied)


def weights_in(folder: Path) -> set[str]:
    from safetensors import safe_open

    found: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(str(file), framework="pt") as weights:
            found |= set(weights.keys())
    return found


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embeddings", ["frozen", "lora", "full"])
def test_new_pieces_of_the_vocabulary_survive(
    bases: dict[bool, Path], tmp_path: Path, tied: bool, embeddings: Any
) -> None:
    loaded = load(bases[tied])
    texts = ["नेपालको विद्यालयमा किताबहरू छन्।", "काठमाडौँ नेपालको राजधानी हो।"] * 12
    add_adapter(loaded, LORA, embeddings, 0)
    add_vocabulary(loaded, VocabularySettings(extend=12, min_count=2), texts, "npi_Deva", "eng_Latn")
    save_adapter(loaded, tmp_path / "adapter")
    loaded = load(bases[tied])
    load_adapter(loaded, tmp_path / "adapter", trainable=True)
    stir(loaded)
    ids = torch.tensor([[0, *loaded.tokenizer.encode(texts[0], add_special_tokens=False)]])
    with torch.no_grad():
        adapted = loaded.model(input_ids=ids).logits
    (tmp_path / "m").mkdir()
    merged, reloaded = again(loaded, tmp_path / "m")
    rows = reloaded.causal_lm.config.vocab_size
    assert rows == loaded.vocabulary_rows > 400 and int(ids.max()) >= 400 and merged.tied == tied
    assert reloaded.tokenizer.encode(texts[0], add_special_tokens=False) == ids[0, 1:].tolist()
    with torch.no_grad():
        assert torch.allclose(reloaded.model(input_ids=ids).logits, adapted, atol=2e-4)
    assert loaded.vocabulary is not None
    loaded.vocabulary.embeddings.rows.data[3] += 0.1
    with pytest.raises(UserError, match=r"the new pieces' rows of model\.embed_tokens\.weight"):
        check_layers(loaded, tmp_path / "m", torch.float32)


def test_weights_are_written_in_shards_that_load_as_one(bases: dict[bool, Path], tmp_path: Path) -> None:
    loaded = load(bases[False])
    add_adapter(loaded, LORA, "frozen", 0)
    stir(loaded)
    adapted = logits(loaded)
    merged, reloaded = again(loaded, tmp_path, shard_bytes=120_000)
    sizes = [(tmp_path / name).stat().st_size for name in merged.files]
    assert len(sizes) > 3 and max(sizes) < 130_000 and sum(sizes) > merged.bytes
    assert not list(tmp_path.glob("part-*"))
    assert (tmp_path / merged.files[0]).stat().st_mode & 0o666 == tmp_path.stat().st_mode & 0o666
    assert torch.allclose(logits(reloaded), adapted, atol=2e-4)


def test_no_more_than_a_shard_is_held(bases: dict[bool, Path], tmp_path: Path) -> None:
    alive: list[int] = []
    largest = 0

    def counted() -> Any:
        nonlocal largest
        import weakref

        for index in range(20):
            tensor = torch.zeros(1000)
            alive.append(index)
            weakref.finalize(tensor, alive.remove, index)
            largest = max(largest, len(alive))
            yield f"w{index}", tensor

    files, _, parameters = merge._write_shards(counted(), tmp_path, 12_000)
    assert parameters == 20_000 and len(files) == 7 and largest <= 4


def test_four_bit_layers_merge_to_the_same_bits_as_dequantized_ones(
    bases: dict[bool, Path], tmp_path: Path
) -> None:
    cached, packed = (
        load_base(ModelSettings(path=str(bases[True]), dequantize=how)) for how in ("cached", "never")
    )
    found = []
    for loaded in (cached, packed):
        add_adapter(loaded, LORA, "full", 0)
        stir(loaded)
        found.append(dict(merge.merged_weights(loaded, torch.bfloat16)[0]))
    kinds = {type(module).__name__ for module in packed.model.modules()}
    assert "Linear4bit" in kinds and found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_merged_is_refused(bases: dict[bool, Path], tmp_path: Path) -> None:
    from peft import IA3Config, get_peft_model

    loaded = load(bases[True])
    loaded.model = get_peft_model(
        loaded.model,
        IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj"], feedforward_modules=[]),
    )
    with pytest.raises(UserError, match=r"k_proj: an adapter layer of kind .* cannot be merged"):
        merge.merge_into(loaded, tmp_path, "float32", 1 << 30)


def test_numbers_that_the_type_cannot_hold_are_refused(bases: dict[bool, Path], tmp_path: Path) -> None:
    loaded = load(bases[True])
    add_adapter(loaded, LORA, "full", 0)
    for name, parameter in loaded.model.named_parameters():
        if "lora_" in name:
            parameter.data.fill_(1e6)
    with pytest.raises(UserError, match="not finite in float16"):
        merge.merge_into(loaded, tmp_path, "float16", 1 << 30)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("strength", [1.0, 0.03])
def test_a_layer_that_lost_its_adapter_is_named(
    bases: dict[bool, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, strength: float
) -> None:
    loaded = load(bases[True], "nf4", "bfloat16")
    add_adapter(loaded, LORA, "frozen", 0)
    stir(loaded)
    for name, parameter in loaded.model.named_parameters():
        if "lora_B" in name:
            parameter.data *= strength
    (tmp_path / "right").mkdir()
    merge.merge_into(loaded, tmp_path / "right", dtype, 1 << 30)
    found = check_layers(loaded, tmp_path / "right", merge.DTYPES[dtype])
    assert found.layers == 14 and found.unchanged == 6
    if dtype != "bfloat16" or strength == 1:  # else the change is smaller than rounding, but not lost in it
        assert found.least_share == pytest.approx(1, abs=0.1)
    whole = merge._lora

    def forgetful(layer: Any, prefix: str, compute_dtype: torch.dtype) -> Any:
        if prefix == "model.layers.1.mlp.down_proj.":
            return merge._effective(layer.get_base_layer(), prefix, compute_dtype)
        return whole(layer, prefix, compute_dtype)

    monkeypatch.setattr(merge, "_lora", forgetful)
    (tmp_path / "wrong").mkdir()
    merge.merge_into(loaded, tmp_path / "wrong", dtype, 1 << 30)
    with pytest.raises(
        UserError, match=r"layers\.1\.mlp\.down_proj: the merged weight holds -?[\d.]+% of what"
    ):
        check_layers(loaded, tmp_path / "wrong", merge.DTYPES[dtype])


def test_a_tensor_that_no_adapter_touches_must_be_the_bases(bases: dict[bool, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    loaded = load(bases[True])
    add_adapter(loaded, LORA, "frozen", 0)
    merge.merge_into(loaded, tmp_path, "float32", 1 << 30)
    # an adapter that changes nothing yet has no share to lose
    assert check_layers(loaded, tmp_path, torch.float32).least_share is None
    weights = load_file(str(tmp_path / "model.safetensors"))
    weights["model.norm.weight"][5] += 0.01
    save_file(weights, str(tmp_path / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"model\.norm\.weight is not what the model has"):
        check_layers(loaded, tmp_path, torch.float32)
