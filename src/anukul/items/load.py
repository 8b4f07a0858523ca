"""Read multiple-choice, context-choice, cloze and minimal-pair tasks from local files and dataset folders."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from anukul.config import TaskSettings, resolve
from anukul.errors import UserError
from anukul.items.dataset_folder import choose_splits, is_dataset, read_split
from anukul.items.labelled import TABLES, read_labelled
from anukul.items.pairs import is_pair_row, pair_of
from anukul.items.rows import (
    BadRowError,
    check_unique,
    gold_of,
    label_of,
    not_empty,
    read_jsonl,
    read_lines,
    text_of,
    texts_of,
)

EXEMPLAR = "exemplar"
SUBJECT = "subject: "  # how a cluster starts that is a subject: its items share a topic, not a text
ENDINGS = 4


@dataclass(frozen=True, slots=True)
class TaskItem:
    """One question: either one context and several continuations, or several contexts and one continuation.

    One context with one continuation is a cloze: right when greedy decoding gives the continuation. Two continuations
    of the empty context are a minimal pair, scored as whole texts.
    """

    id: str
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    gold: int
    cluster: str
    split: str
    delimiter: str = " "  # between context and continuation
    phenomenon: str = ""

    @property
    def options(self) -> int:
        """How many (context, continuation) pairs are scored."""
        return max(len(self.contexts), len(self.continuations))

    @property
    def is_cloze(self) -> bool:
        """Whether there is nothing to choose from."""
        return self.options == 1

    @property
    def is_pair(self) -> bool:
        """Whether this is a minimal pair, which has no context."""
        return self.contexts == ("",)

    def pair(self, option: int) -> tuple[str, str]:
        """Return context and continuation of an option."""
        context = self.contexts[option if len(self.contexts) > 1 else 0]
        return context, self.continuations[option if len(self.continuations) > 1 else 0]

    @property
    def solved(self) -> str:
        """The item as an exemplar: the right context, the delimiter, the right continuation."""
        return self.delimiter.join(self.pair(self.gold))


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task's items to score, and the pool that exemplars are drawn from."""

    settings: TaskSettings
    items: tuple[TaskItem, ...]
    pool: tuple[TaskItem, ...]
    description: str = ""  # stands before every prompt
    source: str = ""  # what the items came from, for the record
    note: str = ""  # the known weakness of a preset's task

    @property
    def is_pairs(self) -> bool:
        """Whether the items are minimal pairs."""
        return self.items[0].is_pair


def predicted(item: TaskItem, scores: Sequence[tuple[float, bool]]) -> int:
    """Return the option with the highest log-likelihood, the first of equals; for a cloze 0 if greedy, else -1."""
    if item.is_cloze:
        return 0 if scores[0][1] else -1
    return max(range(len(scores)), key=lambda option: scores[option][0])


def load_task(settings: TaskSettings) -> LoadedTask:
    """Read a local task; raise UserError naming file and line (or split and row) of what cannot be scored.

    Exemplars come from the rows whose split is "exemplar" where there are any (these are then not scored), else from
    the training split of a dataset folder, else from all rows, also those beyond `limit`.
    """
    path = settings.path
    assert path is not None
    kind = settings.format
    if kind == "auto":
        folder = resolve(path).is_dir()
        kind = "dataset" if folder else "hellaswag" if Path(path).suffix == ".txt" else "jsonl"
    if settings.labels is not None and kind == "dataset":
        raise UserError(
            f"task '{settings.name}': labels are for one table; {path} is a folder: name a file in it"
        )
    if settings.labels is None and Path(path).suffix.lower() in TABLES:
        raise UserError(
            f"task '{settings.name}': {path} is a table; say which columns are text and label: "
            "labels: {text: …, label: …}"
        )
    if settings.split is not None and kind != "dataset":
        raise UserError(f"task '{settings.name}': split is for dataset folders; {path} is a file")
    pool: list[TaskItem] = []
    if kind == "dataset":
        rows, pool = _read_dataset(path, settings)
    elif kind == "hellaswag":
        rows = _read_hellaswag(path)
    elif settings.labels is not None:
        labelled = read_labelled(path, settings.labels)
        rows = _items(path, ((f"line {number}", number, row) for number, row in labelled))
    else:
        rows = _items(path, ((f"line {number}", number, row) for number, row in read_jsonl(path)))
    check_unique(path, [row.id for row in rows])
    items = [row for row in rows if row.split != EXEMPLAR]
    exemplars = [row for row in rows if row.split == EXEMPLAR]
    not_empty(path, items, "items to score")
    if len({item.is_pair for item in rows}) > 1:
        raise UserError(f"{path}: minimal pairs (good, bad) and other rows cannot be one task; use two files")
    source = f"{path}, split {_scored_split(path, settings)}" if kind == "dataset" else path
    return LoadedTask(
        settings, tuple(items[: settings.limit]), tuple(exemplars or pool or items), source=source
    )


def _scored_split(path: str, settings: TaskSettings) -> str:
    return choose_splits(path, settings.split)[0]


def _read_dataset(path: str, settings: TaskSettings) -> tuple[list[TaskItem], list[TaskItem]]:
    """Return the items of the split to score, and those of the split that exemplars come from."""
    if not is_dataset(path):
        raise UserError(
            f"task '{settings.name}': {path}: not a dataset folder: it needs what datasets.save_to_disk writes, or "
            "files such as test.parquet and train.jsonl"
        )
    scored, pool = choose_splits(path, settings.split)

    def items_of(split: str) -> list[TaskItem]:
        rows = enumerate(read_split(path, split), start=1)
        return _items(path, ((f"split {split}, row {number}", number, row) for number, row in rows))

    items = items_of(scored)
    if pool is None:
        return items, []
    # numbers of rows in different splits are no ids: they must not look like the same item
    return items, [
        replace(item, id=f"{pool}:{item.id}", cluster=f"{pool}:{item.id}")
        if item.cluster == item.id
        else replace(item, id=f"{pool}:{item.id}")
        for item in items_of(pool)
    ]


def _items(path: str, rows: Iterable[tuple[str, int, dict[str, Any]]]) -> list[TaskItem]:
    """Read (place, number, row); a fault names the place."""
    items = []
    for place, number, row in rows:
        try:
            items.append(_item(row, number))
        except BadRowError as error:
            raise UserError(f"{path}: {place}: {error}") from None
    return items


def _item(row: dict[str, Any], number: int) -> TaskItem:
    """Tell the four shapes apart by their keys."""
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    if "context_options" in row:
        contexts = texts_of(row, "context_options")
        continuations = (text_of(row, "continuation"),)
    elif "choices" in row:
        contexts = (text_of(row, "query"),)
        continuations = texts_of(row, "choices")
    elif "continuation" in row:
        contexts = (text_of(row, "context"),)
        continuations = (text_of(row, "continuation"),)
    elif is_pair_row(row):
        pair = pair_of(row, str(number), "", "unnamed")
        sentences = (pair.good, pair.bad)
        return TaskItem(pair.id, ("",), sentences, 0, pair.cluster, pair.split, "", pair.phenomenon)
    else:
        raise BadRowError(
            "a row needs query and choices, or context_options and continuation, or context and continuation, "
            f"or good and bad; found {', '.join(sorted(row)) or 'nothing'}"
        )
    options = max(len(contexts), len(continuations))
    identifier = label_of(row, "id", str(number))
    return TaskItem(
        identifier,
        contexts,
        continuations,
        gold_of(row, options) if options > 1 else 0,
        label_of(row, "cluster", identifier),
        label_of(row, "split", ""),
    )


def _read_hellaswag(path: str) -> list[TaskItem]:
    """Read six lines per item: context, index of the right ending, four endings."""
    items = []
    lines = read_lines(path)
    while block := list(islice(lines, ENDINGS + 2)):
        number = block[0][0]
        texts = [text for _, text in block]
        if len(block) == 1 and not texts[0].strip():
            break
        if len(block) < ENDINGS + 2:
            raise UserError(
                f"{path}: line {number}: an item needs {ENDINGS + 2} lines, the file ends after {len(block)}"
            )
        if texts[1].strip() not in {str(index) for index in range(ENDINGS)}:
            raise UserError(
                f"{path}: line {number + 1}: expected the index of the right ending, 0 to 3, got {texts[1]!r}"
            )
        empty = [offset for offset, text in enumerate(texts) if not text.strip()]
        if empty:
            raise UserError(f"{path}: line {number + empty[0]}: empty line inside an item")
        identifier = str(number)
        items.append(TaskItem(identifier, (texts[0],), tuple(texts[2:]), int(texts[1]), identifier, ""))
    return items
