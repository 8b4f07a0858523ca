"""Upload an export to the Hugging Face hub; without `push` it says what would be sent, and sends nothing."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.config import RunConfig
from anukul.digests import hash_file
from anukul.errors import UserError
from anukul.export.card import card_files, license_of
from anukul.progress import say
from anukul.rundir import read_json, write_json

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
LABELS = {"merged": "the merged model", "adapter": "the copy of the adapter", "gguf": "the GGUF file"}


@dataclass(frozen=True, slots=True)
class Upload:
    """What would be sent where."""

    repository: str
    private: bool
    files: dict[str, Path | bytes]
    license: str


def prepare(config: RunConfig, root: Path, kind: str, source: Path, repository: str, private: bool) -> Upload:
    """Gather the files of an export that stands, with a card made now; raise UserError where there is no card."""
    if not REPOSITORY.fullmatch(repository):
        raise UserError(f"--repo {repository}: write it as owner/name")
    record = read_json(source / "verify.json")
    records = {LABELS[kind]: record}
    if kind == "gguf":
        merged = read_json(root / "export" / "merged" / "model" / "verify.json")
        records = {LABELS["merged"]: merged, **records}
    card = card_files(root, kind, records)
    if not card:
        raise UserError(f"{root}: no model card to upload; run `anukul report` first")
    files: dict[str, Path | bytes] = {}
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(source).parts):
            files[name] = path
    # a card that was made with the export may be older than the report
    files = {name: path for name, path in files.items() if not name.startswith("figures/")} | card
    text = files["README.md"]
    assert isinstance(text, bytes)
    return Upload(repository, private, files, license_of(text.decode("utf-8")))


def describe(upload: Upload, endpoint: str) -> str:
    """Return what is to be sent, line by line."""
    sizes = {name: _size(content) for name, content in upload.files.items()}
    width = max(len(name) for name in sizes)
    lines = [f"{endpoint}/{upload.repository} ({'private' if upload.private else 'PUBLIC'} model repository)"]
    lines += [f"  {name:<{width}}  {_human(size)}" for name, size in sorted(sizes.items())]
    lines.append(f"  {len(sizes)} files, {_human(sum(sizes.values()))}")
    lines.append(f"license: {upload.license}")
    return "\n".join(lines)


def send(upload: Upload, root: Path) -> str:
    """Create the repository and commit all files at once; return its address and note in export/hub what was sent.

    The token comes from the environment (HF_TOKEN) and is written nowhere. Raises UserError where it is missing or
    the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    token = _token()
    if not token:
        raise UserError(f"--push: set {TOKEN_VARIABLES[0]} to a token that may write to {upload.repository}")
    api = HfApi(token=token)
    operations = [
        CommitOperationAdd(
            path_in_repo=name, path_or_fileobj=content if isinstance(content, bytes) else str(content)
        )
        for name, content in sorted(upload.files.items())
    ]
    try:
        address = api.create_repo(upload.repository, private=upload.private, exist_ok=True)
        if not upload.private or _is_private(api, upload.repository):
            commit: Any = api.create_commit(
                upload.repository, operations=operations, commit_message="Upload with anukul"
            )
        else:
            raise UserError(
                f"--push: {upload.repository} exists and is public; add --public if that is meant. Nothing was sent"
            )
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].replace(token, "***")
        raise UserError(f"--push: {upload.repository}: the hub refused: {reason}") from None
    _note(upload, root, str(commit.oid))
    return str(address)


def endpoint() -> str:
    """The address of the hub: HF_ENDPOINT, or the public one."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def has_token() -> bool:
    """Whether the environment holds a token."""
    return bool(_token())


def _token() -> str | None:
    return next((os.environ[name] for name in TOKEN_VARIABLES if os.environ.get(name)), None)


def _is_private(api: Any, repository: str) -> bool:
    """Whether what stands on the hub is private: an older repository may have been made public."""
    return bool(api.repo_info(repository).private)


def _note(upload: Upload, root: Path, commit: str) -> None:
    """Write down what was sent, by digest."""
    import hashlib

    digests = {
        name: hash_file(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
        for name, content in sorted(upload.files.items())
    }
    folder = root / "export" / "hub"
    record = {"repository": upload.repository, "private": upload.private, "commit": commit, "files": digests}
    write_json(folder / f"{upload.repository.replace('/', '--')}.json", record)
    say(f"  {len(digests)} files sent, commit {commit}")


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _human(size: int) -> str:
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"
