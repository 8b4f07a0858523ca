"""Read multiple-choice, context-choice and cloze tasks from local files."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from anukul.config import TaskSettings
from anukul.errors import UserError
from anukul.evaluate.rows import (
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
ENDINGS = 4


@dataclass(frozen=True, slots=True)
class TaskItem:
    """One question: either one context and several continuations, or several contexts and one continuation.

    One context with one continuation is a cloze: right when greedy decoding gives the continuation.
    """

    id: str
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    gold: int
    cluster: str
    split: str

    @property
    def options(self) -> int:
        """How many (context, continuation) pairs are scored."""
        return max(len(self.contexts), len(self.continuations))

    @property
    def is_cloze(self) -> bool:
        """Whether there is nothing to choose from."""
        return self.options == 1

    def pair(self, option: int) -> tuple[str, str]:
        """Return context and continuation of an option."""
        context = self.contexts[option if len(self.contexts) > 1 else 0]
        return context, self.continuations[option if len(self.continuations) > 1 else 0]

    @property
    def solved(self) -> str:
        """The item as an exemplar: the right context, a space, the right continuation."""
        return " ".join(self.pair(self.gold))


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task's items to score, and the pool that exemplars are drawn from."""

    settings: TaskSettings
    items: tuple[TaskItem, ...]
    pool: tuple[TaskItem, ...]


def load_task(settings: TaskSettings) -> LoadedTask:
    """Read a task; raise UserError naming file and line for a row that cannot be scored.

    Exemplars come from the rows whose split is "exemplar" where there are any (these are then not scored), else
    from all rows of the file, also those beyond `limit`.
    """
    path = settings.path
    kind = settings.format
    if kind == "auto":
        kind = "hellaswag" if Path(path).suffix == ".txt" else "jsonl"
    rows = _read_hellaswag(path) if kind == "hellaswag" else _read_items(path)
    check_unique(path, [row.id for row in rows])
    items = [row for row in rows if row.split != EXEMPLAR]
    exemplars = [row for row in rows if row.split == EXEMPLAR]
    not_empty(path, items, "items to score")
    return LoadedTask(settings, tuple(items[: settings.limit]), tuple(exemplars or items))


def _read_items(path: str) -> list[TaskItem]:
    items = []
    for number, row in read_jsonl(path):
        try:
            items.append(_item(row, number))
        except BadRowError as error:
            raise UserError(f"{path}: line {number}: {error}") from None
    return items


def _item(row: dict[str, Any], number: int) -> TaskItem:
    """Tell the three shapes apart by their keys."""
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
    else:
        raise BadRowError(
            "a row needs query and choices, or context_options and continuation, or context and continuation; "
            f"found {', '.join(sorted(row)) or 'nothing'}"
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
