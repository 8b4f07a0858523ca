"""Rows of a Hugging Face dataset, streamed: by its name on the hub, or from a folder here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from anukul.config import resolve
from anukul.errors import UserError
from anukul.text.files.opened import CorruptFile
from anukul.text.files.rows import RawRow, missing_columns, pick

SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` leaves in a folder
SPLIT = "train"


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """A split of a dataset: `name` is that of the hub, such as owner/name, or a folder."""

    name: str
    subset: str | None = None
    split: str | None = None
    revision: str | None = None

    @property
    def folder(self) -> Path | None:
        """The folder that it is, None for a name on the hub."""
        found = resolve(self.name)
        return found if found.is_dir() else None

    def __str__(self) -> str:
        parts = [self.name if self.folder is None else Path(self.name).name, self.subset, self.split or SPLIT]
        return "hub:" + ":".join(part for part in parts if part)


@cache
def dataset_commit(source: DatasetSource) -> str | None:
    """Return the commit that a dataset's revision stands for now, None for a folder; raise UserError if unknown."""
    if source.folder is not None:
        return None
    import httpx
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(source.name, revision=source.revision, timeout=30).sha)
    except (OSError, ValueError, httpx.HTTPError) as error:  # the hub's own errors are of these
        raise _not_found(source, error) from None


def _not_found(source: DatasetSource, error: BaseException) -> UserError:
    where = f"{source.name}@{source.revision}" if source.revision else source.name
    return UserError(
        f"{source}: no dataset {where} on the hub: {_first_line(error)}; check the name, the revision and the network, "
        "and the token in HF_TOKEN where it is not open to all"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def read_dataset(
    source: DatasetSource, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[RawRow]:
    """Yield the rows of a split with the named columns as text, numbered from 1; nothing is kept on the disk.

    Raises UserError where the dataset, its subset, split or a column is not there, CorruptFile where reading breaks
    off.
    """
    rows = iter(_opened(source, columns, optional))
    number = 0
    while True:
        try:
            item = next(rows)
        except StopIteration:
            return
        except Exception as error:  # whatever the dataset's builder makes of damaged files
            raise CorruptFile(str(source), f"breaks off after row {number}: {_first_line(error)}") from None
        number += 1
        yield pick(str(source), number, item, columns, optional, number == 1)


def _opened(source: DatasetSource, columns: Sequence[str], optional: Sequence[str]) -> Any:
    """Return the rows, with the wanted columns alone where the dataset says which it has."""
    import datasets

    datasets.disable_progress_bars()
    try:
        if source.folder is not None and any((source.folder / name).exists() for name in SAVED):
            rows = _saved(source, source.folder)
        else:
            name = str(source.folder or source.name)
            revision = dataset_commit(source)
            rows = datasets.load_dataset(
                name, source.subset, split=source.split or SPLIT, revision=revision, streaming=True
            )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"{source}: cannot be loaded: {_first_line(error)}") from None
    if rows.column_names is None:
        return rows
    missing = [name for name in columns if name not in rows.column_names]
    if missing:
        raise missing_columns(str(source), missing, rows.column_names)
    return rows.select_columns([*columns, *(name for name in optional if name in rows.column_names)])


def _saved(source: DatasetSource, folder: Path) -> Any:
    """Return the rows of what `save_to_disk` wrote; it is mapped, not read into memory."""
    import datasets

    if source.subset:
        raise UserError(f"{source}: {source.name} was saved by save_to_disk and has no subsets; leave it out")
    saved = datasets.load_from_disk(str(folder))
    if not isinstance(saved, datasets.DatasetDict):
        return saved
    split = source.split or SPLIT
    if split not in saved:
        raise UserError(f"{source}: no split '{split}'; there are {', '.join(saved)}")
    return saved[split]
