"""Processes that hold lifelines and come to the ends that a test names; prints what became of each as JSON.

All cases run beside each other, every process forked from this one. A process is given by what it does: `wait` until it
is ended, `part` in peace, be `killed`, or fail with an error of its `own` or one that may `follow` from another's end;
`late` is `own` half a second after the others.
"""

import json
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from anukul import lifeline
from anukul.lifeline import Lifeline, Meeting, Place

PARTING = 0.3  # seconds that all have lived by then


def do(line: Lifeline, here: Place, what: str) -> None:
    """Come to the end that `what` names."""

    def speak() -> int:
        print(f"said by {here.index}", file=sys.stderr)
        return 2

    if what == "wait":
        time.sleep(20)
    time.sleep(PARTING)
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "late":
        time.sleep(PARTING)
    if what != "part":
        line.fail(what != "follow", f"why {here.index} failed", speak)
    line.part()


def be(case: dict[str, Any], index: int, folder: Path) -> int:
    """Be process `index` of a case; return its exit code."""
    hosts = case.get("hosts", ["here"] * len(case["does"]))
    lifeline.HOST = hosts[index]
    place = Place(index, len(hosts), hosts[:index].count(hosts[index]))
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    if case.get("launcher"):
        os.environ[lifeline.ERROR_FILE] = str(folder / f"{index}.note")
    meeting = folder / "meeting.json"

    def agree(value: Meeting | None) -> Meeting:
        if value is not None:
            if case.get("stranger"):
                with socket.create_connection(("127.0.0.1", value[1])) as stranger:
                    stranger.sendall(b'["guess", 1, "there"]\n')
            meeting.with_suffix(".tmp").write_text(json.dumps(value))
            meeting.with_suffix(".tmp").replace(meeting)
            return value
        while not meeting.exists():
            time.sleep(0.01)
        found: Meeting = tuple(json.loads(meeting.read_text()))
        return found

    do(lifeline.tie(place, agree), place, case["does"][index])
    return 0


def start(case: dict[str, Any], index: int, folder: Path) -> int:
    """Fork a process of a case; return its id."""
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(folder / f"{index}.err", os.O_WRONLY | os.O_CREAT), 2)
    code = be(case, index, folder)
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Run the cases of the file named first, with the folder named second to work in."""
    cases = json.loads(Path(sys.argv[1]).read_text())
    root = Path(sys.argv[2])
    children: dict[int, tuple[str, int]] = {}
    found: dict[str, list[dict[str, Any]]] = {}
    for name, case in cases.items():
        folder = root / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        found[name] = [{} for _ in case["does"]]
        for index in range(len(case["does"])):
            children[start(case, index, folder)] = name, index
    began = time.monotonic()
    while children:
        child, status = os.wait()
        name, index = children.pop(child)
        note = root / name / f"{index}.note"
        found[name][index] = {
            "code": os.waitstatus_to_exitcode(status),
            "said": (root / name / f"{index}.err").read_text(),
            "seconds": time.monotonic() - began,
            "note": json.loads(note.read_text())["message"] if note.exists() else None,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
