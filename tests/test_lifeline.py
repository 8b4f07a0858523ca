"""Whether all processes of a launch end together, and who speaks; each is a real process."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anukul import lifeline
from anukul.errors import LostProcessError
from anukul.lifeline import HOST, Place

CASES: dict[str, dict[str, Any]] = {
    "peace": {"does": ["part"] * 3},
    "stranger": {"does": ["part"] * 3, "stranger": True},
    "other": {"does": ["wait", "own", "wait"]},
    "first": {"does": ["own", "wait", "wait"]},
    "alike": {"does": ["late", "own", "own"]},
    "two": {"does": ["wait", "own", "own"]},
    "killed": {"does": ["wait", "killed", "wait"]},
    "first-killed": {"does": ["killed", "wait", "wait"]},
    "followed": {"does": ["follow", "killed", "follow"]},
    "first-followed": {"does": ["killed", "follow", "follow"]},
    "unclear": {"does": ["follow", "follow", "wait"]},
    "machines": {"does": ["wait", "wait", "wait", "own"], "hosts": ["a", "a", "b", "b"]},
    "machines-killed": {"does": ["wait", "wait", "wait", "killed"], "hosts": ["a", "a", "b", "b"]},
    "machines-first": {"does": ["killed", "wait", "wait", "wait"], "hosts": ["a", "a", "b", "b"]},
    "launcher": {"does": ["wait", "own", "wait", "wait"], "hosts": ["a", "a", "b", "b"], "launcher": True},
}

Ends = list[dict[str, Any]]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ends]:
    """What became of the processes of every case."""
    folder = tmp_path_factory.mktemp("lifeline")
    (folder / "cases.json").write_text(json.dumps(CASES))
    worker = Path(__file__).with_name("lifeline_worker.py")
    done = subprocess.run(
        [sys.executable, str(worker), str(folder / "cases.json"), str(folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    found: dict[str, Ends] = json.loads(done.stdout)
    return found


def said(ends: Ends) -> list[tuple[int, str]]:
    """The lines that were said, each with the number of its process."""
    return [(index, line) for index, end in enumerate(ends) for line in end["said"].splitlines()]


def codes(ends: Ends) -> list[int]:
    return [end["code"] for end in ends]


def test_all_end_within_seconds(ends: dict[str, Ends]) -> None:
    assert ends.keys() == CASES.keys()
    assert max(end["seconds"] for case in ends.values() for end in case) < 10


@pytest.mark.parametrize("case", ["peace", "stranger"])
def test_who_parts_in_peace_says_nothing(ends: dict[str, Ends], case: str) -> None:
    assert codes(ends[case]) == [0, 0, 0]
    assert said(ends[case]) == []


@pytest.mark.parametrize(
    ("case", "speakers"), [("other", [1]), ("first", [0]), ("alike", [0]), ("two", [1, 2])]
)
def test_the_one_that_failed_says_why(ends: dict[str, Ends], case: str, speakers: list[int]) -> None:
    assert codes(ends[case]) == [2, 2, 2]
    [(index, line)] = said(ends[case])
    assert index in speakers and line == f"said by {index}"


@pytest.mark.parametrize(
    ("case", "killed", "speaker"),
    [("killed", 1, 0), ("first-killed", 0, 1), ("followed", 1, 0), ("first-followed", 0, 1)],
)
def test_a_death_is_told_once_and_what_follows_from_it_never(
    ends: dict[str, Ends], case: str, killed: int, speaker: int
) -> None:
    assert codes(ends[case]) == [-signal.SIGKILL if i == killed else 1 for i in range(3)]
    [(index, line)] = said(ends[case])
    assert index == speaker
    assert line.startswith(f"anukul: train: process {killed} of 3 on here ended without a word")


def test_an_error_that_follows_from_no_death_is_told(ends: dict[str, Ends]) -> None:
    assert codes(ends["unclear"]) == [2, 2, 2]
    assert said(ends["unclear"]) == [(0, "said by 0")]


def test_every_machine_is_told_once(ends: dict[str, Ends]) -> None:
    assert codes(ends["machines"]) == [2] * 4
    assert said(ends["machines"]) == [(0, "anukul: why 3 failed"), (3, "said by 3")]
    for case, speakers in (("machines-killed", [0, 2]), ("machines-first", [1, 2])):
        assert [index for index, _ in said(ends[case])] == speakers


def test_a_launcher_finds_the_reason_and_sees_the_cause_end_first(ends: dict[str, Ends]) -> None:
    """It ends the rest of its machine itself as soon as one has failed."""
    first, cause, other, late = ends["launcher"]
    assert all(end["note"] == "why 1 failed" for end in ends["launcher"])
    assert cause["seconds"] < first["seconds"] - 1 and other["seconds"] < late["seconds"] - 1


@pytest.fixture
def lone(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Place]:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    return lambda index: Place(index, 2, index)


def test_a_process_is_known_by_number_and_machine(lone: Callable[[int], Place]) -> None:
    assert lone(1).name() == f"process 1 of 2 on {HOST}"


def test_who_cannot_be_reached_is_named(
    lone: Callable[[int], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifeline, "PATIENCE", 0.2)
    with pytest.raises(LostProcessError, match="processes 1 of 2 do not reach"):
        lifeline.tie(lone(0), lambda value: value or ("", 0, ""))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(LostProcessError, match=f"cannot reach 127.0.0.1:{port}"):
        lifeline.tie(lone(1), lambda _: ("first", port, "secret"))
