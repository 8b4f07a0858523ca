"""The run folder: atomic writes, and the decision to skip, resume or refuse a step.

A step writes `started.json` first and `done.json` last. Both hold the digest of the settings and of the inputs
that decide its result, so that stale output is never served and never mixed with new.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from anukul.digests import hash_path
from anukul.errors import UserError

SCHEMA = 1


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that it is either whole or absent."""
    with atomic_file(path) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `path` when the block ends well: temporary name, fsync, rename, fsync."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # on a full disk it would be in the way
        raise
    sync_folder(path.parent)


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, keys in the order given, NaN refused."""
    write_atomic(path, json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `path` when the block ends well, and is deleted when not."""
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # on a full disk it would be in the way
        raise
    for file in temporary.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    if path.exists():
        shutil.rmtree(path)
    temporary.replace(path)
    sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Delete a folder at once: half deleted, by a kill, it would look like one that holds less."""
    trash = path.with_name(f".{path.name}.discarded")
    if path.exists():
        shutil.rmtree(trash, ignore_errors=True)
        path.replace(trash)
    if trash.exists():
        shutil.rmtree(trash)


def sync_folder(path: Path) -> None:
    """Make sure that the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class StepKey:
    """What decides a step's result: plain settings, and a digest for each named input."""

    settings: dict[str, Any]
    inputs: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the key as it stands in started.json and done.json."""
        return {"schema": SCHEMA, "settings": self.settings, "inputs": self.inputs}


def changed_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Return one line for each leaf that differs between two nested values."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in [*old, *(key for key in new if key not in old)]:
            lines += changed_keys(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else str(key))
        return lines
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        lines = []
        for index, (left, right) in enumerate(zip(old, new, strict=True)):
            lines += changed_keys(left, right, f"{prefix}.{index}")
        return lines
    if old == new:
        return []
    return [f"{prefix}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


class StaleStepError(UserError):
    """A step's output was made with other settings or inputs than those asked for now."""

    def __init__(self, folder: Path, step: str, changes: list[str]) -> None:
        self.folder = folder
        self.step = step
        self.changes = changes
        super().__init__(self.said(f"--redo {step.partition('/')[0]}"))

    def said(self, redo: str) -> str:
        """Return the message, with the option that makes the step again."""
        shown = "; ".join(self.changes[:8]) + ("; …" if len(self.changes) > 8 else "")
        return (
            f"{self.folder}: step '{self.step}' was made with other settings or inputs: {shown}. "
            f"Redo it with {redo}, or use another --run folder"
        )


KEPT = (
    "verdicts.jsonl",
    "cache/verdicts.jsonl",
)  # answers of the judge: each holds the hash of the texts it is about


class StepFolder:
    """One step's folder inside a run folder."""

    def __init__(self, root: Path, step: str) -> None:
        self.root = root
        self.step = step
        self.path = root / step

    def state(self, key: StepKey) -> Literal["done", "partial", "absent"]:
        """Say whether the step's output stands, is half made, or is not there; raise StaleStepError if it differs."""
        wanted = json.loads(json.dumps(key.as_json(), default=str))
        for name in ("done.json", "started.json"):
            marker = self.path / name
            if marker.exists():
                found = read_json(marker)
                changes = changed_keys({k: found.get(k) for k in wanted}, wanted)
                if changes:
                    raise StaleStepError(self.root, self.step, changes)
                return "done" if name == "done.json" else "partial"
        if self.path.exists() and any(
            file.is_file() and file.name not in KEPT and not file.match(".*.tmp")  # a kill leaves these
            for file in self.path.iterdir()
        ):
            raise UserError(
                f"{self.path}: holds files but no started.json; move it away or use another --run folder"
            )
        return "absent"

    def discard(self) -> None:
        """Delete the step's output, except what was paid for and is looked up by its content: `KEPT`."""
        self._clear()
        if self.path.exists():
            self.path.replace(self._trash)
            self._clear()

    @property
    def _trash(self) -> Path:
        return self.path.with_name(f".{self.path.name}.discarded")

    def _clear(self) -> None:
        """Put back what is kept of a discarded folder and delete the rest, also where a kill came between."""
        for name in KEPT:
            if (self._trash / name).exists() and not (self.path / name).exists():
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                (self._trash / name).replace(self.path / name)
        if self._trash.exists():
            shutil.rmtree(self._trash)

    def start(self, key: StepKey) -> None:
        """Mark the step as begun with this key."""
        self._clear()
        write_json(self.path / "started.json", key.as_json())

    def finish(self, key: StepKey, outputs: list[str], rows: Mapping[str, int], seconds: float) -> None:
        """Write done.json, last: key, sha256 of outputs (paths relative to the step's folder), rows, times."""
        hashes = {name: hash_path(self.path / name) for name in sorted(outputs)}
        record = {
            **key.as_json(),
            "outputs": hashes,
            "rows": dict(rows),
            "seconds": round(seconds, 2),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        write_json(self.path / "done.json", record)
        (self.path / "started.json").unlink(missing_ok=True)

    def outputs(self) -> dict[str, str]:
        """Return {output name: sha256} from done.json; raise UserError when the step is not done."""
        marker = self.path / "done.json"
        if not marker.exists():
            command = self.step.partition("/")[0]  # a stage is trained by `anukul train`
            raise UserError(
                f"{self.path}: step '{self.step}' is not done; run `anukul {command} run.yaml` first"
            )
        return dict(read_json(marker)["outputs"])


@contextmanager
def lock(root: Path) -> Iterator[None]:
    """Hold the run folder for this process; raise UserError when another one works in it."""
    import fcntl

    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{root}: another anukul command is working in this run folder; wait or use --run"
            ) from None
        yield


@dataclass(frozen=True, slots=True)
class Result:
    """What a step hands back: the files it made (paths relative to its folder) and rows counted by name."""

    outputs: list[str]
    rows: dict[str, int]
