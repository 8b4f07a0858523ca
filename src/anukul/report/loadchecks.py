"""Read what checks the probe: minimal pairs, heads silenced, the mean over word pieces."""

from pathlib import Path
from typing import Any

from anukul.errors import UserError
from anukul.records import Silenced, read_rows
from anukul.report.probedata import (
    MODELS,
    Effect,
    Effects,
    Knockout,
    Knower,
    PairRow,
    Pairs,
    Pieces,
    Single,
    Tested,
    head_name,
)
from anukul.report.reading import finite, measure, read_object

HARMS = {"accuracy": "drop", "margin": "margin_drop", "bits_per_byte": "rise"}  # columns of knockout.parquet


def load_pairs(folder: Path) -> Pairs | None:
    """Return pairs.json, None where there is none."""
    data = read_object(folder / "pairs.json")
    if data is None:
        return None
    family = data.get("family") or {}
    return Pairs(
        rows=tuple(_pair_row(f"probe/pairs.json: rows[{i}]", row) for i, row in enumerate(data["rows"])),
        chance=finite(data.get("chance")) or 0.5,
        comparisons=int(family.get("comparisons") or 0),
        family=str(family.get("rows") or ""),
    )


def _pair_row(where: str, row: dict[str, Any]) -> PairRow:
    return PairRow(
        where=where,
        set=str(row["set"]),
        phenomenon=str(row.get("phenomenon") or ""),
        distance=row.get("distance"),
        attractor=row.get("attractor"),
        n=int(row["n"]),
        clusters=int(row["clusters"]),
        base=measure(row["base"]),
        adapted=measure(row["adapted"]),
        difference=measure(row["difference"]),
        q=finite(row.get("q")),
        lost=row.get("lost"),
        gained=row.get("gained"),
    )


def load_knockout(folder: Path) -> Knockout | None:
    """Return knockout.json with the random sets of knockout.parquet, None where there is none."""
    data = read_object(folder / "knockout.json")
    if data is None:
        return None
    heads = tuple(_silenced(i, item) for i, item in enumerate(data["heads"]))
    left_out = len(data.get("left_out") or [])
    if not heads:
        return Knockout(heads, left_out)
    if not (folder / "knockout.parquet").exists():
        raise UserError(f"{folder}: knockout.parquet is not there; redo it with --redo probe")
    random = _random_sets(read_rows(folder / "knockout.parquet", Silenced))
    made = data["random_sets"]
    return Knockout(
        heads=heads,
        left_out=left_out,
        pairs=int(data["pairs"]),
        clusters=int(data.get("pair_clusters") or 0),
        texts=int(data["texts"]),
        effects=tuple(
            _effects(model, how, data["models"][model][how], random)
            for how in data["how"]
            for model in MODELS
        ),
        sets=int(made["made"]),
        overlap=bool(made.get("overlap")),
        exact=bool(made.get("exact")),
        smallest_p=finite(made.get("smallest_p")),
        differences={
            how: Tested(measure(item), finite(item.get("p")), None)
            for how, item in (data.get("adapted_minus_base") or {}).items()
        },
        untouched={model: bool(item["bit_equal"]) for model, item in (data.get("untouched") or {}).items()},
    )


def _silenced(index: int, item: dict[str, Any]) -> Knower:
    relations = tuple(str(relation) for relation in item.get("relations") or [])
    name = head_name(int(item["layer"]), int(item["head"]))
    where = f"probe/knockout.json: heads[{index}]"
    return Knower(where, name, bool(item.get("named")), relations, finite(item.get("lead")))


def _random_sets(rows: list[Silenced]) -> dict[tuple[str, str, str], tuple[float, ...]]:
    """Return the harm of every random set over all pairs and texts, by model, way and measure."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if row.kind == "random" and row.phenomenon == "":
            for name, column in HARMS.items():
                value = finite(getattr(row, column))
                if value is not None:
                    found.setdefault((row.model, row.how, name), []).append(value)
    return {key: tuple(values) for key, values in found.items()}


def _effects(
    model: str, how: str, data: dict[str, Any], random: dict[tuple[str, str, str], tuple[float, ...]]
) -> Effects:
    where = f"probe/knockout.json: models.{model}.{how}"
    return Effects(
        model=model,
        how=how,
        whole={name: _effect(f"{where}.set.{name}", item) for name, item in data["set"].items()},
        phenomena=tuple(
            (str(item["phenomenon"]), _effect(f"{where}.phenomena[{i}]", item))
            for i, item in enumerate(data.get("phenomena") or [])
        ),
        singles=tuple(
            Single(
                head_name(int(item["layer"]), int(item["head"])),
                {name: _effect(f"{where}.singles[{i}].{name}", item[name]) for name in HARMS if name in item},
            )
            for i, item in enumerate(data.get("singles") or [])
        ),
        random={name: random[model, how, name] for name in HARMS if (model, how, name) in random},
    )


def _effect(where: str, data: dict[str, Any]) -> Effect:
    return Effect(
        where=where,
        before=finite(data["before"]),
        after=finite(data["after"]),
        harm=measure(data),
        others=int(data.get("others") or 0),
        others_mean=finite(data.get("others_mean")),
        others_largest=finite(data.get("others_largest")),
        others_at_least=int(data.get("others_at_least") or 0),
        rank_p=finite(data.get("rank_p")),
        rank_q=finite(data.get("rank_q")),
        p=finite(data.get("p")),
        q=finite(data.get("q")),
    )


def load_pieces(folder: Path) -> Pieces | None:
    """Return pieces.json, None where the check was not asked for."""
    data = read_object(folder / "pieces.json")
    if data is None:
        return None
    models = data["models"]

    def heads(model: str, query: str) -> tuple[str, ...]:
        return tuple(head_name(int(layer), int(head)) for layer, head in models[model][query]["resolvers"])

    return Pieces(
        words=int(data["words"]),
        split=int(data["split"]),
        tree={
            model: (measure(models[model]["last"]["tree"]), measure(models[model]["mean"]["tree"]))
            for model in MODELS
        },
        knowers={model: (heads(model, "last"), heads(model, "mean")) for model in MODELS},
        holds=bool(data["holds"]),
    )
