"""Local tasks written as lm-eval's own: YAML, JSONL and ten lines that read it, in a folder for `--include_path`."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from anukul.items.load import LoadedTask, TaskItem
from anukul.rundir import write_atomic

PREFIX = "anukul_"  # no name of lm-eval's own is taken
READ = "!function anukul_reader.load"
READER = '''"""Read the task files beside this one; lm-eval calls `load` with what `dataset_kwargs` names."""

import json
from pathlib import Path

from datasets import Dataset, DatasetDict


def load(files, **_):
    here = Path(__file__).parent
    rows = {split: (here / name).read_text(encoding="utf-8").split("\\n")[:-1] for split, name in files.items()}
    return DatasetDict({split: Dataset.from_list([json.loads(r) for r in held]) for split, held in rows.items()})
'''


def write_tasks(tasks: Iterable[LoadedTask], folder: Path) -> dict[str, list[str]]:
    """Write each task and return the names that lm-eval knows it by; rows of different shapes are tasks of their own.

    `lm_eval --include_path FOLDER --tasks NAME` gives our accuracy at 0 shots.
    """
    names: dict[str, list[str]] = {}
    for task in tasks:
        shapes = sorted({_shape(item) for item in task.items})
        for shape in shapes:
            suffix = f"-{shape}" if len(shapes) > 1 else ""
            names.setdefault(task.settings.name, []).append(_write(task, shape, suffix, folder))
    if names:
        write_atomic(folder / "anukul_reader.py", READER)
    return names


def _shape(item: TaskItem) -> str:
    if item.is_pair:
        return "pairs"
    if item.is_cloze:
        return "cloze"
    return "contexts" if len(item.contexts) > 1 else "choices"


def _write(task: LoadedTask, shape: str, suffix: str, folder: Path) -> str:
    """Write the rows of one shape; exemplars are the pool's, less the scored rows where both are in one file."""
    stem = f"{task.settings.name}{suffix}"
    name = f"{PREFIX}{stem}".replace("-", "_").replace(".", "_")
    scored = [item for item in task.items if _shape(item) == shape]
    known = {(item.split, item.id) for item in task.items}
    others = [item for item in task.pool if _shape(item) == shape and (item.split, item.id) not in known]
    files = {"test": f"{stem}.jsonl"}
    _rows(folder / files["test"], scored)
    if others:
        files["exemplars"] = f"{stem}.exemplars.jsonl"
        _rows(folder / files["exemplars"], others)
    config: dict[str, Any] = {
        "task": name,
        "custom_dataset": READ,
        "dataset_kwargs": {"files": files},
        "test_split": "test",
        "fewshot_split": "exemplars" if others else "test",
        **_fields(shape, scored[0]),
        "metadata": {"version": 1.0},
    }
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    write_atomic(folder / f"{stem}.yaml", text.replace(f"'{READ}'", READ))  # a tag, not a text
    return name


def _fields(shape: str, first: TaskItem) -> dict[str, Any]:
    """Return what says how lm-eval makes prompts of the rows."""
    accuracy = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
    if shape == "cloze":  # lm-eval puts no delimiter between context and target of this type
        fields = {"output_type": "loglikelihood", "doc_to_text": "context", "doc_to_target": "target"}
        return {**fields, "target_delimiter": "", "metric_list": [accuracy]}
    if shape == "contexts":  # as in its Winogrande: the text is the index, the choices are the contexts
        fields = {"doc_to_text": "gold", "doc_to_target": "continuation", "doc_to_choice": "contexts"}
        return {
            "output_type": "multiple_choice",
            **fields,
            "target_delimiter": first.delimiter,
            "metric_list": [accuracy],
        }
    return {
        "output_type": "multiple_choice",
        "doc_to_text": "query",
        "doc_to_target": "gold",
        "doc_to_choice": "choices",
        "target_delimiter": first.delimiter,
        "metric_list": [accuracy, {**accuracy, "metric": "acc_norm"}],
    }


def _rows(path: Path, items: Sequence[TaskItem]) -> None:
    lines = [json.dumps(_row(item), ensure_ascii=False) + "\n" for item in items]
    write_atomic(path, "".join(lines))


def _row(item: TaskItem) -> dict[str, Any]:
    head = {"id": item.id, "cluster": item.cluster}
    shape = _shape(item)
    if shape == "cloze":
        target = item.delimiter + item.continuations[0]
        return {**head, "context": item.contexts[0], "target": target}
    if shape == "contexts":
        return {
            **head,
            "contexts": list(item.contexts),
            "continuation": item.continuations[0],
            "gold": item.gold,
        }
    return {**head, "query": item.contexts[0], "choices": list(item.continuations), "gold": item.gold}
