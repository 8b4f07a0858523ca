"""Every log-likelihood and accuracy equals lm-eval's HFLM in fp32: real tasks, a real model and a large random one."""

import os
from pathlib import Path
from typing import Any

import pytest

from anukul.config import ModelSettings, TaskSettings
from anukul.evaluate.tasks.run import Variant, score_variants, variants_of
from anukul.items.load import load_task
from anukul.model.base import load_base
from anukul.model.build import build_llama, save_base
from anukul.model.loaded import Loaded
from anukul.records import Item
from anukul.scoring.harness import AnukulLM
from anukul.scoring.scorer import Scorer

PATHS = {
    "arc-easy": "llm-foundry/arc_easy.jsonl",
    "piqa": "llm-foundry/piqa.jsonl",
    "winogrande": "llm-foundry/winogrande.jsonl",
    "copa": "llm-foundry/copa.jsonl",
    "lambada": "llm-foundry/lambada_first1000.jsonl",
    "hellaswag": "hellaswag/hellaswag_val_first2000.txt",
}
SHOTS = (0, 5)


def held(real_data: Path, items: int) -> list[Variant]:
    return [
        variant
        for name, path in PATHS.items()
        for variant in variants_of(
            load_task(
                TaskSettings(
                    name=name, path=str(real_data / "bench" / path), language="eng_Latn", limit=items
                )
            ),
            SHOTS,
            (0,),
        )
    ]


def by_hflm(loaded: Loaded, variants: list[Variant]) -> list[Item]:
    from lm_eval.models.huggingface import HFLM

    lm: Any = HFLM(pretrained=loaded.causal_lm, tokenizer=loaded.tokenizer, batch_size=8, device="cpu")
    return score_variants(lm, variants, "base")


def compare(loaded: Loaded, variants: list[Variant], budget: int) -> None:
    lm = AnukulLM(Scorer(loaded, budget))
    found = score_variants(lm, variants, "base")
    expected = by_hflm(loaded, variants)
    assert len(found) == len(expected) == sum(len(variant.task.items) for variant in variants)
    texts = [variant.pairs(index) for variant in variants for index in range(len(variant.task.items))]
    for ours, theirs, pairs in zip(found, expected, texts, strict=True):
        assert (ours.task, ours.shots, ours.item) == (theirs.task, theirs.shots, theirs.item)
        for value, wanted, (_, continuation) in zip(
            ours.loglikelihoods, theirs.loglikelihoods, pairs, strict=True
        ):
            tokens = len(loaded.tokenizer.encode(continuation, add_special_tokens=False))
            assert abs(value - wanted) <= 1e-4 * tokens, (ours.task, ours.shots, ours.item)
        assert (ours.correct, ours.prediction) == (theirs.correct, theirs.prediction)


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("budget", [64, 4096])
def test_a_real_model_equals_hflm(real_data: Path, budget: int) -> None:
    settings = ModelSettings(
        path=str(real_data / "model" / "stories260K"), quantization="none", compute_dtype="float32"
    )
    loaded = load_base(settings)
    variants = held(real_data, 12)
    longest = max(
        len(loaded.tokenizer.encode("".join(pair)))
        for variant in variants
        for index in range(len(variant.task.items))
        for pair in variant.pairs(index)
    )
    assert longest > loaded.max_positions  # contexts longer than the window are among them
    compare(loaded, variants, budget)


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
def test_a_large_random_model_equals_hflm(real_data: Path, tmp_path: Path) -> None:
    """58 M parameters, grouped key heads, an output embedding of its own; ANUKUL_PARITY_ITEMS sets the items."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(real_data / "model" / "stories260K"))
    model = build_llama(32_000, 528, 8, 12, seed=3, key_value_heads=4, max_positions=1024, tied=False)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == 58
    save_base(model, tokenizer, tmp_path / "base")
    settings = ModelSettings(path=str(tmp_path / "base"), quantization="none", compute_dtype="float32")
    compare(load_base(settings), held(real_data, int(os.environ.get("ANUKUL_PARITY_ITEMS", "1"))), 4096)
