"""The files of given rows: read once to see which break off, as no row of these is kept, and then for their rows."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from anukul.text.files import BadFiles, CorruptFile, OddFile, broke_off, labels


class Row(Protocol):
    """A row as read, or with the rule that drops it."""

    number: int
    rule: str
    detail: str


R = TypeVar("R", bound=Row)


class Files:
    """The files of one input, and those among them that cannot be read to their end."""

    def __init__(self, paths: Sequence[Path], together: bool = False) -> None:
        """Name the files; those that stand `together`, line by line, are lost together."""
        self.paths = list(paths)
        self.together = together
        self.expected = 0  # rows, known once they are looked over
        self._bad: dict[Path, CorruptFile] = {}
        self._budget: BadFiles | None = None

    @property
    def count(self) -> int:
        """How many of them can be lost each by itself."""
        return 1 if self.together else len(self.paths)

    @property
    def bad_files(self) -> dict[str, str]:
        """The names of the files that cannot be read, with the reasons."""
        names = dict(zip(map(str, self.paths), labels(self.paths), strict=True))
        return {names[str(error.path)]: error.reason for error in self._bad.values()}

    def look_over(self, budget: BadFiles, rows: Iterator[R]) -> None:
        """Read all rows, which come through `rows_of`, and keep none; raise UserError where `budget` says so."""
        self._budget = budget
        self.expected = sum(1 for _ in rows)
        self._budget = None

    def numbered(self, read: Callable[[Path], Iterator[R]]) -> Iterator[R]:
        """Yield the rows of one file after another, numbered from 0 through all of them."""
        rows = (row for path in self.paths for row in self.rows_of(path, read(path)))
        for number, row in enumerate(rows):
            row.number = number
            yield row

    def rows_of(self, path: Path, rows: Iterator[R]) -> Iterator[R]:
        """Yield the rows of a file; of one that breaks off those before, with the rule that drops them."""
        known = self._bad.get(path)
        try:
            for row in rows:
                if known is not None:
                    row.rule, row.detail = broke_off(known.reason)
                yield row
        except CorruptFile as error:
            if known is not None:
                return
            if self._budget is None:  # it was whole when it was looked over
                raise
            odd = sum(isinstance(bad, OddFile) for bad in (error, *self._bad.values()))
            if odd == len(self.paths):  # not the files are odd, but what the config says
                raise
            self._budget.add(error)
            self._bad[path] = error
