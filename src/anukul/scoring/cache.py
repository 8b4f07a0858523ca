"""Finished batches on disk, appended one by one, so that a killed evaluation goes on where it stood.

The unit is what was forwarded together (a wave of tries, a batch of prompts), keyed by the model, the adapter and the
exact token ids of all of it: what shares a forward decides the low-order bits of its results, so no other batch may
reuse them.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anukul.scoring.trie import Request

Score = tuple[float, bool]  # log-likelihood in nats, whether greedy decoding gives the continuation


class BatchCache:
    """A JSONL file with one line for each batch; a line torn by a crash is dropped when the file is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: dict[str, list[tuple[Any, ...]]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._read()

    def __len__(self) -> int:
        """Batches held."""
        return len(self._held)

    def _read(self) -> None:
        good = 0
        with self.path.open("rb") as file:
            for line in file:
                parsed = _parse(line)
                if parsed is None:
                    break
                self._held[parsed[0]] = parsed[1]
                good += len(line)
        if good < self.path.stat().st_size:
            os.truncate(self.path, good)

    def get(self, key: str) -> list[tuple[Any, ...]] | None:
        """Return the rows of a batch, or None."""
        return self._held.get(key)

    def put(self, key: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Append the rows of a batch: texts, numbers and truth values, floats kept to the last bit."""
        self._held[key] = list(rows)
        with self.path.open("ab") as file:
            file.write((json.dumps([key, self._held[key]]) + "\n").encode("ascii"))


def wave_key(model: str, trees: Sequence[Sequence[Request]]) -> str:
    """Digest of a model's name and the token ids of the requests of one wave, tree by tree, in their order."""
    hashed = hashlib.sha256(model.encode())
    for tree in trees:
        for request in tree:
            hashed.update(f"{request.context}>{request.continuation}".encode("ascii"))
        hashed.update(b"|")
    return hashed.hexdigest()


def batch_key(model: str, prompts: Sequence[Sequence[int]], limit: int, stop: Sequence[str]) -> str:
    """Digest of a model's name, the token ids of a batch in its order, the token limit and the stop strings."""
    hashed = hashlib.sha256(json.dumps([model, limit, list(stop)]).encode())
    for prompt in prompts:
        hashed.update((" ".join(map(str, prompt)) + ";").encode("ascii"))
    return hashed.hexdigest()


def _parse(line: bytes) -> tuple[str, list[tuple[Any, ...]]] | None:
    """Return key and rows of a line, None where the line is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        key, rows = json.loads(line)
        return (key, [tuple(row) for row in rows]) if isinstance(key, str) else None
    except (ValueError, TypeError):
        return None
