"""Tables of labelled texts as tasks: choices, names, exemplars, and one clear line for every fault."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from anukul.config import LabelSettings, TaskSettings
from anukul.errors import UserError
from anukul.items.load import LoadedTask, load_task

TSV = 'index_id\tcategory\ttext\n7\ttravel\tको "राम" हो?\n9\thealth\tडाक्टर\n12\ttravel\tपहाड\n'
NAMES = {"travel": "यात्रा", "health": "स्वास्थ्य"}


def load(folder: Path, content: str, name: str = "t.tsv", **labels: Any) -> LoadedTask:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    settings = LabelSettings(**({"label": "category"} | labels))
    return load_task(TaskSettings(name="topics", path=str(path), language="npi_Deva", labels=settings))


def test_every_label_is_a_choice(tmp_path: Path) -> None:
    task = load(tmp_path, TSV, question="विषय:", names=NAMES)
    first, second, third = task.items
    assert first.contexts == ('को "राम" हो?\nविषय:',)
    assert first.continuations == second.continuations == ("स्वास्थ्य", "यात्रा")
    assert [item.gold for item in (first, second, third)] == [1, 0, 1]
    assert first.solved == 'को "राम" हो?\nविषय: यात्रा'
    assert len({item.id for item in task.items}) == 3
    assert load(tmp_path, TSV).items[0].continuations == ("health", "travel")


def test_a_csv_with_a_line_break_and_a_jsonl(tmp_path: Path) -> None:
    table = 'text,category\n"one, two\nthree",a\nfour,b\n'
    assert load(tmp_path, table, "t.csv").items[0].contexts == ("one, two\nthree",)
    rows = '{"text": "x", "category": "a", "split": "exemplar"}\n{"text": "y", "category": "b"}\n'
    task = load(tmp_path, rows, "t.jsonl")
    assert ([item.gold for item in task.items], [item.gold for item in task.pool]) == ([1], [0])


@pytest.mark.parametrize(
    ("content", "labels", "expected"),
    [
        (
            TSV,
            {"label": "topic"},
            r"line 2: 'topic' must be a label.*the columns are index_id, category, text",
        ),
        (TSV, {"text": "body"}, r"line 2: 'body' must be a text.*the columns are"),
        (TSV, {"names": {"travel": "x"}}, r"labels.names has no name for health"),
        ("text\tcategory\nx\ta\ny\ta\n", {}, r"every row has the label 'a'"),
        ("text\tcategory\nx\ta\textra\n", {}, r"line 2: 3 cells where the header has 2"),
        ("text\tcategory\n\ta\n", {}, r"line 2: 'text' must be a text"),
        ("text\tcategory\n", {}, r"no items to score"),
        ("", {}, r"no items to score"),
    ],
)
def test_faults_name_the_line(tmp_path: Path, content: str, labels: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        load(tmp_path, content, **labels)


def test_a_table_needs_labels_and_labels_need_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(TSV, encoding="utf-8")
    with pytest.raises(UserError, match=r"is a table; say which columns"):
        load_task(TaskSettings(name="t", path=str(tmp_path / "t.tsv"), language="npi_Deva"))
    (tmp_path / "test.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"labels are for one table"):
        load_task(TaskSettings(name="t", path=str(tmp_path), language="npi_Deva", labels=LabelSettings()))
    with pytest.raises(ValidationError, match=r"labels go with a path and no format"):
        TaskSettings(name="t", path="x", format="jsonl", language="npi_Deva", labels=LabelSettings())
