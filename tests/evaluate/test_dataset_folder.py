"""Tasks in dataset folders, and minimal pairs as a task."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anukul.config import TaskSettings
from anukul.errors import UserError
from anukul.items.load import LoadedTask, load_task


def rows(prefix: str, count: int) -> list[dict[str, Any]]:
    return [{"query": f"{prefix}{n}", "choices": ["a", "b", "c"], "gold": n % 3} for n in range(count)]


def load(path: Path, **settings: Any) -> LoadedTask:
    return load_task(TaskSettings(name="t", path=str(path), language="eng_Latn", **settings))


def test_what_save_to_disk_writes(tmp_path: Path) -> None:
    import datasets

    held = {
        "train": datasets.Dataset.from_list(rows("t", 5)),
        "validation": datasets.Dataset.from_list(rows("v", 3)),
    }
    datasets.DatasetDict(held).save_to_disk(str(tmp_path / "both"))
    task = load(tmp_path / "both", limit=2)
    assert [item.contexts for item in task.items] == [("v0",), ("v1",)]
    assert task.items[1].continuations == ("a", "b", "c")
    assert [(item.contexts[0], item.id) for item in task.pool][:2] == [("t0", "train:1"), ("t1", "train:2")]
    assert task.source.endswith("both, split validation")
    assert load(tmp_path / "both", split="train").items[0].contexts == ("t0",)
    held["train"].save_to_disk(str(tmp_path / "one"))
    assert [item.id for item in load(tmp_path / "one").pool] == ["1", "2", "3", "4", "5"]


def test_files_per_split(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number, part in enumerate((rows("x", 2), rows("y", 2))):
        pq.write_table(pa.Table.from_pylist(part), tmp_path / "data" / f"test-0000{number}-of-00002.parquet")
    lines = [{**row, "cluster": "c"} for row in rows("z", 3)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    task = load(tmp_path)
    assert [item.contexts[0] for item in task.items] == ["x0", "x1", "y0", "y1"]
    assert [item.id for item in task.items] == ["1", "2", "3", "4"]
    assert {item.cluster for item in task.pool} == {"c"}


def test_columns_that_are_null_are_not_there(tmp_path: Path) -> None:
    mixed = [
        {"context": "I see", "continuation": "you"},
        {"context_options": ["A", "B"], "continuation": "c", "gold": 1},
    ]
    pq.write_table(
        pa.Table.from_pylist(
            [{**dict.fromkeys(("context", "context_options", "gold")), **row} for row in mixed]
        ),
        tmp_path / "test.parquet",
    )
    cloze, schema = load(tmp_path).items
    assert cloze.is_cloze and schema.contexts == ("A", "B") and schema.gold == 1


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a dataset folder"):
        load(tmp_path)
    (tmp_path / "all.jsonl").write_text(json.dumps({"query": "q"}), encoding="utf-8")
    with pytest.raises(UserError, match=r"split all, row 1: a row needs query and choices"):
        load(tmp_path)
    (tmp_path / "other.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(
        UserError, match="no split test or validation; name one with `split`; there are all, other"
    ):
        load(tmp_path)
    with pytest.raises(UserError, match="no split 'dev'; there are all, other"):
        load(tmp_path, split="dev")
    (tmp_path / "test.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"test\.parquet: cannot be read as Parquet"):
        load(tmp_path)
    with pytest.raises(UserError, match="split is for dataset folders"):
        load(tmp_path / "all.jsonl", split="test")


def test_minimal_pairs_are_a_task(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    lines = [{"good": "She goes.", "bad": "She go.", "phenomenon": "sv"}, {"good": "I go.", "bad": "I goes."}]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    task = load(path)
    assert task.is_pairs
    assert [(item.continuations, item.phenomenon, item.gold, item.delimiter) for item in task.items] == [
        (("She goes.", "She go."), "sv", 0, ""),
        (("I go.", "I goes."), "unnamed", 0, ""),
    ]
    blimp = {"sentence_good": "He went.", "sentence_bad": "He goed.", "UID": "irregular_past", "pairID": "7"}
    path.write_text(json.dumps(blimp), encoding="utf-8")
    (item,) = load(path).items
    assert (item.id, item.continuations, item.phenomenon, item.is_pair) == (
        "irregular_past/7", ("He went.", "He goed."), "irregular_past", True,
    )  # fmt: skip
    path.write_text("\n".join(map(json.dumps, [lines[0], *rows("x", 1)])), encoding="utf-8")
    with pytest.raises(UserError, match=r"minimal pairs .* cannot be one task"):
        load(path)
    path.write_text(json.dumps({"good": "a", "bad": "a"}), encoding="utf-8")
    with pytest.raises(UserError, match="line 1: the good and the bad sentence are the same"):
        load(path)
