"""Every text that the run evaluates on, out of the files that its config names.

Held-out lines are those that the config says (`skip`, `limit`): what stands in the same file before and after may be
training text. Of tasks it is all rows of the files, with the ones that exemplars are drawn from, so that another
`limit` asks nothing new. Statements of `evaluate.knowledge` whose row says that the texts state them (`stated_in`) are
left out: to be in the corpus is what they are for.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from anukul.config import HeldOutText, ProbeTask, RunConfig, TaskSettings
from anukul.configfile import prompts_path
from anukul.contamination.index import EvalText
from anukul.errors import UserError
from anukul.items.lines import load_held_out
from anukul.items.load import TaskItem, load_task
from anukul.items.pairs import load_pairs
from anukul.items.presets import expand
from anukul.items.rows import read_jsonl, read_lines


def eval_texts(config: RunConfig) -> Iterator[EvalText]:
    """Yield every text of every item that the run evaluates on; raise UserError where a set cannot be read."""
    yield from _of_evaluate(config)
    if config.train and config.train.ledger:
        probes = config.train.ledger.probes
        yield from _held_out("train.ledger", probes.bits_per_byte)
        for probe in probes.tasks:
            yield from _task(f"train.ledger.{probe.name}", _as_task(probe))
    if config.probe:
        yield from _treebank(config.probe.treebank, config.probe.language)
        for pairs in config.probe.pairs:
            language = pairs.language or config.language
            yield from _pairs(f"probe.pairs.{pairs.name}", pairs.path, language)
        yield from _held_out("probe.knockout", config.probe.held_out(config.evaluate))


def _of_evaluate(config: RunConfig) -> Iterator[EvalText]:
    settings = config.evaluate
    if settings is None:
        return
    for task, _ in expand(settings, config.language):
        if task.harness is None:
            yield from _task(f"tasks.{task.name}", task)
        else:
            yield from _harness(f"tasks.{task.name}", task)
    yield from _held_out("bits_per_byte", settings.bits_per_byte)
    if settings.translation:
        asked = settings.translation
        for side, path, code in (
            ("source", asked.source, config.base_language),
            ("target", asked.target, config.language),
        ):
            text = HeldOutText(name=side, path=path, language=code, skip=asked.skip, limit=asked.limit)
            yield from _held_out("translation", (text,))
    if settings.corpus_probe:
        probe = settings.corpus_probe
        text = HeldOutText(name="text", path=probe.text, language=config.language, skip=probe.skip)
        yield from _held_out("corpus_probe", (text,))
    if settings.generation:
        path = str(prompts_path(settings.generation, config.language))
        for number, row in read_jsonl(path):
            prompt = str(row.get("prompt", ""))
            yield EvalText("generation", str(row.get("id", number)), prompt, config.language)
    if settings.knowledge:
        yield from _facts(settings.knowledge)
    if settings.agreement:
        yield from _pairs("agreement", settings.agreement, config.language)


def _held_out(name: str, texts: Iterable[HeldOutText]) -> Iterator[EvalText]:
    for text in texts:
        for number, line in load_held_out(text):
            yield EvalText(f"{name}.{text.name}", str(number), line, text.language)


def _as_task(probe: ProbeTask) -> TaskSettings:
    return TaskSettings(
        name=probe.name,
        path=probe.path,
        language=probe.language,
        format=probe.format,
        labels=probe.labels,
        split=probe.split,
    )


def _task(name: str, settings: TaskSettings) -> Iterator[EvalText]:
    loaded = load_task(settings.model_copy(update={"limit": None}))
    seen: set[str] = set()
    asked = f"\n{settings.labels.question}" if settings.labels and settings.labels.question else ""
    for item in (*loaded.items, *loaded.pool):
        if item.id in seen:
            continue
        seen.add(item.id)
        if settings.labels:  # the question and the labels are the same for every item
            yield EvalText(name, item.id, item.contexts[0].removesuffix(asked), settings.language)
        else:
            yield from _of_item(name, item, settings.language)


def _of_item(name: str, item: TaskItem, language: str) -> Iterator[EvalText]:
    """Yield the question, the choices, and the question with its right answer, each a text of its own."""
    solved = item.solved
    for text in dict.fromkeys((*item.contexts, *item.continuations, solved)):
        if text.strip():
            yield EvalText(name, item.id, text, language)


def _harness(name: str, settings: TaskSettings) -> Iterator[EvalText]:
    """Yield every text of the rows of a task of lm-eval, whose data comes from the hub or its cache."""
    # in here: it takes seconds to load, and only tasks of lm-eval need it
    from anukul.scoring import harness as _environment  # noqa: F401  before lm-eval: it quiets its logger

    from lm_eval.tasks import TaskManager  # isort: skip

    try:
        tasks = TaskManager().load([settings.harness])["tasks"]
        rows = [
            (f"{task}:{number}", row)
            for task, made in tasks.items()
            for number, row in enumerate(made.eval_docs)
        ]
    except Exception as error:  # the hub's libraries raise anything, from OSError to KeyError
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"task '{settings.name}': its data is needed to keep it out of the training text, and lm-eval's task "
            f"'{settings.harness}' cannot be loaded ({type(error).__name__}: {said}); run once with a network, leave "
            "the task out, or set `corpus.decontaminate: null`"
        ) from None
    for item, row in rows:
        for text in _strings(row):
            yield EvalText(name, item, text, settings.language)


def _strings(value: Any) -> Iterator[str]:
    """Yield the texts anywhere in a row."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)


def _facts(path: str) -> Iterator[EvalText]:
    for number, row in read_jsonl(path):
        statements = row.get("statement")
        if row.get("stated_in") or not isinstance(statements, dict):
            continue
        for language, statement in statements.items():
            yield EvalText("knowledge", f"{row.get('id', number)}:{language}", str(statement), str(language))


def _pairs(name: str, path: str, language: str) -> Iterator[EvalText]:
    for pair in load_pairs(path, language):
        for text in (pair.good, pair.bad):
            yield EvalText(name, pair.id, text, pair.language)


def _treebank(path: str, language: str) -> Iterator[EvalText]:
    """Yield the sentences of a CoNLL-U file by their `# text` lines, else by their words."""
    identifier, text, words = "", "", list[str]()
    number = 0
    for _, line in (*read_lines(path), (0, "")):
        if line.strip():
            key, _, value = line.removeprefix("#").partition("=")
            if line.startswith("#"):
                identifier = value.strip() if key.strip() == "sent_id" else identifier
                text = value.strip() if key.strip() == "text" else text
            elif line.split("\t", 1)[0].isdigit():
                words.append(line.split("\t")[1])
        elif words:
            number += 1
            yield EvalText("probe.treebank", identifier or str(number), text or " ".join(words), language)
            identifier, text, words = "", "", []
