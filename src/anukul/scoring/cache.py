"""Scores on disk, appended forward by forward, so that a killed evaluation goes on where it stood.

The unit is one forward, keyed by the model, the adapter's state and the exact token ids of all its requests: which
requests share a forward decides the low-order bits of their scores, so no other forward may reuse them.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from anukul.scoring.trie import Request

Score = tuple[float, bool]  # log-likelihood in nats, whether greedy decoding gives the continuation


class ScoreCache:
    """A text file with one line for each forward; a line torn by a crash is dropped when the file is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: dict[str, list[Score]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._read()

    def __len__(self) -> int:
        """Forwards held."""
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

    def get(self, key: str) -> list[Score] | None:
        """Return the scores of a forward, or None."""
        return self._held.get(key)

    def put(self, key: str, scores: list[Score]) -> None:
        """Append the scores of a forward."""
        self._held[key] = scores
        fields = [
            key,
            str(len(scores)),
            *(f"{value.hex()}{'+' if greedy else '-'}" for value, greedy in scores),
        ]
        with self.path.open("ab") as file:
            file.write((" ".join(fields) + "\n").encode("ascii"))


def forward_key(model: str, requests: Sequence[Request]) -> str:
    """Digest of a model's name and the token ids of the requests of one forward, in their order."""
    hashed = hashlib.sha256(model.encode())
    for request in requests:
        hashed.update(f"{request.context}>{request.continuation}".encode("ascii"))
    return hashed.hexdigest()


def _parse(line: bytes) -> tuple[str, list[Score]] | None:
    """Return key and scores of a line, None where the line is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        key, count, *fields = line.decode("ascii").split()
        scores = [(float.fromhex(field[:-1]), field[-1] == "+") for field in fields]
        return (key, scores) if len(scores) == int(count) else None
    except ValueError:
        return None
