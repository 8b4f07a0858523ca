"""What a process of training holds before it holds a model or data: interpreter, libraries, their kernels.

`python -m anukul.plan.process JSON` (the fields of `Asked`) trains next to nothing in a new process, by the code of
every run, and prints the most memory that this took.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from anukul.errors import UserError

LINES = [
    "Ram eats rice in the village. Sita went to school and read a book.",
    "रामले गाउँमा भात खायो। सीता विद्यालय गई र किताब पढी।",
] * 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a run decides how much its process holds."""

    tokenizer: str | None  # the folder of the base's tokenizer, which may be large by itself
    questions: bool  # the ledger asks questions, for which lm-eval is loaded
    compute_dtype: str
    quantization: str


def start(asked: Asked) -> "subprocess.Popen[str]":
    """Start the process; `finish` waits for it."""
    command = [sys.executable, "-m", "anukul.plan.process", json.dumps(asdict(asked))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> int:
    """Return the bytes that it held at its peak; raise UserError where it failed."""
    out, errors = process.communicate()
    if process.returncode:
        reason = (errors.strip().splitlines() or ["no word"])[-1]
        raise UserError(f"plan: a process of training could not be tried: {reason}")
    return int(out)


def _train_next_to_nothing(asked: Asked, root: Path) -> None:
    from anukul.config import RunConfig
    from anukul.model.base import load_tokenizer
    from anukul.model.build import build_llama, save_base, train_tokenizer
    from anukul.records import Document, write_rows
    from anukul.train.step import run_stage

    for loaded_by_every_command in ("anukul.cli", "anukul.pipeline"):
        import_module(loaded_by_every_command)
    tokenizer = train_tokenizer(LINES, 300)
    save_base(build_llama(len(tokenizer), 64, 1, 2, seed=0), tokenizer, root / "base")
    rows = [Document(str(i), text, "npi_Deva", "", "", []) for i, text in enumerate(LINES)]
    write_rows(root / "corpus" / "documents.parquet", rows, Document)
    model = {
        "path": str(root / "base"),
        "quantization": asked.quantization,
        "compute_dtype": asked.compute_dtype,
    }
    train = {
        "stages": [{"name": "nothing", "format": "text"}],
        "lora": {"rank": 2},
        "context": 128,
        "batch_tokens": 256,
        "replay_share": 0.0,
    }
    config = RunConfig.model_validate({"name": "n", "language": "npi_Deva", "model": model, "train": train})
    run_stage(config, root, 0)
    if asked.questions:
        import_module("anukul.scoring.harness")
    if asked.tokenizer:
        held = load_tokenizer(config.model.model_copy(update={"tokenizer": asked.tokenizer}))
        held(LINES)


def main() -> None:
    """Do what the module says."""
    from anukul import progress

    progress.mute()
    with tempfile.TemporaryDirectory() as folder:
        _train_next_to_nothing(Asked(**json.loads(sys.argv[1])), Path(folder))
    import torch

    from anukul.train.gauge import peak_memory

    peak = peak_memory(torch.device("cpu"))
    if peak is None:
        raise SystemExit("this system does not say how much memory a process takes")
    print(round(peak * 2**30))


if __name__ == "__main__":
    main()
