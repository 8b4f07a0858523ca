"""The run folder: atomic writes, digests, and the decision to skip, resume or refuse a step.

A step writes `started.json` first and `done.json` last. Both hold the digest of the settings and of the inputs
that decide its result, so that stale output is never served and never mixed with new.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, Literal

from anukul.config import ModelSettings, matching
from anukul.configfile import is_local
from anukul.errors import UserError

SCHEMA = 1
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".gguf")
SAMPLE = 1 << 20


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


def digest(data: Any) -> str:
    """Return the sha256 of plain data, keys sorted."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def hash_file(path: Path) -> str:
    """Return the sha256 of a file.

    Weight files over 64 MiB are fingerprinted: their size, and 1 MiB at 64 evenly spaced places, the first and
    the last included; a base model of 16 GB is then known in a second.
    """
    hashed = hashlib.sha256()
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if path.suffix in WEIGHT_SUFFIXES and size > 64 * SAMPLE:
                hashed.update(f"sampled {size}".encode())
                for index in range(64):
                    file.seek((size - SAMPLE) * index // 63)
                    hashed.update(file.read(SAMPLE))
            else:
                while block := file.read(SAMPLE):
                    hashed.update(block)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    return hashed.hexdigest()


def hash_path(path: Path) -> str:
    """Return the digest of a file, of a folder (names and contents), or of the files that a glob matches."""
    if path.is_file():
        return hash_file(path)
    if path.is_dir():
        base, named = path.parent, list(path.rglob("*"))
    else:  # of a glob the deepest folder that it names
        base = Path(*takewhile(lambda part: not any(sign in part for sign in "*?["), path.parts))
        named = matching(path)
    files = sorted(file for file in named if file.is_file())
    if not files:
        raise UserError(f"{path}: no such file or folder")
    return digest([[str(file.relative_to(base)), hash_file(file)] for file in files])


@dataclass(frozen=True, slots=True)
class Commits:
    """The commits of the hub that a base is made of; None for what is a folder here or not named."""

    model: str | None
    tokenizer: str | None


def commit_of(name: str, revision: str | None) -> str | None:
    """Return the commit that a branch or tag (None: main) of a hub repository stands for, None for a local folder.

    The hub is asked; where it cannot be reached its cache is. Raises UserError where neither knows.
    """
    if is_local(name):
        return None
    # in here: it takes half a second to load, and only names on the hub need it
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RemoteEntryNotFoundError

    reached, reason = True, ""
    for file in ("config.json", "tokenizer_config.json"):  # a repository may hold a tokenizer alone
        try:
            # it lies under snapshots/<commit>
            found = hf_hub_download(name, file, revision=revision, local_files_only=not reached)
            return Path(found).parent.name
        except LocalEntryNotFoundError as error:
            # no use in waiting for the network once more
            reached, reason = False, reason or _first_line(error)
        except RemoteEntryNotFoundError as error:
            reason = reason or _first_line(error)
        except (OSError, HFValidationError) as error:
            reason = _first_line(error)
            break
    where = f"{name}@{revision}" if revision else name
    raise UserError(
        f"model: {where}: found neither on the hub nor in its cache: {reason}; "
        "check the name, the revision and the network"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def commits_of(settings: ModelSettings) -> Commits:
    """Return the commits that the names of a base on the hub stand for now; `revision` is that of `path`."""
    model = commit_of(settings.path, settings.revision)
    if settings.tokenizer in (None, settings.path):
        return Commits(model, model)
    return Commits(model, commit_of(settings.tokenizer, None))


def hash_model(settings: ModelSettings, commits: Commits | None = None) -> str:
    """Digest of what decides a base's numbers: weights, tokenizer, quantisation and compute dtype.

    What is on the hub is known by its commit, as a branch moves; `commits` are those that were loaded, where they are
    known already.
    """
    commits = commits or commits_of(settings)
    weights = _hash_named(settings.path, commits.model)
    named = _hash_named(settings.tokenizer, commits.tokenizer) if settings.tokenizer else None
    return digest([weights, named, settings.quantization, settings.compute_dtype])


def _hash_named(name: str, commit: str | None) -> str:
    folder = Path(name).expanduser()
    return hash_path(folder) if folder.exists() else f"{name}@{commit}"


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
        self.changes = changes
        shown = "; ".join(changes[:8]) + ("; …" if len(changes) > 8 else "")
        super().__init__(
            f"{folder}: step '{step}' was made with other settings or inputs: {shown}. "
            f"Redo it with --redo {step.partition('/')[0]}, or use another --run folder"
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
