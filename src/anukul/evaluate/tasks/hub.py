"""Tasks of lm-eval, by name or from our own files, as items to score with our exemplars or with lm-eval's prompts."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from anukul.config import TaskSettings
from anukul.errors import UserError
from anukul.items.exemplars import spaced
from anukul.items.load import SUBJECT, LoadedTask, TaskItem
from anukul.scoring import harness as _environment  # noqa: F401  before lm-eval: it quiets its logger

from lm_eval.api.task import ConfigurableTask  # isort: skip
from lm_eval.tasks import TaskManager  # isort: skip

FEWSHOT_SEED = 1234  # lm-eval's own default, behind the published numbers
SCORED_TYPES = ("multiple_choice", "loglikelihood")
# columns that name what several questions share
CLUSTER_COLUMNS = ("cluster", "passage_id", "flores_passage", "passage", "link")
FEWEST_SUBJECTS = 10  # fewer say too little about how answers vary from subject to subject
LOUD = ("huggingface_hub", "datasets", "fsspec", "httpx", "urllib3")


@dataclass(frozen=True, slots=True)
class Harness:
    """A task of lm-eval: its subtasks (one, if it is no group), as lm-eval built them."""

    settings: TaskSettings
    tasks: dict[str, ConfigurableTask]
    weakness: str = ""
    written: bool = False  # by us, so that its rows carry ids

    @property
    def output_type(self) -> str:
        """multiple_choice, loglikelihood, generate_until or loglikelihood_rolling."""
        return str(next(iter(self.tasks.values())).OUTPUT_TYPE)

    def documents(self) -> Iterator[tuple[str, str, ConfigurableTask, Any]]:
        """Yield (item id, cluster, task, document), at most `limit` of each subtask as lm-eval counts it."""
        several = len(self.tasks) > 1
        subjects = {_subject(doc, name) for name, task in self.tasks.items() for doc in task.eval_docs}
        by_subject = len(subjects) >= FEWEST_SUBJECTS
        for name, task in self.tasks.items():
            for index, doc in enumerate(task.eval_docs):
                if self.settings.limit is not None and index >= self.settings.limit:
                    break
                identifier = str(doc["id"]) if self.written else f"{name}:{index}" if several else str(index)
                alone = f"{SUBJECT}{_subject(doc, name)}" if by_subject else identifier
                yield identifier, _cluster(doc, alone), task, doc


@cache
def _manager(folder: Path | None) -> TaskManager:
    if folder is None:
        return TaskManager()
    return TaskManager(include_path=str(folder), include_defaults=False)


def load_harness(settings: TaskSettings, weakness: str = "") -> Harness:
    """Load a task that lm-eval knows by name; raise UserError in one line where its name or its data is not there."""
    assert settings.harness is not None
    manager = _manager(None)
    if settings.harness not in manager.all_tasks:
        near = get_close_matches(settings.harness, manager.all_tasks, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(
            f"task '{settings.name}': lm-eval {version('lm-eval')} has no task '{settings.harness}'{hint}"
        )
    return Harness(settings, _build(manager, settings, settings.harness), weakness)


def load_written(settings: TaskSettings, name: str, folder: Path) -> Harness:
    """Load one of our own task files, as `lm_eval --include_path` would."""
    return Harness(settings, _build(_manager(folder), settings, name), written=True)


def _build(manager: TaskManager, settings: TaskSettings, name: str) -> dict[str, ConfigurableTask]:
    with _quiet():
        try:
            tasks: dict[str, Any] = manager.load([name])["tasks"]
        except Exception as error:  # the hub's libraries raise anything, from OSError to KeyError
            said = " ".join(str(error).split())[:200]
            raise UserError(
                f"task '{settings.name}': lm-eval's task '{name}' cannot be loaded ({type(error).__name__}: {said}); "
                "its data comes from the Hugging Face hub: run once with a network, or leave the task out"
            ) from None
    for task in tasks.values():
        if not isinstance(task, ConfigurableTask):
            raise UserError(
                f"task '{settings.name}': lm-eval's task '{name}' is a program of its own ({type(task).__name__}), "
                "which is not supported"
            )
    if len({task.OUTPUT_TYPE for task in tasks.values()}) != 1:
        raise UserError(f"task '{settings.name}': the group '{name}' mixes types of tasks; name its parts")
    return tasks


def as_loaded(harness: Harness) -> LoadedTask:
    """Return items and pool, so that our nested exemplars stand in the task's own prompt format."""
    _check_type(harness, SCORED_TYPES)
    settings = harness.settings
    items = []
    for identifier, cluster, task, doc in harness.documents():
        items.append(_item(settings, task, doc, identifier, cluster))
    pool = [item for name, task in harness.tasks.items() for item in _pool(harness, name, task)]
    if not items:
        raise UserError(f"task '{settings.name}': lm-eval's task '{settings.harness}' has no items")
    descriptions = {str(task.config.description or "") for task in harness.tasks.values()}
    description = descriptions.pop() if len(descriptions) == 1 else ""
    return LoadedTask(
        settings,
        tuple(items),
        tuple(pool),
        "" if "{{" in description else description,
        f"lm-eval {version('lm-eval')}: {settings.harness}",
        harness.weakness,
    )


def _pool(harness: Harness, name: str, task: ConfigurableTask) -> list[TaskItem]:
    """Return what exemplars are drawn from: of a large split about POOL rows, evenly spaced.

    Rows of another split than the scored one get other ids, so that they are not taken for the item itself.
    """
    config = task.config
    scored = config.test_split or config.validation_split
    drawn = task.fewshot_cfg.split or config.training_split or config.validation_split or config.test_split
    prefix = f"{name}:" if len(harness.tasks) > 1 else ""
    if drawn != scored or (task.fewshot_cfg.split is None and task.fewshot_cfg.samples is not None):
        prefix = f"exemplar:{prefix}"
    docs = list(task.fewshot_docs())
    found = []
    for index in spaced(len(docs)):
        identifier = f"{prefix}{index}"
        found.append(
            _item(harness.settings, task, docs[index], identifier, _cluster(docs[index], identifier))
        )
    return found


def own_prompts(harness: Harness, name: str) -> tuple[LoadedTask, list[list[tuple[str, str]]], int]:
    """Return items, lm-eval's own (prompt, continuation) pairs of each, and its count of exemplars.

    The draw is lm-eval's with its default seed, made anew at each call, so that both models get the same prompts.
    """
    _check_type(harness, SCORED_TYPES)
    settings = harness.settings
    items: list[TaskItem] = []
    pairs: list[list[tuple[str, str]]] = []
    for identifier, cluster, task, doc, prompt in _prompts(harness):
        item = _item(settings, task, doc, identifier, cluster)
        requests = task.construct_requests(
            doc=doc, ctx=prompt, metadata=(settings.name, len(items), 1), apply_chat_template=False
        )
        held = requests if isinstance(requests, list) else [requests]
        items.append(item)
        pairs.append([(request.args[0], request.args[1]) for request in held[: item.options]])
    source = f"lm-eval {version('lm-eval')}: {name}, its own prompts"
    return (
        LoadedTask(settings, tuple(items), (), source=source, note=harness.weakness),
        pairs,
        shots_of(harness),
    )


def generation_requests(harness: Harness) -> tuple[list[tuple[str, str, ConfigurableTask, Any, Any]], int]:
    """Return (item id, cluster, task, document, lm-eval request) of a task whose answers are generated, and shots."""
    _check_type(harness, ("generate_until",))
    made: list[tuple[str, str, ConfigurableTask, Any, Any]] = []
    for identifier, cluster, task, doc, prompt in _prompts(harness):
        request = task.construct_requests(
            doc=doc, ctx=prompt, metadata=(harness.settings.name, len(made), 1), apply_chat_template=False
        )
        made.append((identifier, cluster, task, doc, request))
    return made, shots_of(harness)


def shots_of(harness: Harness) -> int:
    """Return the count of exemplars with lm-eval's own prompts: as asked, else the task's own, else 0."""
    if harness.settings.num_fewshot is not None:
        return harness.settings.num_fewshot
    return int(next(iter(harness.tasks.values())).config.num_fewshot or 0)


def _prompts(harness: Harness) -> Iterator[tuple[str, str, ConfigurableTask, Any, Any]]:
    """Yield (item id, cluster, task, document, prompt) with lm-eval's draw from its default seed."""
    shots = shots_of(harness)
    for task in harness.tasks.values():
        task.set_fewshot_seed(FEWSHOT_SEED)
    for identifier, cluster, task, doc in harness.documents():
        try:
            prompt = task.fewshot_context(doc, num_fewshot=shots, gen_prefix=task.doc_to_prefix(doc))
        except (AssertionError, ValueError) as error:  # the pool is smaller than the count
            raise UserError(
                f"task '{harness.settings.name}': {shots} exemplars cannot be drawn: {error}"
            ) from None
        yield identifier, cluster, task, doc, prompt


def _check_type(harness: Harness, types: Sequence[str]) -> None:
    settings = harness.settings
    if harness.output_type in types:
        custom = [name for name, task in harness.tasks.items() if callable(task.config.process_results)]
        if custom and harness.output_type != "generate_until":
            raise UserError(
                f"task '{settings.name}': lm-eval scores '{custom[0]}' by code of its own, not by the likelihood of "
                "the right choice; this is not supported"
            )
        return
    if harness.output_type == "generate_until":
        raise UserError(
            f"task '{settings.name}': answers to lm-eval's '{settings.harness}' are generated; set `shots: lm-eval`"
        )
    raise UserError(
        f"task '{settings.name}': lm-eval's '{settings.harness}' is of type {harness.output_type}; for the likelihood "
        "of whole texts use bits_per_byte"
    )


def _item(
    settings: TaskSettings, task: ConfigurableTask, doc: Any, identifier: str, cluster: str
) -> TaskItem:
    """Turn a document into an item by the task's own templates."""
    if task.config.gen_prefix is not None and settings.shots != "lm-eval":
        raise UserError(
            f"task '{settings.name}': its prompts end with a prefix of the answer; set `shots: lm-eval`"
        )
    delimiter = str(task.config.target_delimiter)
    if task.OUTPUT_TYPE == "loglikelihood":
        target = str(task.doc_to_target(doc))
        return TaskItem(identifier, (str(task.doc_to_text(doc)),), (target,), 0, cluster, "", "")
    choices = tuple(str(choice) for choice in task.doc_to_choice(doc))
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    if task.multiple_input:
        gold, contexts, continuations = task.doc_to_text(doc), choices, (str(task.doc_to_target(doc)),)
    else:
        gold, contexts, continuations = task.doc_to_target(doc), (str(task.doc_to_text(doc)),), choices
    if isinstance(gold, list) and len(gold) == 1:
        gold = gold[0]
    if isinstance(gold, str) and gold in choices:
        gold = choices.index(gold)
    if isinstance(gold, str) and gold.isdigit():
        gold = int(gold)
    if not isinstance(gold, int) or not 0 <= gold < len(choices):
        raise UserError(
            f"task '{settings.name}', item '{identifier}': lm-eval's task names no single right choice ({gold!r})"
        )
    return TaskItem(identifier, contexts, continuations, gold, cluster, "", delimiter)


def _subject(doc: Any, name: str) -> str:
    """Return the subject of a question: its own column, else the subtask it is of."""
    value = doc.get("subject") if hasattr(doc, "get") else None
    return value[:200] if isinstance(value, str) and value else name


def _cluster(doc: Any, default: str) -> str:
    """Return what the questions of one passage share, shortened; `default` where the document names nothing."""
    for column in CLUSTER_COLUMNS:
        value = doc.get(column) if hasattr(doc, "get") else None
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)[:200]
    return default


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the retries of the hub's libraries off the terminal: the error that follows says it in one line."""
    levels = {name: logging.getLogger(name).level for name in LOUD}
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
