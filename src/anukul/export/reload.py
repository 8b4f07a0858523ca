"""Load an export again in a process of its own and measure it: `python -m anukul.export.reload FOLDER`.

The folder holds task.json and what `measure.keep` wrote; answer.json is written beside them. A fresh process sees what
a user will see: what stands in the files, and nothing that was in memory when they were made.
"""

import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anukul.config import ModelSettings
from anukul.errors import UserError
from anukul.rundir import read_json, write_json

KEPT = "kept.npy"


@dataclass(frozen=True, slots=True)
class Task:
    """What to load: a base or merged model, an adapter on it, or a GGUF file in the folder of the model."""

    model: ModelSettings
    adapter: str | None = None
    gguf: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was measured of it; the distance is None where the vocabulary has another size."""

    bits_per_byte: list[float]
    distance: dict[str, float] | None
    cut_differently: int  # texts that its tokenizer cuts into other tokens
    example: str  # the first of them
    notes: list[str]
    farthest: str = ""  # of a GGUF file: the tensor that differs most from the merged model's
    farthest_error: float = 0.0  # as a share of its norm


def reload(work: Path, task: Task, texts: list[dict[str, Any]]) -> Answer:
    """Measure `task` in a fresh process, offline; raise UserError where it cannot be loaded."""
    write_json(
        work / "task.json",
        {
            "model": task.model.model_dump(mode="json"),
            "adapter": task.adapter,
            "gguf": task.gguf,
            "texts": texts,
        },
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "anukul.export.reload", str(work)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit code {done.returncode}"
        raise UserError(f"export: what was written cannot be loaded again in a fresh process: {reason}")
    return Answer(**read_json(work / "answer.json"))


def answer(work: Path) -> Answer:
    """Load what task.json names and measure it."""
    from anukul.export.measure import Encoded, compare
    from anukul.model.adapter import load_adapter
    from anukul.model.base import load_base
    from anukul.model.gguf_reader import farthest_weight, load_gguf

    task = read_json(work / "task.json")
    settings = ModelSettings(**task["model"])
    notes: list[str] = []
    farthest, error = "", 0.0
    if task["gguf"]:
        loaded, notes = load_gguf(Path(settings.path), Path(task["gguf"]))
        farthest, error = farthest_weight(loaded, Path(settings.path))
    else:
        loaded = load_base(settings)
        if task["adapter"]:
            load_adapter(loaded, Path(task["adapter"]))
    texts = [Encoded(**text) for text in task["texts"]]
    differing = [
        text
        for text in texts
        if loaded.tokenizer.encode(text.text, add_special_tokens=False) != text.ids[1:]
        or loaded.prefix_id != text.ids[0]
    ]
    # measured on the same ids, so that a tokenizer that differs does not hide what the weights do
    bits, distance = compare(loaded, texts, work / KEPT)
    example = differing[0].text[:80] if differing else ""
    distances = asdict(distance) if distance else None
    return Answer(bits, distances, len(differing), example, notes, farthest, error)


def main() -> None:
    """Answer the task of the folder named on the command line."""
    work = Path(sys.argv[1])
    try:
        found = answer(work)
    except UserError as error:
        sys.exit(str(error))
    write_json(work / "answer.json", asdict(found))


if __name__ == "__main__":
    main()
