"""A small run folder and small stages for the tests of training, on a real tiny Llama."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anukul.config import LoraSettings, ModelSettings, RunConfig, Stage, TrainSettings
from anukul.model.adapter import add_adapter
from anukul.model.base import load_base
from anukul.model.loaded import Loaded
from anukul.records import Document, Instruction, Pair, write_rows
from anukul.train.formats import Example, Formatter, Segment
from anukul.train.plan import StagePlan

ENGLISH = ["Ram eats rice.", "Sita went to school.", "The farmer planted maize.", "Do you drink tea?"]
NEPALI = ["रामले भात खान्छ।", "सीता विद्यालय गई।", "किसानले मकै रोप्यो।", "के तपाईं चिया पिउनुहुन्छ?"]


def pair(index: int, sentences: int = 1) -> Pair:
    chosen = [(index + i) % 4 for i in range(sentences)]
    english, nepali = (" ".join(side[i] for i in chosen) for side in (ENGLISH, NEPALI))
    return Pair(
        f"p{index}", f"d{index}", english, nepali, "eng_Latn", "npi_Deva", "synthetic", "", "t", "CC0"
    )


def document(index: int, text: str, language: str) -> Document:
    return Document(f"d{index}", text, language, "t", "CC0", [])


def make_run(root: Path, base: Path, **train: Any) -> RunConfig:
    """A run folder with the files of corpus and synth, and its config; `train` overrides settings of training."""
    write_rows(root / "synth/pairs.parquet", [pair(i, 2) for i in range(24)], Pair)
    instructions = [Instruction(f"i{i}", NEPALI[i % 4], "", "हो", "npi_Deva", "t", "CC0") for i in range(24)]
    write_rows(root / "synth/instructions.parquet", instructions, Instruction)
    write_rows(
        root / "corpus/documents.parquet",
        [document(i, NEPALI[i % 4], "npi_Deva") for i in range(30)],
        Document,
    )
    write_rows(
        root / "corpus/replay.parquet", [document(i, ENGLISH[i % 4], "eng_Latn") for i in range(9)], Document
    )
    settings: dict[str, Any] = {
        "stages": [
            {"name": "translation", "format": "translation"},
            {"name": "bilingual", "format": "bilingual", "epochs": 1.5},
            {"name": "instruct", "format": "instruct"},
        ],
        "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
        "embeddings": "full",
        "context": 256,
        "batch_tokens": 256,
        "learning_rate": 1e-2,
        "checkpoint_steps": 2,
        "log_steps": 1,
    }
    return RunConfig.model_validate(
        {
            "name": "t",
            "language": "npi_Deva",
            "model": {"path": str(base), "quantization": "nf4"},
            "train": {**settings, **train},
        }
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def with_adapter(settings: ModelSettings, dropout: float = 0.0, embeddings: str = "full") -> Loaded:
    """The tiny base with a new adapter."""
    loaded = load_base(settings)
    add_adapter(loaded, LoraSettings(rank=4, alpha=8, dropout=dropout), embeddings, 0)  # type: ignore[arg-type]
    return loaded


def texts(loaded: Loaded, written: Sequence[str]) -> list[Example]:
    formatter = Formatter(loaded.tokenizer, loaded.prefix_id, "npi_Deva", "eng_Latn")
    return formatter.encode([[Segment(text, True)] for text in written])


def one_a_step(examples: list[Example], order: Sequence[int]) -> StagePlan:
    """A plan whose steps each train on one example."""
    return StagePlan(examples, [[index] for index in order], 1, 0)


def settings_of(**more: Any) -> TrainSettings:
    """Settings for plans of one short row a step."""
    given: dict[str, Any] = {
        "stages": (Stage(name="s", format="text"),),
        "context": 64,
        "batch_tokens": 64,
        "replay_share": 0.0,
        "learning_rate": 1e-2,
        "warmup_share": 0.0,
        "embeddings": "full",
        "log_steps": 1,
    }
    return TrainSettings(**{**given, **more})


def random_example(seed: int, length: int) -> Example:
    """Tokens drawn at random: nothing that training on text prepares for."""
    ids = np.random.default_rng(seed).integers(3, 300, length).astype(np.int32)
    return Example(ids, np.arange(length) > 0)
