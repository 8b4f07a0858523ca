"""Read what scores.json holds beside the scores: knowledge, translation, the corpus probe, the tasks."""

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
class Kept:
    """The facts that the base ranked right in one form and language, and what became of them; shares are of 1."""

    where: str
    form: str
    language: str
    facts: str  # "all", or those that the texts in the language to learn do not state
    n: int
    chance: float | None
    right: int
    lucky_share: Measure
    kept: int
    kept_share: Measure
    expected_share: float | None  # kept where nothing was forgotten and all guesses were drawn anew
    difference: Measure  # of the two
    p: float | None
    q: float | None
    untested: str  # why there is no difference: "guessing", "few", or ""
    wrong: int
    gained: int
    gained_share: Measure
    gained_by_guessing: float | None


@dataclass(frozen=True, slots=True)
class More:
    """The parts; empty where the evaluation did not ask for them."""

    aspects: tuple[Comparison, ...]
    kept: tuple[Kept, ...]
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
            kept=tuple(
                _kept(row, f"{FILE}: knowledge.kept_facts[{place}]")
                for place, row in enumerate(knowledge.get("kept_facts") or [])
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


def _kept(row: dict[str, Any], where: str) -> Kept:
    return Kept(
        where=where,
        form=str(row["form"]),
        language=str(row["language"]),
        facts=str(row["facts"]),
        n=int(row["n"]),
        chance=finite(row["chance"]),
        right=int(row["right"]),
        lucky_share=measure(row["lucky_share"]),
        kept=int(row["kept"]),
        kept_share=measure(row["kept_share"]),
        expected_share=finite(row["expected_share"]),
        difference=measure(row["difference"]),
        p=finite(row["p"]),
        q=finite(row["q"]),
        untested=str(row["untested"]),
        wrong=int(row["wrong"]),
        gained=int(row["gained"]),
        gained_share=measure(row["gained_share"]),
        gained_by_guessing=finite(row["gained_by_guessing"]),
    )


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
