"""The probe's results in a notebook: `HeadScores` reads a run folder and answers with arrays `[layers, heads]`."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul.errors import UserError
from anukul.records import HeadChange, HeadScore
from anukul.rundir import read_json

Floats = NDArray[np.float64]
KEYS = ("model", "relation", "direction", "half")
VALUES = tuple(field.name for field in fields(HeadScore) if field.name not in (*KEYS, "layer", "head"))


@dataclass(frozen=True, slots=True)
class BestHead:
    """A relation's best head: chosen on the selection half, its numbers from the report half.

    `difference` is its accuracy less that of the best fixed offset; `q` is the false discovery rate of that lead over
    all relations and directions; `named` says that it knows the relation: cross-fitted it leads over offset and random
    weights, and it knows more than positions.
    """

    layer: int
    head: int
    accuracy: float
    low: float
    high: float
    baseline: float
    difference: float
    q: float
    named: bool
    n: int


@dataclass(frozen=True, slots=True)
class Change:
    """Adapted minus base of every head on one relation, each `[layers, heads]`; `n` arcs.

    `low` and `high` end the interval clustered by sentence, `q` is over every head, relation and direction, and
    `verdict` is "gained", "lost" or "".
    """

    change: Floats
    low: Floats
    high: Floats
    q: Floats
    verdict: NDArray[np.str_]
    n: int


class HeadScores:
    """What every attention head does on every relation, in base, adapted and random-weight models.

    >>> scores = HeadScores.read("runs/demo")
    >>> scores.accuracy("nsubj")                       # [layers, heads], adapted, report half
    >>> scores.accuracy("nsubj", "dependent", "base")  # dependent attends; the base
    >>> scores.best("nsubj").layer
    >>> scores.change("nsubj").q                       # [layers, heads]
    >>> scores.to_pandas()                             # one row per model x relation x direction x half x head

    A direction says which end of the arc is the later word, which attends: `dependent`, `head`, or `both` pooled. Left
    out, it is the only one that the relation was scored in, or `both`. Raises UserError for a name that is not there,
    with those that are.
    """

    def __init__(
        self,
        columns: dict[str, NDArray[Any]],
        changes: dict[str, NDArray[Any]],
        selected: dict[str, Any],
    ) -> None:
        self.selected = selected
        self._columns, self._changes = columns, changes
        self.layers = int(columns["layer"].max(initial=-1)) + 1
        self.heads = int(columns["head"].max(initial=-1)) + 1
        self._rows = _places(columns, KEYS)
        self._change_rows = _places(changes, KEYS[1:3])

    @staticmethod
    def read(folder: str | Path) -> "HeadScores":
        """Read a run folder, or its probe folder; raise UserError where no probe was run there."""
        path = Path(folder).expanduser()
        path = path / "probe" if (path / "probe").is_dir() else path
        for name in ("heads.parquet", "changes.parquet", "selected.json"):
            if not (path / name).exists():
                raise UserError(f"{path}: no {name} there; run `anukul probe run.yaml` first")
        heads = _read(path / "heads.parquet", [field.name for field in fields(HeadScore)])
        changes = _read(path / "changes.parquet", [field.name for field in fields(HeadChange)])
        return HeadScores(heads, changes, read_json(path / "selected.json"))

    @property
    def models(self) -> list[str]:
        """The models: base, adapted, random-0 …"""
        return _distinct(key[0] for key in self._rows)

    @property
    def relations(self) -> list[tuple[str, str]]:
        """(relation, direction) of everything that was scored."""
        return list(dict.fromkeys((key[1], key[2]) for key in self._rows))

    def accuracy(
        self, relation: str, direction: str | None = None, model: str = "adapted", half: str = "report"
    ) -> Floats:
        """Return `[layers, heads]`: how often the head looks hardest at the true word."""
        return self.values("accuracy", relation, direction, model, half)

    def mass(
        self, relation: str, direction: str | None = None, model: str = "adapted", half: str = "report"
    ) -> Floats:
        """Return `[layers, heads]`: the mean share of attention on the true word, first token and self left out."""
        return self.values("mass", relation, direction, model, half)

    def values(
        self,
        column: str,
        relation: str,
        direction: str | None = None,
        model: str = "adapted",
        half: str = "report",
    ) -> Floats:
        """Return a column of heads.parquet as `[layers, heads]`: accuracy, mass, low, high, permuted, p …"""
        if column not in VALUES:
            raise UserError(f"'{column}' is no column of heads; there are {', '.join(VALUES)}")
        key = (model, relation, self._direction(relation, direction), half)
        if key not in self._rows:
            models, halves = ", ".join(self.models), ", ".join(_distinct(key[3] for key in self._rows))
            raise UserError(f"no scores of model '{model}' on half '{half}'; there are {models}, on {halves}")
        return self._grid(self._columns, self._rows[key], column).astype(np.float64)

    def n(self, relation: str, direction: str | None = None, half: str = "report") -> int:
        """Return how many arcs were scored."""
        return int(self.values("n", relation, direction, "base", half)[0, 0])

    def baseline(self, relation: str, direction: str | None = None, half: str = "report") -> float:
        """Return the accuracy of the best fixed offset, chosen on the selection half."""
        return float(self.values("baseline", relation, direction, "base", half)[0, 0])

    def sink(self, model: str = "adapted") -> Floats:
        """Return `[layers, heads]`: the mean attention on the first token, over all attending words."""
        sinks = self.selected["sink"]
        if model not in sinks:
            raise UserError(f"no sink of model '{model}'; there are {', '.join(sinks)}")
        return np.array(sinks[model], dtype=np.float64)

    def significant(
        self, relation: str, direction: str | None = None, model: str = "adapted"
    ) -> NDArray[np.bool_]:
        """Return `[layers, heads]`: heads that find arcs beyond what positions give, corrected over all tests."""
        return self.values("significant", relation, direction, model, "all") > 0

    def best(self, relation: str, direction: str | None = None, model: str = "adapted") -> BestHead:
        """Return the head that was best on the selection half, with its numbers from the report half."""
        wanted = self._direction(relation, direction)
        for entry in [*self.selected["relations"], *self.selected["undirected"]]:
            if (entry["relation"], entry["direction"]) == (relation, wanted) and model in entry:
                found = entry[model]
                named = [found["layer"], found["head"]] in found.get("named", [])
                numbers = (found[name] for name in ("accuracy", "low", "high"))
                accuracy, low, high = (float(number) for number in numbers)
                return BestHead(
                    layer=int(found["layer"]),
                    head=int(found["head"]),
                    accuracy=accuracy,
                    low=low,
                    high=high,
                    baseline=float(entry["baseline"]["accuracy"]),
                    difference=float(found["difference"]),
                    q=float(found.get("q", np.nan)),
                    named=named,
                    n=int(entry["n_report"]),
                )
        raise UserError(f"no best head of model '{model}'; there are base and adapted")

    def change(self, relation: str, direction: str | None = None) -> Change:
        """Return adapted minus base of every head on all arcs of a relation in one direction."""
        directions = [key[1] for key in self._change_rows if key[0] == relation]
        if direction is None and len(directions) == 1:
            direction = directions[0]
        rows = self._change_rows.get((relation, direction or ""))
        if rows is None:
            self._direction(relation, direction)
            raise UserError(f"changes of {relation} are told by direction: {', '.join(directions)}")
        change, low, high, q = (
            self._grid(self._changes, rows, name).astype(np.float64)
            for name in ("change", "low", "high", "q")
        )
        verdict = self._grid(self._changes, rows, "verdict").astype(np.str_)
        return Change(change, low, high, q, verdict, int(self._changes["n"][rows[0]]))

    def table(self) -> Any:
        """Return every row of heads.parquet as a pyarrow Table."""
        import pyarrow as pa

        return pa.table(self._columns)

    def to_pandas(self) -> Any:
        """Return every row of heads.parquet as a pandas DataFrame; pandas must be installed."""
        return self.table().to_pandas()

    def _direction(self, relation: str, direction: str | None) -> str:
        found = [name for held, name in self.relations if held == relation]
        if not found:
            names = ", ".join(_distinct(held for held, _ in self.relations))
            raise UserError(f"relation '{relation}' was not scored; there are {names}")
        if direction is None:
            return found[0] if len(found) == 1 else "both"
        if direction not in found:
            raise UserError(
                f"{relation} was not scored with direction '{direction}', only {', '.join(found)}"
            )
        return direction

    def _grid(self, columns: dict[str, NDArray[Any]], rows: NDArray[np.int64], name: str) -> NDArray[Any]:
        """Rows of one group as `[layers, heads]`."""
        values = columns[name][rows]
        grid = np.empty((self.layers, self.heads), dtype=values.dtype)
        grid[columns["layer"][rows], columns["head"][rows]] = values
        return grid


def _read(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=names)
    return {name: table[name].to_numpy() for name in names}


def _places(columns: dict[str, NDArray[Any]], keys: tuple[str, ...]) -> dict[Any, NDArray[np.int64]]:
    """The row numbers of each group of rows that share their keys, in the order of the file."""
    found: dict[Any, list[int]] = {}
    for number, key in enumerate(zip(*(columns[name].tolist() for name in keys), strict=True)):
        found.setdefault(key, []).append(number)
    return {key: np.array(numbers) for key, numbers in found.items()}


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
