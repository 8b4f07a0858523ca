"""The run folder: digests decide, writes are atomic, two commands do not share a folder."""

import multiprocessing
from pathlib import Path

import pytest

from anukul.digests import digest, hash_file, hash_path
from anukul.errors import UserError
from anukul.rundir import (
    StaleStepError,
    StepFolder,
    StepKey,
    atomic_file,
    atomic_folder,
    changed_keys,
    lock,
    read_json,
    remove_folder,
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


@pytest.mark.parametrize("pattern", ["*/p.jsonl", "**/p.jsonl", "one/?.jsonl", "on[e]/p.jsonl", "**/*.jsonl"])
def test_every_glob_that_steps_read_has_a_hash(tmp_path: Path, pattern: str) -> None:
    def hashed(root: Path, text: str) -> str:
        write_atomic(root / "one" / "p.jsonl", text)
        return hash_path(root / pattern)

    first = hashed(tmp_path / "a", "x")
    assert hashed(tmp_path / "b", "x") == first != hashed(tmp_path / "c", "y")
    (tmp_path / "[odd]").mkdir()
    write_atomic(tmp_path / "[odd]" / "p.jsonl", "x")
    assert hash_path(tmp_path / "[odd]")


def test_the_hash_of_a_glob_in_one_folder_is_what_it_was(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt"):
        write_atomic(tmp_path / name, name)
    said = [[name, hash_file(tmp_path / name)] for name in ("a.txt", "b.txt")]
    assert hash_path(tmp_path / "*.txt") == digest(said)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "rows") as file:
        file.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_kill_before_the_marker_stands_is_no_reason_to_refuse(tmp_path: Path) -> None:
    folder = StepFolder(tmp_path, "corpus")
    folder.path.mkdir()
    (folder.path / ".started.json.tmp").write_text('{"settings":')
    assert folder.state(key()) == "absent"
    folder.start(key())
    assert [file.name for file in folder.path.iterdir()] == ["started.json"]


@pytest.mark.parametrize("redo", [False, True])
def test_a_kill_while_a_step_is_discarded_loses_no_paid_verdict(tmp_path: Path, redo: bool) -> None:
    folder = StepFolder(tmp_path, "evaluate")
    trash = tmp_path / ".evaluate.discarded"
    write_atomic(trash / "verdicts.jsonl", '{"key": "k"}\n')  # as it is between the first move and the second
    write_atomic(trash / "scores.json", "{}")
    assert folder.state(key()) == "absent"
    if redo:
        folder.discard()
    folder.start(key())
    assert sorted(file.name for file in folder.path.iterdir()) == ["started.json", "verdicts.jsonl"]
    assert not trash.exists()


def test_a_folder_is_deleted_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "parts" / "a" / "rows", "x")

    def killed(*_: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("os.rmdir", killed)
        remove_folder(tmp_path / "parts")
    assert [path.name for path in tmp_path.iterdir()] == [".parts.discarded"]
    remove_folder(tmp_path / "parts")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read: No such file"):
        hash_file(tmp_path / "none.jsonl")


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
