"""Every text that the run evaluates on, out of the files that its config names.

Held-out lines are those that the config says (`skip`, `limit`): what stands in the same file before and after may be
training text. Of tasks it is all rows of the files, with the ones that exemplars are drawn from, so that another
`limit` asks nothing new. Statements of `evaluate.knowledge` whose row says that the texts state them (`stated_in`) are
left out: to be in the corpus is what they are for.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from anukul.config import (
    EvaluateSettings,
    GenerationSettings,
    HeldOutText,
    ProbeTask,
    RunConfig,
    TaskSettings,
    TranslationSettings,
)
from anukul.configfile import prompts_path
from anukul.contamination.index import EvalText
from anukul.errors import UserError
from anukul.items.exemplars import spaced
from anukul.items.lines import lines_after
from anukul.items.load import TaskItem, load_task
from anukul.items.pairs import load_pairs
from anukul.items.parallel import exemplars, load_lines
from anukul.items.presets import expand
from anukul.items.rows import read_jsonl, read_lines


@dataclass(frozen=True, slots=True)
class EvalSet:
    """One set of items: `asked` is what of the config, files apart, decides which texts `read` gives."""

    name: str
    asked: Any
    read: Callable[[], Iterable[EvalText]]


def eval_texts(config: RunConfig) -> Iterator[EvalText]:
    """Yield every text of every item that the run evaluates on; raise UserError where a set cannot be read."""
    for held in eval_sets(config):
        yield from held.read()


def eval_sets(config: RunConfig) -> Iterator[EvalSet]:
    """Yield every set that the run evaluates on; nothing of it is read yet."""
    if config.evaluate:
        yield from _of_evaluate(config, config.evaluate)
    if config.train and config.train.ledger:
        probes = config.train.ledger.probes
        yield from _held_out("train.ledger", probes.bits_per_byte)
        for probe in probes.tasks:
            yield _task(f"train.ledger.{probe.name}", _as_task(probe))
    if config.probe:
        trees = config.probe
        yield EvalSet("probe.treebank", None, partial(_treebank, trees.treebank, trees.language))
        for pairs in trees.pairs:
            yield _pairs(f"probe.pairs.{pairs.name}", pairs.path, pairs.language or config.language)
        yield from _held_out("probe.knockout", trees.held_out(config.evaluate))


def _of_evaluate(config: RunConfig, settings: EvaluateSettings) -> Iterator[EvalSet]:
    for task, _ in expand(settings, config.language):
        name = f"tasks.{task.name}"
        yield _task(name, task) if task.harness is None else _harness(name, task, settings.shots)
    yield from _held_out("bits_per_byte", settings.bits_per_byte)
    if settings.translation:
        asked = settings.translation
        decides = [asked.skip, asked.limit, max(asked.shots)]
        yield EvalSet("translation", decides, partial(_translation, config, asked))
    if settings.corpus_probe:
        probe = settings.corpus_probe
        read = partial(_lines, "corpus_probe.text", probe.text, config.language, probe.skip, None)
        yield EvalSet("corpus_probe", [probe.skip], read)
    if settings.generation:
        yield EvalSet("generation", None, partial(_prompts, settings.generation, config.language))
    if settings.knowledge:
        yield EvalSet("knowledge", None, partial(_facts, settings.knowledge))
    if settings.agreement:
        yield _pairs("agreement", settings.agreement, config.language)


def _held_out(name: str, texts: Iterable[HeldOutText]) -> Iterator[EvalSet]:
    for text in texts:
        key = f"{name}.{text.name}"
        read = partial(_lines, key, text.path, text.language, text.skip, text.limit)
        yield EvalSet(key, [text.skip, text.limit], read)


def _lines(name: str, path: str, language: str, skip: int, limit: int | None) -> Iterator[EvalText]:
    for number, line in lines_after(path, skip, limit):
        yield EvalText(name, str(number), line, language)


def _translation(config: RunConfig, settings: TranslationSettings) -> Iterator[EvalText]:
    """Yield both sides of the lines that are translated, and of the exemplars; the others may be training text."""
    asked, rest = load_lines(settings)
    for line in (*asked, *exemplars(rest, settings, config.seed)):
        yield EvalText("translation.source", str(line.number), line.base, config.base_language)
        yield EvalText("translation.target", str(line.number), line.target, config.language)


def _prompts(settings: GenerationSettings, language: str) -> Iterator[EvalText]:
    for number, row in read_jsonl(str(prompts_path(settings, language))):
        yield EvalText("generation", str(row.get("id", number)), str(row.get("prompt", "")), language)


def _as_task(probe: ProbeTask) -> TaskSettings:
    return TaskSettings(
        name=probe.name,
        path=probe.path,
        language=probe.language,
        format=probe.format,
        labels=probe.labels,
        split=probe.split,
    )


def _task(name: str, settings: TaskSettings) -> EvalSet:
    labels = settings.labels and settings.labels.model_dump()
    return EvalSet(name, [settings.format, labels, settings.split], partial(_of_task, name, settings))


def _of_task(name: str, settings: TaskSettings) -> Iterator[EvalText]:
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


def _harness(name: str, settings: TaskSettings, shots: tuple[int, ...]) -> EvalSet:
    """Return a task of lm-eval, whose data comes from the hub or its cache."""
    if settings.shots == "lm-eval":
        asked: Any = ["lm-eval", settings.num_fewshot]
    else:
        asked = max((shots if settings.shots is None else settings.shots), default=0)
    return EvalSet(name, [settings.harness, asked], partial(_of_harness, name, settings, asked))


def _of_harness(name: str, settings: TaskSettings, asked: Any) -> Iterator[EvalText]:
    # in here: it takes seconds to load, and only tasks of lm-eval need it
    from anukul.scoring import harness as _environment  # noqa: F401  before lm-eval: it quiets its logger

    from lm_eval.tasks import TaskManager  # isort: skip

    try:
        rows = harness_rows(TaskManager().load([settings.harness])["tasks"], asked)
    except Exception as error:  # the hub's libraries raise anything, from OSError to KeyError
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"task '{settings.name}': its data is needed to keep it out of the training text, and lm-eval's task "
            f"'{settings.harness}' cannot be loaded ({type(error).__name__}: {said}); run once with a network, leave "
            "the task out, or set `corpus.decontaminate: null`"
        ) from None
    for item, texts in rows:
        for text in texts:
            yield EvalText(name, item, text, settings.language)


def harness_rows(tasks: dict[str, Any], asked: Any) -> list[tuple[str, tuple[str, ...]]]:
    """Return (id, texts) of the rows that tasks of lm-eval score, and of those that exemplars are drawn from.

    `asked` is ["lm-eval", count or None] where it draws them itself, which it does from all, else our most shots.
    """
    rows: list[tuple[str, tuple[str, ...]]] = []
    for name, task in tasks.items():
        scored = [tuple(_strings(row)) for row in task.eval_docs]
        rows += [(f"{name}:{number}", texts) for number, texts in enumerate(scored)]
        theirs = isinstance(asked, list)
        count = asked[1] if theirs else asked
        if count is None:
            count = task.config.num_fewshot or 0
        if not count:
            continue
        known = set(scored)
        pool = list(task.fewshot_docs())
        for number in range(len(pool)) if theirs else spaced(len(pool)):
            texts = tuple(_strings(pool[number]))
            if texts not in known:
                rows.append((f"{name}:exemplar:{number}", texts))
    return rows


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


def _pairs(name: str, path: str, language: str) -> EvalSet:
    return EvalSet(name, None, partial(_of_pairs, name, path, language))


def _of_pairs(name: str, path: str, language: str) -> Iterator[EvalText]:
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
