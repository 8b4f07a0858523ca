"""Digests of what decides a result: plain data, files, folders, and a base with the hub's commit that it stands for."""

import hashlib
import json
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from anukul.config import ModelSettings, matching
from anukul.configfile import is_local
from anukul.errors import UserError

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".gguf")
SAMPLE = 1 << 20


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
