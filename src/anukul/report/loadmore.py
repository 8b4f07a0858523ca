"""Read what scores.json holds beside the scores: knowledge by aspect, translation, the corpus probe, the tasks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.errors import UserError
from anukul.report.data import Measure
from anukul.report.reading import finite, measure, read_object

FILE = "evaluate/scores.json"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Base against adapted in one row; `where` names file and key, `labels` say what was compared."""

    where: str
    labels: dict[str, str]
    n: int
    chance: float | None
    base: Measure
    adapted: Measure
    difference: Measure
    p: float | None
    q: float | None


@dataclass(frozen=True, slots=True)
class More:
    """The parts; empty where the evaluation did not ask for them."""

    aspects: tuple[Comparison, ...]
    object_first: int
    translations: tuple[Comparison, ...]
    signature: str  # sacrebleu's
    probe: dict[str, Any]
    tasks: tuple[dict[str, str], ...]


def load_more(root: Path) -> More | None:
    """Return the parts, None without a scores.json; raise UserError where a row lacks a key."""
    data = read_object(root / FILE)
    if data is None:
        return None
    knowledge = data.get("knowledge") or {}
    translations = data.get("translation") or []
    try:
        return More(
            aspects=tuple(
                _comparison(row, f"{FILE}: knowledge.aspects[{place}]", _aspect(row))
                for place, row in enumerate(knowledge.get("aspects") or [])
            ),
            object_first=int(knowledge.get("object_first") or 0),
            translations=tuple(
                _comparison(row, f"{FILE}: translation[{place}]", _translation(row))
                for place, row in enumerate(translations)
            ),
            signature=str(translations[0]["signature"]) if translations else "",
            probe=dict(data.get("corpus_probe") or {}),
            tasks=tuple(
                {key: str(row[key]) for key in ("task", "source", "weakness")}
                for row in data.get("tasks") or []
            ),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{root / FILE}: a row lacks a key ({error}); redo it with --redo evaluate") from None


def _aspect(row: dict[str, Any]) -> dict[str, str]:
    stated = ", ".join(row["stated_in"])
    return {"aspect": row["aspect"], "form": row["form"], "language": row["language"], "stated": stated}


def _translation(row: dict[str, Any]) -> dict[str, str]:
    empty = row["empty"]
    return {
        "source": row["source_language"],
        "target": row["target_language"],
        "shots": str(row["shots"]),
        "empty": f"{empty['base']}, {empty['adapted']}",
        "cut": str(row["prompts_cut"]),
    }


def _comparison(row: dict[str, Any], where: str, labels: dict[str, str]) -> Comparison:
    return Comparison(
        where,
        labels,
        int(row["n"]),
        finite(row.get("chance")),
        measure(row["base"]),
        measure(row["adapted"]),
        measure(row["difference"]),
        finite(row.get("p")),
        finite(row.get("q")),
    )
