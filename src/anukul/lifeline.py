"""A line from every process of a launch to the first, so that none outlives a failure of another.

A process that fails leaves the others in the middle of a sum, where they notice late or never: NCCL waits for half an
hour. Here each holds a TCP connection to the first process, and a thread listens to it. Who fails says so over it, who
is killed closes it, and all end within seconds with one exit code. One process speaks: the one that failed. Loads
without torch.
"""

import json
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, NoReturn

from anukul import progress
from anukul.errors import LostProcessError

HOST = socket.gethostname()
# How long what may follow from another process's end waits for the news of it, and the others for the first process to
# fail of the same as they do: then it is the one to say it.
GRACE = 1.0
PATIENCE = 60.0  # seconds, for a process that is alive to answer or to speak
# A machine that is gone closes nothing; after a minute without a sign of life its connections break.
KEEP_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 3}
# Where torch's launcher looks for what to say of a process that failed.
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"

Meeting = tuple[str, int, str]  # machine, port and secret


@dataclass(frozen=True, slots=True)
class Place:
    """One process among all."""

    index: int
    count: int
    local_index: int  # on its machine

    def name(self, index: int | None = None, host: str | None = None) -> str:
        """What the user knows a process by; this one by default."""
        return f"process {self.index if index is None else index} of {self.count} on {host or HOST}"


@dataclass(frozen=True, slots=True)
class Word:
    """What goes over a line."""

    what: Literal["fails", "speak", "end", "part"]
    code: int = 0
    reason: str = ""
    host: str = ""  # of the process that failed
    told_on: str = ""  # the machine where the reason has been printed


class Line:
    """One end of a connection; words are lines of JSON."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self.connection = connection
        self.reader = connection.makefile("rb")

    def say(self, word: Word) -> None:
        """Send a word; who has gone does not hear it."""
        with suppress(OSError):
            self.connection.sendall(json.dumps(asdict(word)).encode() + b"\n")

    def hear(self) -> Word | None:
        """Wait for a word; None where the other side is gone."""
        try:
            text = self.reader.readline()
        except OSError:
            return None
        return Word(**json.loads(text)) if text.endswith(b"\n") else None

    def close(self) -> None:
        """Hang up."""
        self.reader.close()
        self.connection.close()


class First:
    """The first process's ends of all lines; it decides who speaks."""

    def __init__(self, here: Place, others: "dict[int, tuple[Line, str]]") -> None:
        self.here = here
        self.others = others  # line and machine, by number
        self._lock = threading.Lock()
        self._claimed = threading.Event()
        self._parting = False
        self._thread = threading.Thread(target=self._listen, name="lifeline", daemon=True)
        self._thread.start()

    def fail(self, own: bool, reason: str, speak: Callable[[], int]) -> NoReturn:
        """End all processes with the code that `speak` returns, unless another one has failed before.

        `own` is false where the error may follow from another process's end.
        """
        if not own:
            time.sleep(GRACE)
        if not self._claim():
            time.sleep(2 * PATIENCE)  # the thread ends this process
        word = Word("end", speak(), reason, HOST, HOST)
        self._tell(word)
        _leave(word, self.here, at_once=True)

    def part(self) -> None:
        """Let the others go in peace; what is left to do is for this process."""
        self._parting = True
        self._tell(Word("part"))
        self._thread.join(PATIENCE)
        for line, _ in self.others.values():
            line.close()

    def _tell(self, word: Word) -> None:
        for line, _ in self.others.values():
            line.say(word)

    def _claim(self) -> bool:
        """Take the right to say what went wrong; only the first to ask has it."""
        with self._lock:
            if self._claimed.is_set():
                return False
            self._claimed.set()
            return True

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            for index, (line, _) in self.others.items():
                selector.register(line.connection, selectors.EVENT_READ, index)
            while selector.get_map():
                for key, _ in selector.select():
                    line, host = self.others[key.data]
                    word = line.hear()
                    if word is None:
                        selector.unregister(line.connection)
                        self._lost(key.data, host)
                    else:
                        self._let_speak(line, word)

    def _lost(self, index: int, host: str) -> None:
        """End all, since a process has gone; not where this is the end of them all anyway."""
        if self._parting or not self._claim():
            return
        word = Word("end", 1, _gone(self.here.name(index, host)), host, HOST)
        self._tell(word)
        _leave(word, self.here, aloud=True)

    def _let_speak(self, line: Line, word: Word) -> None:
        """Let a process that failed say why, then end all."""
        self._claimed.wait(GRACE)
        if not self._claim():
            return
        line.say(Word("speak"))
        line.connection.settimeout(PATIENCE)
        word = line.hear() or replace(word, what="end", code=1)
        self._tell(word)
        _leave(word, self.here, aloud=word.told_on != HOST)


class Other:
    """Any other process's end of its line to the first."""

    def __init__(self, here: Place, line: Line, first_host: str) -> None:
        self.here = here
        self.line = line
        self.first_host = first_host
        self._speaking = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="lifeline", daemon=True)
        self._thread.start()

    def fail(self, own: bool, reason: str, speak: Callable[[], int]) -> NoReturn:
        """End all processes with the code that `speak` returns, unless another one has failed before.

        `own` is false where the error may follow from another process's end.
        """
        if not own:
            time.sleep(GRACE)
        self.line.say(Word("fails", reason=reason, host=HOST))
        self._speaking.wait(PATIENCE)  # where another one speaks, the thread ends this process meanwhile
        word = Word("end", speak(), reason, HOST, HOST)
        self.line.say(word)
        # all must be told first: a launcher that sees this end may end the first process
        self._thread.join(PATIENCE)
        _leave(word, self.here, at_once=True)

    def part(self) -> None:
        """Wait until the first process lets this one go."""
        self._thread.join()
        self.line.close()

    def _listen(self) -> None:
        while word := self.line.hear():
            if word.what == "speak":
                self._speaking.set()
            elif word.what == "part" or self._speaking.is_set():
                return
            else:
                _leave(word, self.here, aloud=self.here.local_index == 0 and word.told_on != HOST)
        if self._speaking.is_set():
            return
        # one process of each machine tells: on the first one's own it is the next
        aloud = self.here.index == 1 or self.here.local_index == 0
        gone = _gone(self.here.name(0, self.first_host))
        _leave(Word("end", 1, gone, self.first_host), self.here, aloud=aloud)


Lifeline = First | Other


def tie(here: Place, agree: Callable[[Meeting | None], Meeting]) -> Lifeline:
    """Connect every process with the first one; `agree` hands the first one's value to all.

    The others find it where torch has found it: at MASTER_ADDR.
    """
    if here.index == 0:
        secret = secrets.token_hex(16)
        with socket.create_server(("", 0), backlog=here.count) as server:
            agree((HOST, server.getsockname()[1], secret))
            return First(here, _accept(server, secret, here.count))
    host, port, secret = agree(None)
    address = os.environ.get("MASTER_ADDR", host)
    try:
        line = Line(socket.create_connection((address, port), PATIENCE))
        line.connection.sendall(json.dumps([secret, here.index, HOST]).encode() + b"\n")
    except OSError as error:
        raise LostProcessError(f"train: {here.name()} cannot reach {address}:{port}: {error}") from error
    line.connection.settimeout(None)
    return Other(here, line, host)


def _accept(server: socket.socket, secret: str, count: int) -> dict[int, tuple[Line, str]]:
    """Wait for the other processes to call; return line and machine by their numbers."""
    found: dict[int, tuple[Line, str]] = {}
    server.settimeout(PATIENCE)
    while len(found) < count - 1:
        try:
            connection, _ = server.accept()
        except TimeoutError:
            missing = ", ".join(str(i) for i in range(1, count) if i not in found)
            raise LostProcessError(f"train: processes {missing} of {count} do not reach {HOST}") from None
        connection.settimeout(PATIENCE)
        line = Line(connection)
        try:
            token, index, host = json.loads(line.reader.readline())
        except (OSError, ValueError, TypeError):
            token = None
        if token != secret:  # a stranger
            line.close()
            continue
        connection.settimeout(None)
        found[index] = (line, host)
    return found


def _gone(name: str) -> str:
    return (
        f"train: {name} ended without a word, killed or short of memory; the same command goes on from the newest "
        "checkpoint, on any number of processes"
    )


def leave_note(reason: str) -> None:
    """Write the reason where torch's launcher, which speaks last, looks for it; nothing where there is none."""
    if os.environ.get(ERROR_FILE):
        with suppress(OSError):
            note = {"message": reason, "timestamp": int(time.time())}
            Path(os.environ[ERROR_FILE]).write_text(json.dumps(note), encoding="utf-8")


def _leave(word: Word, here: Place, at_once: bool = False, aloud: bool = False) -> NoReturn:
    """End this process, whatever its main thread waits for."""
    with suppress(OSError, ValueError):
        console = progress.console()
        console.quiet = False
        if aloud:
            console.print(f"anukul: {word.reason}", markup=False)
        console.show_cursor(True)  # a bar may have hidden it
        sys.stdout.flush()
        sys.stderr.flush()
    if os.environ.get(ERROR_FILE) and not at_once and (word.host == HOST or here.local_index > 0):
        # the launcher takes the first end that it sees for the cause, and ends the rest itself
        time.sleep(2 * GRACE)
    leave_note(word.reason)
    os._exit(word.code)
