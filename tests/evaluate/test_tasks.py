"""Task files: the shapes, the faults, the exemplars."""

import json
from pathlib import Path
from typing import Any

import pytest

from anukul.config import TaskSettings
from anukul.errors import UserError
from anukul.evaluate.tasks.shots import draw_exemplars, prompt
from anukul.items.load import LoadedTask, TaskItem, load_task

QUESTION = {"query": "Sky is", "choices": ["blue", "green"], "gold": 0}
SCHEMA = {"context_options": ["Ann", "Bob"], "continuation": "left.", "gold": 1}
CLOZE = {"context": "I do not care about", "continuation": "signs"}
HELLASWAG = "Roof: A man sits. he\n3\na\nb\nc\nd\nGym: A lady walks. she\n0\ne\nf\ng\nh\n"


def load(
    folder: Path, content: str | list[dict[str, Any]], name: str = "task.jsonl", **settings: Any
) -> LoadedTask:
    text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
    (folder / name).write_text(text, encoding="utf-8")
    return load_task(TaskSettings(name="t", path=str(folder / name), language="eng_Latn", **settings))


def items(count: int, **more: Any) -> list[TaskItem]:
    return [
        TaskItem(str(n), (f"Q{n}",), ("a", "b"), n % 2, more.get("cluster", str(n)), "") for n in range(count)
    ]


def test_the_three_shapes(tmp_path: Path) -> None:
    question, schema, cloze = load(tmp_path, [QUESTION, SCHEMA, CLOZE]).items
    assert [question.pair(option) for option in range(question.options)] == [
        ("Sky is", "blue"),
        ("Sky is", "green"),
    ]
    assert [schema.pair(option) for option in range(schema.options)] == [("Ann", "left."), ("Bob", "left.")]
    assert (cloze.options, cloze.is_cloze, cloze.gold) == (1, True, 0)
    assert [item.solved for item in (question, schema, cloze)] == [
        "Sky is blue",
        "Bob left.",
        "I do not care about signs",
    ]
    assert (question.id, schema.id, schema.cluster, schema.split) == ("1", "2", "2", "")


def test_labels_limit_and_exemplars(tmp_path: Path) -> None:
    rows = [
        {**QUESTION, "id": "a", "cluster": 7, "split": "new"},
        {**SCHEMA, "id": "b", "split": "exemplar"},
        {**CLOZE, "id": "c"},
    ]
    task = load(tmp_path, rows, limit=1)
    assert [(item.id, item.cluster, item.split) for item in task.items] == [("a", "7", "new")]
    assert [item.id for item in task.pool] == ["b"]
    assert [item.id for item in load(tmp_path, rows[:1] + rows[2:], limit=1).pool] == ["a", "c"]


def test_hellaswag(tmp_path: Path) -> None:
    first, second = load(tmp_path, HELLASWAG, "val.txt").items
    assert first.solved == "Roof: A man sits. he d"
    assert (second.id, second.gold, second.continuations) == ("7", 0, ("e", "f", "g", "h"))
    assert len(load(tmp_path, HELLASWAG + "\n", "val.txt").items) == 2
    assert len(load(tmp_path, HELLASWAG, "val.data", format="hellaswag").items) == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([QUESTION, {**QUESTION, "gold": 2}], "line 2: 'gold' must be a whole number from 0 to 1, got 2"),
        ([{**QUESTION, "gold": True}], "line 1: 'gold'"),
        ([{**QUESTION, "choices": ["one"]}], "line 1: 'choices' must be a list of at least two"),
        ([{**QUESTION, "choices": ["one", " "]}], "line 1: 'choices' must hold texts that are not empty"),
        ([{**QUESTION, "query": None}], "line 1: 'query' must be a text"),
        ([{**SCHEMA, "continuation": ""}], "line 1: 'continuation' must be a text"),
        ([{"question": "?"}], "line 1: a row needs query and choices.*found question"),
        ([{**QUESTION, "cluster": 1.5}], "line 1: 'cluster' must be"),
        ([{**QUESTION, "id": 1}, {**QUESTION, "id": "1"}], "two rows have the id '1'"),
        ([{**QUESTION, "split": "exemplar"}], "no items to score"),
        ("{nope\n", "line 1: not JSON"),
        ("\n[1]\n", "line 2: not a JSON object"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path, rows)
    assert "task.jsonl" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HELLASWAG[:-2], "line 7: an item needs 6 lines, the file ends after 5"),
        (HELLASWAG.replace("\n0\n", "\n4\n"), "line 8: expected the index"),
        (HELLASWAG.replace("\nf\n", "\n\n"), "line 10: empty line"),
        ("", "no items to score"),
    ],
)
def test_hellaswag_faults(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, text, "val.txt")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_task(TaskSettings(name="t", path=str(tmp_path / "absent.jsonl"), language="eng_Latn"))
    (tmp_path / "latin.jsonl").write_bytes(b'{"query": "caf\xe9"}\n')
    with pytest.raises(UserError, match="line 1: not UTF-8"):
        load_task(TaskSettings(name="t", path=str(tmp_path / "latin.jsonl"), language="eng_Latn"))


def test_exemplars_are_nested_and_shared() -> None:
    pool = items(30)
    drawn = {k: draw_exemplars(pool, pool, 3, k, "t") for k in (1, 2, 4)}
    for one, two, four in zip(*drawn.values(), strict=True):
        assert one == two[:1]
        assert two == four[:2]
    for item, chosen in zip(pool, drawn[4], strict=True):
        assert item not in chosen
    assert (
        len({tuple(e.id for e in chosen) for chosen in drawn[4]}) == 5
    )  # all share but the four that are drawn
    assert drawn[4] == draw_exemplars(pool, pool, 3, 4, "t")
    assert drawn[4] != draw_exemplars(pool, pool, 4, 4, "t")
    alone = draw_exemplars(pool, pool, 3, 4, "t", per_item=True)
    assert len({tuple(e.id for e in chosen) for chosen in alone}) > 20


def test_exemplars_never_leak_the_answer() -> None:
    pool = items(6)
    twin = TaskItem("twin", ("Q0",), ("b", "a"), 1, "twin", "")
    assert pool[0] not in draw_exemplars(pool, [twin], 0, 5, "t")[0]
    clustered = [*items(2, cluster="same"), *items(6)[2:]]
    for item, chosen in zip(clustered, draw_exemplars(clustered, clustered, 0, 4, "t"), strict=True):
        assert all(exemplar.cluster != item.cluster for exemplar in chosen)


def test_too_few_exemplars() -> None:
    with pytest.raises(UserError, match="task 't', item '0': 3 shots are asked for but only 2 exemplars"):
        draw_exemplars(items(3), items(3), 0, 3, "t")


def test_a_longer_prompt_extends_the_exemplars() -> None:
    pool = items(3)
    assert prompt([], "Q?") == "Q?"
    assert prompt(pool[:1], "Q?") == "Q0 a\n\nQ?"
    assert prompt(pool[:2], "Q?") == "Q0 a\n\nQ1 b\n\nQ?"


@pytest.mark.real
def test_real_files(real_data: Path) -> None:
    counts = {}
    for name in ("arc_easy", "piqa", "winogrande", "copa", "lambada_first1000"):
        path = real_data / "bench" / "llm-foundry" / f"{name}.jsonl"
        counts[name] = len(load_task(TaskSettings(name=name, path=str(path), language="eng_Latn")).items)
    path = real_data / "bench" / "hellaswag" / "hellaswag_val_first2000.txt"
    counts["hellaswag"] = len(load_task(TaskSettings(name="h", path=str(path), language="eng_Latn")).items)
    assert counts == {
        "arc_easy": 2376,
        "piqa": 1838,
        "winogrande": 1267,
        "copa": 100,
        "lambada_first1000": 1000,
        "hellaswag": 2000,
    }
