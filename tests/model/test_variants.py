"""Variants of LoRA: switched off they are the base, in the file any peft reads them, merged they say the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anukul.config import LoraSettings, ModelSettings, VocabularySettings
from anukul.digests import hash_path
from anukul.errors import UserError
from anukul.model import lora_variants, merge
from anukul.model.adapter import add_adapter, load_adapter, save_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.model.loaded import Loaded, hidden_states, logits
from anukul.model.lora_variants import ADAPTER, FirstFactor, Magnitudes, SecondFactor, principal
from anukul.model.merge_check import check_layers
from anukul.model.speed import compile_layers, keep_input_dtype
from anukul.model.vocabulary import add_vocabulary
from anukul.rundir import read_json

IDS = torch.tensor([[0, 40, 50, 60, 70, 80, 90, 100, 33, 34, 35, 36]])
PLAIN = {"quantization": "none", "compute_dtype": "float32"}
NF4 = {"quantization": "nf4"}
PACKED = {"quantization": "nf4", "dequantize": "never"}
VARIANTS: dict[str, dict[str, Any]] = {
    "rslora": {"rank_stabilized": True},
    "dora": {"dora": True},
    "pissa": {"init": "pissa"},
    "pissa, rslora": {"init": "pissa", "rank_stabilized": True},
    "pissa, dora": {"init": "pissa", "dora": True},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)
on_bases = pytest.mark.parametrize(
    ("held", "variant"),
    [(PLAIN, name) for name in VARIANTS] + [(NF4, "dora"), (NF4, "pissa"), (PACKED, "pissa, dora")],
    ids=[*VARIANTS, "nf4 dora", "nf4 pissa", "packed pissa, dora"],
)
# what peft 0.21 says about transformers 5.23
of_peft = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def base(folder: Path, held: dict[str, str]) -> Loaded:
    return load_base(ModelSettings.model_validate({"path": str(folder), **held}))


def lora_of(variant: str, **more: Any) -> LoraSettings:
    return LoraSettings.model_validate({"rank": 4, "alpha": 6, **VARIANTS[variant], **more})


def run(loaded: Loaded) -> Tensor:
    with torch.inference_mode(), loaded.autocast():
        return logits(loaded, hidden_states(loaded, IDS)).float()


def loss_of(loaded: Loaded) -> Tensor:
    """Mean loss of the next token."""
    with loaded.autocast():
        scores = logits(loaded, hidden_states(loaded, IDS)).float()[0]
    return nn.functional.cross_entropy(scores[:-1], IDS[0, 1:])


def train(loaded: Loaded, steps: int = 4, rate: float = 1e-2) -> list[float]:
    loaded.model.train()
    optimizer = torch.optim.AdamW(trainable_parameters(loaded).values(), lr=rate, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        loss = loss_of(loaded)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    loaded.model.eval()
    return losses


def layers(loaded: Loaded) -> list[Any]:
    return list(lora_variants._layers(loaded).values())


@on_bases
def test_untrained_and_switched_off_it_is_the_base_to_the_bit(
    tiny_base: Path, tmp_path: Path, variant: str, held: dict[str, str]
) -> None:
    loaded = base(tiny_base, held)
    before = run(loaded)
    add_adapter(loaded, lora_of(variant), "full", seed=3)
    keep_input_dtype(loaded)
    assert torch.equal(run(loaded), before)
    losses = train(loaded)
    assert losses[-1] < losses[0] - 0.1
    after = run(loaded)
    assert not torch.equal(after, before)
    with loaded.base_only():
        assert torch.equal(run(loaded), before)
    save_adapter(loaded, tmp_path / "adapter")
    again = base(tiny_base, held)
    load_adapter(again, tmp_path / "adapter", trainable=True)
    keep_input_dtype(again)
    # what goes on from the file goes on from the same bits, and saves the same file
    first, second = trainable_parameters(loaded), trainable_parameters(again)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(run(again), after)
    with again.base_only():
        assert torch.equal(run(again), before)
    save_adapter(again, tmp_path / "again/adapter")
    assert hash_path(tmp_path / "again/adapter") == hash_path(tmp_path / "adapter")
    loaded.model.train()
    again.model.train()
    assert torch.equal(loss_of(loaded), loss_of(again))


@of_peft
@every_variant
def test_any_peft_puts_the_file_on_the_untouched_base(tiny_base: Path, tmp_path: Path, variant: str) -> None:
    from peft import PeftModel

    loaded = base(tiny_base, PLAIN)
    add_adapter(loaded, lora_of(variant), "frozen", seed=3)
    train(loaded)
    save_adapter(loaded, tmp_path / "adapter")
    plain = base(tiny_base, PLAIN)
    plain.model = PeftModel.from_pretrained(plain.model, str(tmp_path / "adapter")).eval()
    assert torch.allclose(run(plain), run(loaded), atol=1e-4)
    ours = VARIANTS[variant]
    config = read_json(tmp_path / "adapter" / "adapter_config.json")
    assert config["use_dora"] == ours.get("dora", False) and config["init_lora_weights"] is True
    assert config["r"] == (8 if "init" in ours else 4)
    assert (tmp_path / "adapter" / "pissa.json").exists() == ("init" in ours)


@on_bases
def test_merged_it_says_the_same(tiny_base: Path, tmp_path: Path, variant: str, held: dict[str, str]) -> None:
    loaded = base(tiny_base, held)
    add_adapter(loaded, lora_of(variant), "full", seed=3)
    train(loaded, rate=3e-3)
    adapted = run(loaded)
    merged = merge.merge_into(loaded, tmp_path, "float32", 1 << 30)
    found = check_layers(loaded, tmp_path, torch.float32)
    assert merged.tied and found.layers == 16 and found.least_share == pytest.approx(1, abs=1e-3)
    reloaded = base(tmp_path, PLAIN)
    # bf16 rounds the layers' outputs, fp32 does not
    assert torch.allclose(run(reloaded), adapted, atol=2e-4 if held is PLAIN else 0.1)


@of_peft
@pytest.mark.parametrize("stabilized", [False, True])
def test_it_trains_as_pefts_own_pissa_does(tiny_base: Path, stabilized: bool) -> None:
    """The same losses, step for step, as where the components were taken out of the base."""
    from peft import LoraConfig, get_peft_model

    ours, theirs = base(tiny_base, PLAIN), base(tiny_base, PLAIN)
    add_adapter(ours, LoraSettings(rank=4, alpha=6, init="pissa", rank_stabilized=stabilized), "frozen", 0)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        lora_alpha=6,
        use_rslora=stabilized,
        target_modules="all-linear",
        init_lora_weights="pissa",
    )
    theirs.model = get_peft_model(theirs.model, config)
    assert train(ours, 8) == pytest.approx(train(theirs, 8), abs=2e-3)
    assert torch.allclose(run(ours), run(theirs), atol=0.03)
    moved = [
        float((layer.lora_A[ADAPTER].trained.detach() - layer.lora_A[ADAPTER].start).norm())
        for layer in layers(ours)
    ]
    assert min(moved) > 0.01
    with ours.base_only(), theirs.base_only():
        assert not torch.allclose(run(ours), run(theirs), atol=0.03)  # peft's base is no longer the base


def test_the_principal_components_are_what_is_trained(tiny_base: Path) -> None:
    loaded = base(tiny_base, PLAIN)
    add_adapter(loaded, lora_of("pissa", rank=5), "frozen", seed=3)
    for layer in layers(loaded):
        first, second = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
        assert isinstance(first, FirstFactor) and isinstance(second, SecondFactor)
        weight = layer.get_base_layer().weight
        left, sizes, right = torch.linalg.svd(weight)
        best = left[:, :5] * sizes[:5] @ right[:5]
        assert torch.allclose(second.trained @ first.trained * layer.scaling[ADAPTER], best, atol=1e-5)
        # both factors carry their half of every size
        assert torch.allclose(first.trained.norm(dim=1), second.trained.norm(dim=0), rtol=1e-4)
    names = trainable_parameters(loaded)
    assert len(names) == 2 * 2 * 7 and all(name.endswith(".trained") for name in names)


def test_large_weights_are_decomposed_nearly_as_well_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 96, generator=generator))[0] for n in (160, 96))
    weight = left * torch.logspace(1, -2, 96) @ right.T  # sizes that fall as those of trained weights do

    def rest(a: Tensor, b: Tensor) -> float:
        return float((weight - 2.0 * b @ a).norm())

    whole = principal(weight, 8, 2.0)
    monkeypatch.setattr(lora_variants, "WHOLE", 32)
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(principal(weight, 8, 2.0))
    assert rest(*found[0]) == pytest.approx(rest(*whole), rel=1e-3) and rest(*whole) < 0.6 * float(
        weight.norm()
    )
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert not torch.equal(found[0][0], whole[0])


def test_more_components_than_there_are_is_refused(tiny_base: Path) -> None:
    with pytest.raises(UserError, match=r"pissa: .*k_proj has only 32 components; take a train\.lora\.rank"):
        add_adapter(base(tiny_base, PLAIN), LoraSettings(rank=40, alpha=40, init="pissa"), "frozen", 0)


def peft_dora(folder: Path, dropout: float) -> Loaded:
    """DoRA with peft's own modules."""
    from peft import LoraConfig, get_peft_model

    loaded = base(folder, PLAIN)
    torch.manual_seed(3)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        lora_alpha=6,
        lora_dropout=dropout,
        use_dora=True,
        target_modules="all-linear",
    )
    loaded.model = get_peft_model(loaded.model, config)
    return loaded


@of_peft
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_dora_computes_what_pefts_does(tiny_base: Path, dropout: float) -> None:
    """Outputs and gradients agree while factors and lengths are far from where they started."""
    ours, theirs = base(tiny_base, PLAIN), peft_dora(tiny_base, dropout)
    add_adapter(ours, lora_of("dora", dropout=dropout), "frozen", seed=3)
    found = []
    for loaded in (ours, theirs):
        generator = torch.Generator().manual_seed(1)
        for parameter in trainable_parameters(loaded).values():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
        loaded.model.train()
        torch.manual_seed(7)
        loss = loss_of(loaded)
        loss.backward()  # type: ignore[no-untyped-call]
        found.append(
            {name: p.grad for name, p in trainable_parameters(loaded).items()} | {"loss": loss.detach()}
        )
    assert found[0].keys() == found[1].keys() and len(found[0]) == 1 + 2 * 7 * 3
    for name, value in found[0].items():
        other = found[1][name]
        assert value is not None and other is not None and bool(value.any())
        assert torch.allclose(value, other, rtol=1e-3, atol=1e-5), name


def test_norms_that_were_kept_are_made_anew_when_weights_change(tiny_base: Path) -> None:
    loaded = base(tiny_base, PLAIN)
    add_adapter(loaded, lora_of("dora"), "frozen", seed=3)
    train(loaded)
    kept = [module for module in loaded.model.modules() if isinstance(module, Magnitudes)]
    first = run(loaded)
    assert len(kept) == 14 and all(module.known is not None for module in kept)
    assert torch.equal(run(loaded), first)
    with torch.no_grad():
        for name, parameter in trainable_parameters(loaded).items():
            if "lora_B" in name:
                parameter.mul_(3.0)
    second = run(loaded)
    loaded.model.eval()  # forgets
    assert torch.equal(run(loaded), second) and not torch.equal(second, first)
    # what scoring kept must not stand in the way of gradients
    loss_of(loaded).backward()  # type: ignore[no-untyped-call]
    loaded.model.train()
    assert all(module.known is None for module in kept)


@pytest.mark.parametrize("variant", ["dora", "pissa"])
@pytest.mark.parametrize("embeddings", ["frozen", "full"])
def test_new_pieces_go_with_it(tiny_base: Path, tmp_path: Path, variant: str, embeddings: Any) -> None:
    loaded = base(tiny_base, NF4)
    before = run(loaded)
    texts = ["नेपालको विद्यालयमा किताबहरू छन्।", "काठमाडौँ नेपालको राजधानी हो।"] * 12
    add_adapter(loaded, lora_of(variant), embeddings, 0)
    add_vocabulary(loaded, VocabularySettings(extend=12, min_count=2), texts, "npi_Deva", "eng_Latn")
    train(loaded)
    save_adapter(loaded, tmp_path / "adapter")
    again = base(tiny_base, NF4)
    load_adapter(again, tmp_path / "adapter")
    assert torch.equal(run(again), run(loaded)) and again.vocabulary_rows > 400
    with again.base_only():
        assert torch.equal(run(again), before)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of torch's own tracing
@pytest.mark.parametrize("variant", ["dora", "pissa"])
def test_parts_of_layers_compile(tiny_base: Path, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as one graph each; the compiler behind it is left out, for it takes a minute."""
    loaded = base(tiny_base, NF4)
    add_adapter(loaded, lora_of(variant), "frozen", 0)
    keep_input_dtype(loaded)
    loaded.model.train()
    expected = loss_of(loaded)
    plain = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda module, **more: plain(module, backend="eager", fullgraph=True, **more)
    )
    compile_layers(loaded)
    assert torch.equal(loss_of(loaded), expected)
