"""A full disk is known however a library says it, and said in one line; /dev/full is a disk that is always full."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from anukul import cli
from anukul.disk import full_by, not_written, room_in
from anukul.errors import UserError
from anukul.rundir import write_json
from small_disk import SmallDisk

NUMBERS = np.arange(100_000)


def parquet(file: IO[bytes]) -> None:
    pq.write_table(pa.table({"a": NUMBERS}), file)


@pytest.mark.parametrize(
    "write",
    [lambda file: file.write(b"x" * 100_000), lambda file: np.save(file, NUMBERS), parquet],
    ids=["python", "numpy", "pyarrow"],
)
def test_what_writes_into_a_file(write: Callable[[IO[bytes]], Any]) -> None:
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb", buffering=0) as file:
        write(file)
    assert full_by(caught.value) == errno.ENOSPC


def test_what_writes_by_itself(small_disk: SmallDisk) -> None:
    small_disk.fill(20_000, largest=20_000)
    wanted = errno.ENOSPC if small_disk.mounted else errno.EFBIG
    weights = {"a": torch.zeros(100_000)}
    with pytest.raises(Exception, match=r"device|large") as caught:
        save_file(weights, small_disk.path / "a.safetensors")
    assert full_by(caught.value) == wanted


OTHERS = [
    OSError(errno.EACCES, "no"),
    ValueError("bad"),
    OSError("odd"),
    UserError("No space left on device"),
]


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_errors_are_what_they_were(tmp_path: Path, error: Exception) -> None:
    assert full_by(error) is None
    with pytest.raises(type(error)) as caught, room_in(tmp_path):
        raise error
    assert caught.value is error


def test_the_line_names_what_could_not_be_written_and_what_is_free(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    line = str(not_written(error, errno.ENOSPC, tmp_path / "not" / "there"))
    assert line.startswith(f"{tmp_path}/not/there: cannot be written: the disk or the quota is full (")
    assert line.endswith(" bytes free now); make space, then the same command goes on from what is whole")
    named = OSError(errno.EDQUOT, "x", str(tmp_path / "a.parquet"))
    with (
        pytest.raises(UserError, match=r"a\.parquet: cannot be written: the disk or the quota"),
        room_in(tmp_path),
    ):
        raise named
    grown = not_written(OSError(errno.EFBIG, "x"), errno.EFBIG, tmp_path)
    assert "a file reached the largest size that is allowed" in str(grown)


def test_the_command_line_says_it_wherever_it_happens(
    small_disk: SmallDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    small_disk.fill()
    assert cli._guarded(lambda: write_json(small_disk.path / "made" / "world.json", "x" * 10_000)) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(small_disk.path.glob("made/*"))
