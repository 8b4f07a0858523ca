"""What the tests of export share: the texts and settings of a small run."""

import json
from pathlib import Path
from typing import Any

from anukul.config import RunConfig
from anukul.pipeline import run_steps
from anukul.records import Document, write_rows
from anukul.rundir import StepFolder, StepKey

NEPALI = [
    "रामले गाउँमा भात खायो।",
    "सीता विद्यालय गई र किताब पढी।",
    "किसानले मकै रोप्यो।",
    "के तपाईं चिया पिउनुहुन्छ?",
    "केटाकेटीहरू खोलामा खेल्छन्।",
]
HELD = ["सीताले मकै खाई।", "राम खोलामा गयो र चिया पियो।", "Ram read a book in 2024.", "किसान गाउँ गए।"]


def config_of(base: Path, folder: Path, **more: Any) -> RunConfig:
    """Settings that train one short stage and hold out some lines."""
    held = folder / "held.txt"
    held.write_text("\n".join(HELD) + "\n", encoding="utf-8")
    return RunConfig.model_validate(
        {
            "name": "small",
            "language": "npi_Deva",
            "model": {"path": str(base), "quantization": "nf4"},
            "corpus": {"inputs": [{"path": str(held), "source": "made up", "license": "CC0-1.0"}]},
            "train": {
                "stages": [{"name": "text", "format": "text", "max_steps": 12, "epochs": 12}],
                "lora": {"rank": 4, "alpha": 8},
                "embeddings": "full",
                "context": 128,
                "batch_tokens": 128,
                "learning_rate": 1e-2,
                "embedding_learning_rate": 1e-2,
                "replay_share": 0.0,
            },
            "evaluate": {"bits_per_byte": [{"name": "held", "path": str(held), "language": "npi_Deva"}]},
            **more,
        }
    )


def train(config: RunConfig, root: Path) -> None:
    """Train the config's stage in a run folder, on documents put there as the corpus step would."""
    documents = [Document(f"d{i}", NEPALI[i % 5], "npi_Deva", "made up", "CC0-1.0", []) for i in range(40)]
    corpus = StepFolder(root, "corpus")
    key = StepKey({}, {})
    corpus.start(key)
    write_rows(corpus.path / "documents.parquet", documents, Document)
    (corpus.path / "stats.json").write_text(json.dumps({}))
    corpus.finish(key, ["documents.parquet"], {"documents": len(documents)}, 0.0)
    run_steps(config, "name: small\n", root, ("train",))
