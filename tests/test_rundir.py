"""The run folder: digests decide, writes are atomic, two commands do not share a folder."""

import multiprocessing
from pathlib import Path

import pytest

from anukul.errors import UserError
from anukul.rundir import (
    StaleStepError,
    StepFolder,
    StepKey,
    atomic_folder,
    changed_keys,
    hash_file,
    hash_path,
    lock,
    read_json,
    write_atomic,
    write_json,
)


def key(rate: float = 1.0, data: str = "aa") -> StepKey:
    return StepKey({"train": {"rate": rate, "sizes": [1, 2]}}, {"data": data})


def test_a_step_is_absent_then_partial_then_done(tmp_path: Path) -> None:
    folder = StepFolder(tmp_path, "corpus")
    assert folder.state(key()) == "absent"
    folder.start(key())
    assert folder.state(key()) == "partial"
    write_atomic(folder.path / "rows.txt", "x")
    folder.finish(key(), ["rows.txt"], {"rows": 1}, 0.5)
    assert folder.state(key()) == "done"
    assert folder.outputs() == {"rows.txt": hash_file(folder.path / "rows.txt")}
    assert not (folder.path / "started.json").exists()


@pytest.mark.parametrize("finished", [False, True])
def test_other_settings_are_refused_and_explained(tmp_path: Path, finished: bool) -> None:
    folder = StepFolder(tmp_path, "corpus")
    folder.start(key())
    if finished:
        folder.finish(key(), [], {}, 0.1)
    with pytest.raises(StaleStepError) as caught:
        folder.state(key(rate=2.0, data="bb"))
    assert "settings.train.rate: 1.0 -> 2.0" in str(caught.value) and '"aa" -> "bb"' in str(caught.value)
    assert "--redo corpus" in str(caught.value)
    folder.discard()
    assert folder.state(key(rate=2.0)) == "absent"


def test_files_without_a_marker_are_not_built_on(tmp_path: Path) -> None:
    folder = StepFolder(tmp_path, "corpus")
    write_atomic(folder.path / "documents.parquet", "x")
    with pytest.raises(UserError, match=r"no started\.json"):
        folder.state(key())


def test_changed_keys_reach_the_leaves() -> None:
    assert changed_keys({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}, "c": 1}) == [
        "a.b.1: 2 -> 3",
        "c: null -> 1",
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert read_json(tmp_path / "a.json") == {"a": 1}
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "whole") as temporary:
        (temporary / "half").write_text("x")
        raise RuntimeError
    assert not (tmp_path / "whole").exists()


def test_folders_hash_by_names_and_contents(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_atomic(tmp_path / name / "base" / "a.txt", "x")
    first, second = (hash_path(tmp_path / name / "base") for name in ("one", "two"))
    assert first == second
    write_atomic(tmp_path / "two/base/a.txt", "y")
    assert hash_path(tmp_path / "two/base") != first
    assert hash_path(tmp_path / "one/base/*.txt") == hash_path(tmp_path / "one/base/a*")
    with pytest.raises(UserError, match="no such file"):
        hash_path(tmp_path / "one/base/*.csv")


def _try_lock(folder: Path, said: "multiprocessing.Queue[str]") -> None:
    try:
        with lock(folder):
            said.put("held")
    except UserError as error:
        said.put(str(error))


def test_two_commands_do_not_share_a_run_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    with lock(tmp_path):
        process = context.Process(target=_try_lock, args=(tmp_path, said))
        process.start()
        assert "another anukul command" in said.get(timeout=60)
        process.join()
    said.close()
    said.join_thread()


def test_paid_verdicts_outlive_a_step_that_is_made_anew(tmp_path: Path) -> None:
    folder = StepFolder(tmp_path, "evaluate")
    folder.start(key())
    write_atomic(folder.path / "verdicts.jsonl", '{"key": "k"}\n')
    write_atomic(folder.path / "scores.json", "{}")
    folder.discard()
    assert [file.name for file in folder.path.iterdir()] == ["verdicts.jsonl"]
    assert folder.state(key(rate=2.0)) == "absent"
