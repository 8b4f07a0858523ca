"""Dataset folders: what `datasets.save_to_disk` writes, or one or more Parquet or JSONL files for each split."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import regex

from anukul.config import resolve
from anukul.errors import UserError
from anukul.items.rows import read_jsonl

SCORED = ("test", "validation", "valid", "dev")
EXEMPLARS = ("train", "validation", "valid", "dev")
FILE = regex.compile(r"(?P<split>[A-Za-z][A-Za-z0-9_]*?)(?:[-_.]\d+(?:-of-\d+)?)?\.(?:parquet|jsonl)")


def is_dataset(path: str) -> bool:
    """Whether a path is a folder that holds a dataset."""
    folder = resolve(path)
    return folder.is_dir() and (_is_saved(folder) or bool(_files(folder)))


def choose_splits(path: str, asked: str | None) -> tuple[str, str | None]:
    """Return the split to score and the one that exemplars come from, None where there is none of their own.

    Scored is `asked`, else test, else validation, else the only one. Raise UserError where that does not decide.
    """
    names = splits_of(path)
    scored = asked or next((name for name in SCORED if name in names), None)
    if scored is None and len(names) == 1:
        scored = names[0]
    if scored not in names:
        said = f"no split '{asked}'" if asked else "no split test or validation; name one with `split`"
        raise UserError(f"{path}: {said}; there are {', '.join(names)}")
    return scored, next((name for name in EXEMPLARS if name in names and name != scored), None)


def splits_of(path: str) -> list[str]:
    """Return the names of the splits."""
    folder = resolve(path)
    if _is_saved(folder):
        loaded = _load(path)
        return list(loaded) if isinstance(loaded, dict) else ["test"]
    return list(_files(folder))


def read_split(path: str, split: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a split; columns that are null in a row are left out of it."""
    folder = resolve(path)
    if _is_saved(folder):
        loaded = _load(path)
        rows: Iterator[dict[str, Any]] = iter(loaded[split] if isinstance(loaded, dict) else loaded)
    else:
        rows = _read_files(_files(folder)[split])
    for row in rows:
        yield {key: value for key, value in row.items() if value is not None}


def _is_saved(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _load(path: str) -> Any:
    """Load what save_to_disk wrote: one dataset, or a dict of them."""
    import datasets

    try:
        return datasets.load_from_disk(str(resolve(path)))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read as a saved dataset: {error}") from None


def _files(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each split, also those in a folder `data`; the hub's names are understood."""
    found: dict[str, list[Path]] = {}
    for file in sorted([*folder.glob("*.*"), *folder.glob("data/*.*")]):
        match = FILE.fullmatch(file.name)
        if match and file.is_file():
            found.setdefault(match["split"], []).append(file)
    return found


def _read_files(files: list[Path]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        if file.suffix == ".jsonl":
            yield from (row for _, row in read_jsonl(str(file)))
            continue
        try:
            rows = pq.read_table(file).to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{file}: cannot be read as Parquet: {error}") from None
        yield from rows
