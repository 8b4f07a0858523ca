"""What a process of training holds before it holds a model or data: interpreter, libraries, their kernels.

`python -m anukul.plan.process JSON` (the fields of `Asked`) trains next to nothing in a new process, by the code of
every run, and prints the most memory that this took, up to its first step and in the end. Rows of the stage are read
before: they leave traces.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from anukul.errors import UserError

WORDS = [
    *("Ram", "eats", "rice", "in", "the", "village", "Sita", "went", "to", "school"),
    *("रामले", "गाउँमा", "भात", "खायो", "सीता", "विद्यालय", "गई"),
]
# of many lengths, so that as many kernels are made, one for each shape, as a run keeps
LINES = [" ".join((WORDS * 6)[start % 17 :][: 1 + start * 37 % 83]) for start in range(200)]


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a run decides how much its process holds."""

    tokenizer: str | None  # the folder of the base's tokenizer, which may be large by itself
    root: str  # the run folder
    stage: dict[str, Any]  # whose rows are read, where they stand there
    languages: tuple[str, str]  # the language and the base's
    questions: bool  # the ledger asks questions, for which lm-eval is loaded
    compute_dtype: str
    quantization: str


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that a process of training holds by itself at its peak."""

    early: float  # up to its first step
    later: float  # when it has made kernels of as many shapes as it keeps


def start(asked: Asked) -> "subprocess.Popen[str]":
    """Start the process; `finish` waits for it."""
    command = [sys.executable, "-m", "anukul.plan.process", json.dumps(asdict(asked))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> Held:
    """Return what it held; raise UserError where it failed."""
    out, errors = process.communicate()
    if process.returncode:
        reason = (errors.strip().splitlines() or ["no word"])[-1]
        raise UserError(f"plan: a process of training could not be tried: {reason}")
    early, later = map(float, out.split())
    return Held(early, later)


def _read_rows(asked: Asked) -> Any:
    """Tokenise a sample of the stage's rows and forget them; return the tokenizer, which a run holds."""
    import gc

    import torch

    from anukul.config import ModelSettings, Stage
    from anukul.model.base import load_tokenizer
    from anukul.plan.rows import sample_stage
    from anukul.train.formats import Formatter
    from anukul.train.heap import Heap, keep_little

    keep_little()
    if asked.tokenizer is None:
        return None
    tokenizer = load_tokenizer(ModelSettings(path=asked.tokenizer))
    tokenizer(LINES)
    formatter = Formatter(tokenizer, 0, *asked.languages)
    sample_stage(Path(asked.root), Stage.model_validate(asked.stage), formatter)
    gc.collect()
    Heap(torch.device("cpu")).give_back(now=True)
    return tokenizer


def _train_next_to_nothing(asked: Asked, root: Path) -> float | None:
    """Return the peak at the first step, in GiB."""
    from anukul.config import RunConfig
    from anukul.model.build import build_llama, save_base, train_tokenizer
    from anukul.records import Document, write_rows
    from anukul.train.metrics import lines_until
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
        "context": 512,
        "batch_tokens": 1024,
        "replay_share": 0.0,
    }
    config = RunConfig.model_validate({"name": "n", "language": "npi_Deva", "model": model, "train": train})
    if asked.questions:
        import_module("anukul.scoring.harness")
    run_stage(config, root, 0)
    early: float | None = lines_until(root / "train" / "nothing" / "metrics.jsonl", 1)[0]["memory_gib"]
    return early


def main() -> None:
    """Do what the module says."""
    from anukul import progress

    progress.mute()
    asked = Asked(**json.loads(sys.argv[1]))
    held = _read_rows(asked)
    with tempfile.TemporaryDirectory() as folder:
        early = _train_next_to_nothing(asked, Path(folder))
    del held
    import torch

    from anukul.train.gauge import peak_memory

    later = peak_memory(torch.device("cpu"))
    if early is None or later is None:
        raise SystemExit("this system does not say how much memory a process takes")
    print(round(early * 2**30), round(later * 2**30))


if __name__ == "__main__":
    main()
