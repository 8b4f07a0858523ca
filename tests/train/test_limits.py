"""What a machine runs out of is told as one line that says what to do."""

import errno
from pathlib import Path

import pytest
import torch

from anukul.errors import UserError
from anukul.rundir import atomic_folder
from anukul.train.limits import within_limits, writing


def test_a_full_disk_is_named_with_what_is_free_and_leaves_what_stood(tmp_path: Path) -> None:
    target = tmp_path / "step-000004"
    target.mkdir()
    (target / "state.json").write_text("before")
    with (
        pytest.raises(UserError, match=r"step-000004: cannot be written \(.*No space left.*GiB are free"),
        writing(target),
        atomic_folder(target) as temporary,
    ):
        (temporary / "state.json").write_text("after")
        with Path("/dev/full").open("w") as full:
            full.write("after")
    assert [path.name for path in tmp_path.iterdir()] == ["step-000004"]
    assert (target / "state.json").read_text() == "before"


def test_a_disk_that_fills_between_checkpoints_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"), within_limits(tmp_path / "train"):
        Path("/dev/full").write_text("a line of metrics")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_full_memory_is_named(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(UserError, match=r"out of memory .*micro_batch_tokens"), within_limits(tmp_path):
        raise error


def test_memory_that_is_full_while_writing_is_no_full_disk(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="out of memory"), within_limits(tmp_path), writing(tmp_path / "best"):
        raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.EACCES, "x"), UserError("x")])
def test_any_other_error_stays_what_it_is(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, within_limits(tmp_path):
        raise error
    assert caught.value is error
