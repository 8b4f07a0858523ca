"""Fixtures: tiny real models and the real data where it stands."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from anukul.config import ModelSettings
from small_disk import SmallDisk, small_disk_at

TEXTS = [
    "Ram eats rice in the village. Sita went to school and read a book.",
    "The farmer planted maize. Do you drink tea? The children play near the river.",
    "रामले गाउँमा भात खायो। सीता विद्यालय गई र किताब पढी।",
    "किसानले मकै रोप्यो। के तपाईं चिया पिउनुहुन्छ? केटाकेटीहरू खोलामा खेल्छन्।",
] * 4


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real third-party data, named by ANUKUL_REAL_DATA."""
    folder = os.environ.get("ANUKUL_REAL_DATA")
    if not folder:
        pytest.skip("ANUKUL_REAL_DATA is not set")
    return Path(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk that can be filled."""
    with small_disk_at(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama (2 layers, 4 heads, GQA, tied) with a byte-level BPE tokenizer, as a Hugging Face folder."""
    from anukul.model.build import build_llama, save_base, train_tokenizer

    folder = tmp_path_factory.mktemp("tiny-base")
    tokenizer = train_tokenizer(TEXTS, 400)
    model = build_llama(
        len(tokenizer), hidden=64, layers=2, heads=4, key_value_heads=2, seed=1, max_positions=512
    )
    save_base(model, tokenizer, folder)
    return folder


@pytest.fixture
def tiny_settings(tiny_base: Path) -> ModelSettings:
    """Model settings for `tiny_base` in fp32 without quantisation."""
    return ModelSettings(path=str(tiny_base), quantization="none", compute_dtype="float32")
