"""Peak memory that `anukul plan` predicts for training on a CPU, against what the run's own process then held.

Each case is a random Llama, trained in a process of its own by `anukul train`'s own code on made-up pairs. What was
measured is VmHWM at the end, the most resident memory of the whole process.

    python benchmarks/plan_memory.py            # all cases, some half an hour on 2 cores
    python benchmarks/plan_memory.py 20m 58m    # some of them
"""

import json
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STEPS = 40  # with fewer, fewer kernels are kept than a run keeps
NEPALI = ["राम", "भात", "खान्छ", "सीता", "विद्यालय", "गई", "किसानले", "मकै", "रोप्यो", "तपाईं", "चिया", "खेल्छन्"]
ENGLISH = [
    "Ram",
    "eats",
    "rice",
    "in",
    "the",
    "village",
    "Sita",
    "went",
    "to",
    "school",
    "and",
    "read",
    "a",
    "book",
]
TRAIN = """
import json, sys
from pathlib import Path
from anukul import cli, pipeline, progress
from anukul.config import RunConfig
from anukul.train.step import run_stage
progress.mute()
run_stage(RunConfig.model_validate(json.loads(sys.argv[1])), Path(sys.argv[2]), 0)
status = Path("/proc/self/status").read_text()
print(*(int(status.split(name + ":")[1].split()[0]) * 1024 for name in ("VmHWM", "VmRSS", "RssFile")))
"""


@dataclass(frozen=True)
class Case:
    """A base and how it is trained."""

    hidden: int
    layers: int
    heads: int
    vocabulary: int
    tied: bool = False
    rank: int = 16
    context: int = 256
    micro: int = 1  # rows in one forward
    batch: int = 2  # rows in one step
    words: tuple[int, int] = (10, 40)  # of a sentence
    rows: int = 400
    dtype: str = "float32"  # of the base's files
    train: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)


CASES = {
    "tiny": Case(160, 3, 5, 3072, True, 64, 256, 8, 8, train={"embeddings": "full"}),
    "20m": Case(384, 8, 6, 8_000, False, 16, 512, 4, 8),
    "20m-long": Case(384, 8, 6, 8_000, False, 64, 2048, 2, 2, words=(300, 800), rows=60),
    "58m": Case(512, 8, 8, 32_000, False, 32, 256, 8, 16),
    "58m-r128": Case(512, 8, 8, 32_000, False, 128, 1024, 4, 4, words=(60, 200), rows=200),
    "58m-full": Case(512, 8, 8, 32_000, True, 32, 512, 4, 8, train={"embeddings": "full"}),
    "58m-recomputed": Case(512, 8, 8, 32_000, False, 32, 512, 8, 8, train={"activation_checkpointing": "full"}),
    "58m-unquantised": Case(512, 8, 8, 32_000, False, 16, 256, 8, 8, model={"quantization": "none"}),
    "110m": Case(768, 12, 12, 32_000, True, 16, 512, 2, 4, dtype="bfloat16"),
    "110m-r64": Case(768, 12, 12, 32_000, True, 64, 512, 8, 8),
    "rows": Case(160, 3, 5, 3072, True, 16, 256, 4, 4, rows=60_000),
}  # fmt: skip


def make(case: Case, folder: Path) -> dict[str, Any]:
    """Write base and pairs of a case; return its config."""
    import torch

    from anukul.model.build import build_llama, save_base, train_tokenizer
    from anukul.records import Pair, write_rows

    draw = random.Random(0)
    texts = [
        [" ".join(draw.choices(words, k=draw.randint(*case.words))) for _ in range(case.rows)]
        for words in (NEPALI, ENGLISH)
    ]
    tokenizer = train_tokenizer([text for side in texts for text in side[:2000]], 400, 4096)
    base = build_llama(
        case.vocabulary, case.hidden, case.layers, case.heads, 0, max_positions=4096, tied=case.tied
    )
    save_base(base.to(getattr(torch, case.dtype)), tokenizer, folder / "base")
    pairs = [
        Pair(str(i), "", english, nepali, "eng_Latn", "npi_Deva", "organic", "", "", "")
        for i, (nepali, english) in enumerate(zip(*texts, strict=True))
    ]
    write_rows(folder / "run" / "synth" / "pairs.parquet", pairs, Pair)
    train = {
        "stages": [{"name": "one", "format": "translation", "epochs": 50, "max_steps": STEPS}],
        "lora": {"rank": case.rank},
        "context": case.context,
        "micro_batch_tokens": case.context * case.micro,
        "batch_tokens": case.context * case.batch,
        "replay_share": 0.0,
        **case.train,
    }
    model = {"path": str(folder / "base"), **case.model}
    return {"name": "case", "language": "npi_Deva", "model": model, "train": train}


def measure(config: dict[str, Any], folder: Path) -> list[int]:
    """Train in a process of its own; return its peak, and what it held at its end: all, and of files."""
    command = [sys.executable, "-c", TRAIN, json.dumps(config), str(folder / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def main() -> None:
    """Print a line for each case."""
    from anukul.config import RunConfig
    from anukul.plan.printed import cpu_needs, gather

    print("| case | process | weights | trained | working | data | predicted MiB | measured MiB | off |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            given = make(CASES[name], folder)
            config = RunConfig.model_validate(given)
            found = gather(config, folder / "run")
            [need] = cpu_needs(found, found.costs)
            parts = (need.process, need.weights, need.trained, need.working, need.data, need.total)
            peak, held, files = measure(given, folder)
            cells = [f"{part / 2**20:,.0f}" for part in (*parts, peak)]
            print(f"| {name} | {' | '.join(cells)} | {need.total / peak - 1:+.1%} |", need.what, end=" ")
            print(f"at its end {held / 2**20:,.0f}, of files {files / 2**20:,.0f}", flush=True)


if __name__ == "__main__":
    main()
