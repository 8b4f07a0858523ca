"""What an endpoint was paid for, by every process and every run that wrote into the same folder, killed ones too."""

import os
import uuid
from pathlib import Path


class Paid:
    """Tokens by answer: a line each, in a file of this process's own, beside those of others.

    Tokens are held and not money, as prices may be corrected between a stop and going on. Without a folder only this
    process is counted.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._own = folder / f"{os.getpid()}-{uuid.uuid4().hex}.txt" if folder else None
        self._given = self._made = 0
        self._read: dict[Path, int] = {}  # bytes of the others' files that are counted

    def add(self, given: int, made: int) -> None:
        """Write down one answer: the tokens of the request, and those of the answer."""
        self._given += given
        self._made += made
        if self._own is None:
            return
        self._own.parent.mkdir(parents=True, exist_ok=True)
        with self._own.open("a", encoding="ascii") as file:
            file.write(f"{given} {made}\n")

    def tokens(self) -> tuple[int, int]:
        """Return the tokens of all requests, and of all answers, that anyone has written down."""
        if self.folder is not None and self.folder.is_dir():
            for path in self.folder.glob("*.txt"):
                if path != self._own:
                    self._take(path)
        return self._given, self._made

    def _take(self, path: Path) -> None:
        """Count what is new in another's file; a line that a full disk cut short is not counted."""
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read[path] = self._read.get(path, 0) + len(whole)
        for line in whole.splitlines():
            given, made = line.split()
            self._given += int(given)
            self._made += int(made)
