"""Read the generated texts and what was measured on them: scores.json's `generation` and generations.parquet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul import languages
from anukul.errors import UserError
from anukul.records import Generation, read_rows
from anukul.report.data import Measure
from anukul.report.reading import finite, measure, read_object

FILE = "evaluate/scores.json"


@dataclass(frozen=True, slots=True)
class TextMeasure:
    """One measure of the texts, base against adapted; `better` is higher, lower or "" where neither is better."""

    where: str
    mode: str
    length: str
    name: str
    better: str
    n: int | None
    prompts: int | None
    written: float | None  # of the prompts, which people wrote
    base: Measure
    adapted: Measure
    difference: Measure
    q: float | None


@dataclass(frozen=True, slots=True)
class JudgeRow:
    """What the judge said by one criterion; wins are the adapted model's."""

    where: str
    mode: str
    length: str
    criterion: str
    n: int | None
    wins: int | None
    ties: int | None
    losses: int | None
    no_verdict: int | None
    win_rate: Measure
    flip_rate: Measure
    both_orders: int | None
    q: float | None


@dataclass(frozen=True, slots=True)
class JudgeData:
    """All that a judge said."""

    model: str
    pairs: int | None
    identical: int | None
    answers: int | None
    usd: float | None
    first_place: Measure
    rows: tuple[JudgeRow, ...]


@dataclass(frozen=True, slots=True)
class GenerationData:
    """Generated texts, their measures, and the judge where there was one."""

    prompts: int | None
    max_new_tokens: int | None
    temperature: float | None
    top_p: float | None
    rows: tuple[TextMeasure, ...]
    identified: dict[str, dict[str, int]]  # model -> name of a language -> texts
    texts: tuple[Generation, ...]
    judge: JudgeData | None


def load_generation(root: Path) -> GenerationData | None:
    """Return what evaluate/ holds on generation, None where there is none; raise UserError for a broken file."""
    data = (read_object(root / "evaluate" / "scores.json") or {}).get("generation")
    texts = root / "evaluate" / "generations.parquet"
    if data is None or not texts.exists():
        return None
    try:
        return GenerationData(
            prompts=_whole(data["prompts"]),
            max_new_tokens=_whole(data["max_new_tokens"]),
            temperature=finite(data["temperature"]),
            top_p=finite(data["top_p"]),
            rows=tuple(_row(index, row) for index, row in enumerate(data["rows"])),
            identified={model: _named(counts) for model, counts in data["identified"].items()},
            texts=tuple(read_rows(texts, Generation)),
            judge=None if data["judge"] is None else _judge(data["judge"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{root / FILE}: generation lacks a key ({error}); redo it with --redo evaluate"
        ) from None


def _whole(value: Any) -> int | None:
    number = finite(value)
    return None if number is None else round(number)


def _named(counts: dict[str, Any]) -> dict[str, int]:
    known = set(languages.available())
    return {languages.load(code).name if code in known else code: int(n) for code, n in counts.items()}


def _row(index: int, row: dict[str, Any]) -> TextMeasure:
    return TextMeasure(
        where=f"{FILE}: generation.rows[{index}]",
        mode=str(row["mode"]),
        length=str(row["length"]),
        name=str(row["measure"]),
        better=str(row["better"]),
        n=_whole(row["n"]),
        prompts=_whole(row["prompts"]),
        written=finite(row["written"]),
        base=measure(row["base"]),
        adapted=measure(row["adapted"]),
        difference=measure(row["difference"]),
        q=finite(row["q"]),
    )


def _judge(data: dict[str, Any]) -> JudgeData:
    return JudgeData(
        model=str(data["model"]),
        pairs=_whole(data["pairs"]),
        identical=_whole(data["identical"]),
        answers=_whole(data["answers"]),
        usd=finite(data["usd"]),
        first_place=measure(data["first_place"]),
        rows=tuple(
            JudgeRow(
                where=f"{FILE}: generation.judge.rows[{index}]",
                mode=str(row["mode"]),
                length=str(row["length"]),
                criterion=str(row["criterion"]),
                n=_whole(row["n"]),
                wins=_whole(row["wins"]),
                ties=_whole(row["ties"]),
                losses=_whole(row["losses"]),
                no_verdict=_whole(row["no_verdict"]),
                win_rate=measure(row["win_rate"]),
                flip_rate=measure(row["flip_rate"]),
                both_orders=_whole(row["both_orders"]),
                q=finite(row["q"]),
            )
            for index, row in enumerate(data["rows"])
        ),
    )
