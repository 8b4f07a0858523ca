"""How many tokens a scoring forward holds: found by trial on a GPU, where memory and speed depend on the card."""

import time
from pathlib import Path

import numpy as np
import torch

from anukul import progress
from anukul.errors import UserError
from anukul.model.loaded import Loaded
from anukul.model.trie_attention import trie_attention
from anukul.rundir import write_atomic
from anukul.scoring.trie import Request, build_tree
from anukul.scoring.walk import score_wave

ON_CPU = 4096
TRIED = (4096, 8192, 16_384, 32_768, 65_536)
FASTER = 1.05  # a larger budget must pay by so much


def token_budget(loaded: Loaded) -> int:
    """Return the number of tokens for one forward on the model's device."""
    return ON_CPU if loaded.device.type == "cpu" else try_budgets(loaded, TRIED)


def kept_budget(loaded: Loaded, path: Path) -> int:
    """The budget that `path` holds, else found now and kept there: it decides what shares a forward."""
    if not path.exists():
        write_atomic(path, f"{token_budget(loaded)}\n")
    return int(path.read_text(encoding="ascii"))


@torch.inference_mode()
def try_budgets(loaded: Loaded, sizes: tuple[int, ...]) -> int:
    """Score random texts in forwards of each size; return the size at which speed or memory ends."""
    best, speed = sizes[0], 0.0
    with loaded.autocast():
        for size in sizes:
            try:
                with trie_attention(loaded):
                    _forward(loaded, size)  # the first of a shape may compile
                    started = time.perf_counter()
                    _forward(loaded, size)
                found = size / (time.perf_counter() - started)
            except UserError:  # attention that follows no trie: scored padded, in forwards of the first size
                break
            except RuntimeError as error:
                if (
                    not isinstance(error, torch.OutOfMemoryError)
                    and "out of memory" not in str(error).lower()
                ):
                    raise
                break
            if found < speed * FASTER:
                break
            best, speed = size, found
    progress.say(f"  scoring: {best:,} tokens in a forward, found by trial")
    return best


def _forward(loaded: Loaded, size: int) -> None:
    """One forward of `size` tokens: texts side by side that share nothing."""
    length = min(256, loaded.max_positions)
    generator = np.random.default_rng(0)
    vocabulary = loaded.vocabulary_rows
    rows = generator.integers(0, vocabulary, (max(1, size // length), length + 1)).tolist()
    requests = [Request(tuple(row[:-8]), tuple(row[-8:])) for row in rows]
    trees = [build_tree(requests, [index], loaded.max_positions) for index in range(len(requests))]
    score_wave(loaded, trees, length)
    if loaded.device.type == "cuda":
        torch.cuda.synchronize()
