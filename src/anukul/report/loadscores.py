"""Read evaluate/scores.json and the items that changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.errors import UserError
from anukul.records import Flip, read_rows
from anukul.report.data import Evaluation, Family, Measure, Score, Transfer
from anukul.report.reading import finite, measure, read_object

FILE = "evaluate/scores.json"
POOLED = -1  # what the column `seed` of flips.parquet holds for all seeds


@dataclass(frozen=True, slots=True)
class _Gain:
    """A difference in differences, and the key that it stands under."""

    where: str
    value: Measure
    q: float | None


NO_GAIN = _Gain("", Measure(), None)
_Gains = dict[tuple[str, str, str, int, int | None], _Gain]  # by kind, task, language, shots, seed


def load_flips(root: Path) -> tuple[Flip, ...]:
    """Return the items lost and gained by plain accuracy with the seeds pooled; none where there is no such file."""
    path = root / "evaluate" / "flips.parquet"
    if not path.exists():
        return ()
    return tuple(flip for flip in read_rows(path, Flip) if flip.seed == POOLED and flip.metric == "accuracy")


def load_evaluation(root: Path) -> Evaluation | None:
    """Return evaluate/scores.json of a run folder, None where there is none."""
    data = read_object(root / FILE)
    if data is None:
        return None
    try:
        return _evaluation(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{root / FILE}: a row lacks a key ({error}); redo it with --redo evaluate") from None


def _evaluation(data: dict[str, Any]) -> Evaluation:
    gains = _gains("retention", data.get("retention") or [])
    seeds = data.get("by_seed") or {}
    seed_gains = _gains("by_seed.retention", seeds.get("retention") or [])
    families = data.get("families") or {}
    return Evaluation(
        confidence=finite(data.get("confidence")) or 0.95,
        scores=tuple(_score("scores", i, row, gains) for i, row in enumerate(data["scores"])),
        signature=str(data.get("signature", "")),
        by_seed=tuple(
            _score("by_seed.scores", i, row, seed_gains) for i, row in enumerate(seeds.get("scores") or [])
        ),
        transfers=tuple(_transfer(i, row) for i, row in enumerate(data.get("backward_transfer") or [])),
        families={
            name: Family(int(family["comparisons"]), str(family["rows"])) for name, family in families.items()
        },
    )


def _gains(table: str, rows: list[dict[str, Any]]) -> _Gains:
    return {
        (row["kind"], row["task"], row["language"], row["k"], _whole(row.get("seed"))): _Gain(
            f"{FILE}: {table}[{index}].difference_in_differences",
            measure(row["difference_in_differences"]),
            finite(row.get("q")),
        )
        for index, row in enumerate(rows)
    }


def _transfer(index: int, row: dict[str, Any]) -> Transfer:
    return Transfer(
        where=f"{FILE}: backward_transfer[{index}]",
        shots=int(row["k"]),
        corrected=bool(row["chance_corrected"]),
        tasks=tuple(str(task) for task in row["tasks"]),
        n=_whole(row.get("n")),
        value=measure(row["transfer"]),
        q=finite(row.get("q")),
    )


def _score(table: str, index: int, row: dict[str, Any], gains: _Gains) -> Score:
    increase = row.get("percent_increase") or {}
    split, phenomenon = str(row.get("split") or "all"), str(row.get("phenomenon") or "")
    phenomenon = "" if phenomenon == "all" else phenomenon
    shots, seed = _whole(row.get("shots")) or 0, _whole(row.get("seed"))
    gain = NO_GAIN
    if row["metric"] == "accuracy" and split == "all" and not phenomenon:
        gain = gains.get((row["kind"], row["task"], row.get("language", ""), shots, seed), gain)
    return Score(
        where=f"{FILE}: {table}[{index}]",
        kind=str(row["kind"]),
        task=str(row["task"]),
        language=str(row.get("language", "")),
        role=str(row.get("role", "target")),
        split=split,
        phenomenon=phenomenon,
        shots=shots,
        metric=str(row["metric"]),
        n=_whole(row.get("n")),
        chance=finite(row.get("chance")),
        base=measure(row.get("base")),
        adapted=measure(row.get("adapted")),
        difference=measure(row.get("difference")),
        p=finite(row.get("p")),
        q=finite(row.get("q")),
        lost=_whole(row.get("lost")),
        gained=_whole(row.get("gained")),
        increase_base=finite(increase.get("base")),
        increase_adapted=finite(increase.get("adapted")),
        gain=gain.value,
        gain_where=gain.where,
        gain_q=gain.q,
        clusters=_whole(row.get("clusters")),
        seed=seed,
        one_answer=tuple(row.get("one_answer", ())),
    )


def _whole(value: Any) -> int | None:
    number = finite(value)
    return None if number is None else round(number)
