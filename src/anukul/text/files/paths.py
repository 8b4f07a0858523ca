"""Which files a path of run.yaml means, and in which format each is."""

from pathlib import Path

from anukul.config import matching, resolve
from anukul.errors import UserError

FORMATS = {
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".xz": "xz"}


def input_paths(path: str) -> list[Path]:
    """Return the file, or the files of a glob or folder, sorted by name; raise UserError when there is none.

    `**` in a glob goes through folders. Of a folder, at any depth, those files count whose suffix is known; names that
    begin with a point do not.
    """
    found = resolve(path)
    if found.is_file():
        return [found]
    if found.is_dir():
        files = sorted(file for file in found.rglob("*") if file.is_file() and _counts(file, found))
        if not files:
            known = ", ".join(FORMATS)
            raise UserError(f"{path}: no file in this folder ends in {known} (or these and {_compressed()})")
        return files
    files = [item for item in matching(found) if item.is_file()]
    if not files:
        raise UserError(f"{path}: no such file")
    return files


def _counts(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and _suffix(file) in FORMATS


def _compressed() -> str:
    return ", ".join(COMPRESSIONS)


def _suffix(path: Path) -> str:
    """Return the suffix that tells the format: that before the compression's."""
    return (Path(path.stem) if compression_of(path) else path).suffix.lower()


def compression_of(path: Path) -> str | None:
    """Return how a file is compressed (gzip, zstd or xz), by its last suffix; None where it is not."""
    return COMPRESSIONS.get(path.suffix.lower())


def format_of(path: Path, asked: str = "auto") -> str:
    """Return the format of a file, by its suffix when `auto`; an unknown suffix is read as lines of text."""
    return FORMATS.get(_suffix(path), "txt") if asked == "auto" else asked


def labels(paths: list[Path]) -> list[str]:
    """Return the name of each file as rows are known by: what of its path the files do not share."""
    if len(paths) == 1:
        return [paths[0].name]
    shared = paths[0].parent
    while not all(path.is_relative_to(shared) for path in paths):
        shared = shared.parent
    return [path.relative_to(shared).as_posix() for path in paths]
