"""The probe folder of the made run: every file that the probe step writes, with numbers drawn from a seed."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul.records import HeadChange, HeadScore, Silenced, write_rows
from anukul.rundir import write_json

RELATIONS = (
    ("nsubj", "dependent"),
    ("nsubj", "head"),
    ("obj", "head"),
    ("case", "dependent"),
    ("amod", "head"),
)
WORDS = ("विद्यार्थीले", "क्षेत्रमा", "नयाँ", "किताब", "पढ्यो", "।")
HOW = ("uniform", "zero")
SETS = 20
Floats = NDArray[np.float64]


def around(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def make_probe(folder: Path, rng: np.random.Generator, layers: int, heads: int) -> list[str]:
    """Write every file and return their names."""
    rows: list[HeadScore] = []
    changes: list[HeadChange] = []
    entries = []
    for place, (relation, direction) in enumerate(RELATIONS):
        n, baseline, offset = 400 - 60 * place, 0.31 + 0.03 * place, -1 - place % 3
        base = rng.beta(1.4, 7, (layers, heads))
        adapted = np.clip(base + 0.04 * rng.normal(size=base.shape), 0, 1)
        spot = (layers // 2, place % heads)
        base[spot], adapted[spot] = 0.44, 0.44 + 0.07 * (place - 1)
        for model, table in (("base", base), ("adapted", adapted), ("random-0", base / 2)):
            rows += _rows(model, relation, direction, table, n, baseline, offset)
        changes += _changes(relation, direction, base, adapted, n)
        entry: dict[str, Any] = {
            "relation": relation,
            "direction": direction,
            "n_selection": n,
            "n_report": n,
        }
        entry |= {"sentences_selection": 60, "sentences_report": 58, "uniform": 0.18}
        entry["baseline"] = {"offset": offset, "accuracy_selection": baseline, "accuracy": baseline}
        entry["random"] = {"models": 1, "n": 2 * n, **around(0.22, 0.03)}
        for model, table in (("base", base), ("adapted", adapted)):
            change = adapted - base
            entry[model] = _choice(table, change, baseline, offset, n, knows=model == "adapted" and place > 2)
        entries.append(entry)
    pooled = {**entries[0], "direction": "both"}
    rows += [_pooled(row) for row in rows if (row.relation, row.direction) == RELATIONS[0]]
    write_rows(folder / "heads.parquet", rows, HeadScore)
    write_rows(folder / "changes.parquet", changes, HeadChange)
    (folder / "heads.csv").write_text("model\n", encoding="utf-8")
    write_json(folder / "selected.json", _selected(entries, pooled, changes, rng, layers, heads))
    write_json(folder / "pairs.json", make_pairs())
    make_knockout(folder, rng)
    write_json(folder / "pieces.json", make_pieces())
    write_json(folder / "case.json", make_case(rng, layers, heads))
    return [file.name for file in folder.iterdir()]


def _rows(
    model: str, relation: str, direction: str, table: Floats, n: int, baseline: float, offset: int
) -> list[HeadScore]:
    rows = []
    for half in ("selection", "report", "all"):
        for layer, head in np.ndindex(*table.shape):
            value = float(table[layer, head])
            p = 0.0005 if value > 0.5 else 0.4
            row = HeadScore(
                model, relation, direction, half, layer, head, value, value * 0.7, n, baseline, offset,
                max(0.0, value - 0.05), min(1.0, value + 0.05), 0.18, value * 0.6, p, p < 0.01,
            )  # fmt: skip
            rows.append(row)
    return rows


def _pooled(row: HeadScore) -> HeadScore:
    return HeadScore(
        row.model, row.relation, "both", row.half, row.layer, row.head, row.accuracy, row.mass, row.n, row.baseline,
        row.offset, row.low, row.high, row.uniform, row.permuted,
    )  # fmt: skip


def _changes(relation: str, direction: str, base: Floats, adapted: Floats, n: int) -> list[HeadChange]:
    rows = []
    for layer, head in np.ndindex(*base.shape):
        before, after = float(base[layer, head]), float(adapted[layer, head])
        change = after - before
        verdict = "" if abs(change) < 0.06 else "gained" if change > 0 else "lost"
        q = 0.002 if verdict else 0.6
        rows.append(
            HeadChange(
                relation, direction, layer, head, 2 * n, 118, before, after, change, change - 0.05, change + 0.05,
                30, 12, 20, 8, q / 3, q, verdict,
            )
        )  # fmt: skip
    return rows


def _choice(
    table: Floats, change: Floats, baseline: float, offset: int, n: int, knows: bool
) -> dict[str, Any]:
    layer, head = (int(i) for i in np.unravel_index(int(table.argmax()), table.shape))
    value, moved = float(table[layer, head]), float(change[layer, head])
    lead = {
        "difference": value - baseline,
        "difference_low": value - baseline - 0.06,
        "difference_high": value - baseline + 0.06,
    }
    entry: dict[str, Any] = {"layer": layer, "head": head, "accuracy_selection": value, "accuracy": value}
    entry |= {"low": value - 0.05, "high": value + 0.05, "mass": value * 0.7, "p": 0.001, "q": 0.004}
    entry |= lead
    entry["permuted"] = 0.2
    entry["change"] = {"accuracy": moved, "low": moved - 0.05, "high": moved + 0.05}
    entry["crossfit"] = {
        "n": 2 * n,
        "sentences": 118,
        "heads": [[layer, head], [0, 0]],
        "accuracy": value,
        "low": value - 0.04,
        "high": value + 0.04,
        "baseline": baseline,
        "offsets": [offset, offset],
        **lead,
        "p": 0.001,
        "q": 0.003,
        "over_random": {**around(value - 0.22, 0.05), "p": 0.001, "q": 0.002},
    }
    permutation = {"p": 0.0005 if knows else 0.31, "p_smallest": 0.0005, "strongest": [layer, head]}
    entry["permutation"] = {**permutation, "q": 0.004 if knows else 0.4, "heads": 2 if knows else 0}
    entry["resolvers"] = [{"layer": layer, "head": head, "accuracy": value, "lead": 0.1}] if knows else []
    entry["named"] = [[layer, head]] if knows else []
    return entry


def _selected(
    entries: list[dict[str, Any]],
    pooled: dict[str, Any],
    changes: list[HeadChange],
    rng: np.random.Generator,
    layers: int,
    heads: int,
) -> dict[str, Any]:
    found = [
        {
            "layer": e["adapted"]["layer"],
            "head": e["adapted"]["head"],
            "named": True,
            "relations": [f"{e['relation']}/{e['direction']}"],
            "lead": 0.1,
        }
        for e in entries
        if e["adapted"]["resolvers"]
    ]
    names = ("base", "adapted", "random-0")
    sink = {name: rng.uniform(0.4, 0.9, (layers, heads)).tolist() for name in names}
    tree: dict[str, Any] = {"arcs": 2000, "sentences": 118}
    for name, value in (("offset", 0.42), ("random", 0.3), ("base", 0.4), ("adapted", 0.5)):
        tree[name] = around(value, 0.02)
    for first, second, value in (
        ("adapted", "base", 0.1),
        ("base", "offset", -0.02),
        ("adapted", "offset", 0.08),
    ):
        tree[f"{first}_minus_{second}"] = {**around(value, 0.03), "p": 0.002}
    return {
        "treebank": "/data/ne.conllu",
        "language": "npi_Deva",
        "alpha": 0.05,
        "permutations": 2000,
        "random_models": 1,
        "sentences": {"scored": 118, "report": 58, "selection": 60},
        "relations": entries,
        "undirected": [pooled],
        "too_rare": [{"relation": "iobj", "direction": "head", "n": 4, "reason": "fewer than 20 arcs"}],
        "resolvers": {"base": [], "adapted": found},
        "changed": {
            "tests": len(changes),
            "alpha": 0.05,
            "gained_count": sum(row.verdict == "gained" for row in changes),
            "lost_count": sum(row.verdict == "lost" for row in changes),
            "gained": [],
            "lost": [],
        },
        "tree": tree,
        "sink": sink,
    }


def make_pairs() -> dict[str, Any]:
    rows = []
    for phenomenon, distance, attractor, base, adapted in (
        (None, None, None, 0.55, 0.8),
        ("person", None, None, 0.52, 0.79),
        ("person", 0, None, 0.5, 0.9),
        ("person", 1, None, 0.54, 0.7),
        ("person", None, False, 0.5, 0.85),
        ("person", None, True, 0.5, 0.65),
        ("ergative", None, None, 0.5, 0.51),
    ):
        whole = distance is None and attractor is None
        rows.append(
            {
                "set": "agreement",
                "phenomenon": phenomenon,
                "whole_set": phenomenon is None,
                "distance": distance,
                "attractor": attractor,
                "n": 240,
                "clusters": 120,
                "base": around(base, 0.04),
                "adapted": around(adapted, 0.04),
                "difference": around(adapted - base, 0.05),
                "p": 0.001 if phenomenon and whole else None,
                "lost": 12,
                "gained": 60,
                "q": 0.002 if phenomenon and whole else None,
            }
        )
    family = {"comparisons": 2, "rows": "every phenomenon of every set"}
    return {"schema": 1, "chance": 0.5, "family": family, "rows": rows}


def make_knockout(folder: Path, rng: np.random.Generator, drop: float = 0.12) -> None:
    """Write knockout.json and knockout.parquet; agreement of the adapted model falls by `drop`, others' by .02."""
    rows: list[Silenced] = []
    models: dict[str, Any] = {}
    for model in ("base", "adapted"):
        models[model] = {}
        for how in HOW:
            own = drop if model == "adapted" else 0.01
            random = 0.02 + 0.01 * rng.normal(size=SETS)
            rows.append(silenced(model, how, "selected", 0, own))
            rows += [
                silenced(model, how, "random", number, float(value)) for number, value in enumerate(random)
            ]
            at_least = int((random >= own).sum())
            effect = {"before": 0.8, "after": 0.8 - own, **around(own, 0.03), "others": SETS}
            effect |= {"others_mean": float(random.mean()), "others_largest": float(random.max())}
            rank = (1 + at_least) / (1 + SETS)
            effect |= {"others_at_least": at_least, "rank_p": rank}
            tested = {**effect, "p": 0.003}
            bits = {**effect, "before": 0.72, "after": 0.73, **around(0.01, 0.002)}
            models[model][how] = {
                "set": {"accuracy": {**tested, "rank_q": rank}, "bits_per_byte": {**bits, "rank_q": 0.3}},
                "phenomena": [{"phenomenon": "person", **effect}],
                "singles": [
                    {"layer": 0, "head": 1, "accuracy": {**tested, "q": 0.01}, "bits_per_byte": bits}
                ],
            }
    write_rows(folder / "knockout.parquet", rows, Silenced)
    head = {"layer": 0, "head": 1, "named": True, "relations": ["amod/head"], "lead": 0.1}
    made = {"asked": 50, "made": SETS, "distinct": SETS, "overlap": False, "exact": True}
    difference = {how: {**around(0.11, 0.04), "p": 0.004} for how in HOW}
    write_json(
        folder / "knockout.json",
        {
            "heads": [head, {**head, "head": 2}],
            "left_out": [],
            "pairs": 140,
            "pair_clusters": 70,
            "texts": 12,
            "how": list(HOW),
            "random_sets": {**made, "smallest_p": 1 / (1 + SETS)},
            "models": models,
            "adapted_minus_base": difference,
            "untouched": {
                model: {"bit_equal": True, "largest_difference": 0.0} for model in ("base", "adapted")
            },
        },
    )


def silenced(model: str, how: str, kind: str, number: int, drop: float) -> Silenced:
    return Silenced(
        model, how, kind, number, [0, 0], [1, 2], "", 140, 0.8, 0.8 - drop, drop, drop - 0.03, drop + 0.03,
        2.0, 1.5, 0.5, 0.4, 0.6, 12, 0.72, 0.73, 0.01, 0.008, 0.012,
    )  # fmt: skip


def make_pieces() -> dict[str, Any]:
    def told(value: float, heads: list[list[int]]) -> dict[str, Any]:
        return {"tree": around(value, 0.02), "resolvers": heads, "named": heads[:1]}

    models = {
        "base": {"last": told(0.4, []), "mean": told(0.38, [])},
        "adapted": {"last": told(0.5, [[1, 0], [1, 1]]), "mean": told(0.47, [[1, 0]])},
    }
    return {"words": 900, "split": 400, "models": models, "relations": [], "holds": True}


def make_case(rng: np.random.Generator, layers: int, heads: int) -> dict[str, Any]:
    size, spot = len(WORDS), (min(3, layers - 1), min(2, heads - 1))
    case: dict[str, Any] = {
        "sentence": " ".join(WORDS),
        "words": list(WORDS),
        "query": 4,
        "key": 0,
        "swapped": False,
        "also": [],
    }
    for name in ("base", "adapted"):
        attention = rng.beta(1, 9, (layers, heads))
        attention[spot] = 0.08 if name == "base" else 0.57
        words = np.tril(rng.dirichlet(np.full(size, 0.6), size) * 0.5, -1)
        words[4, 0] = attention[spot]
        case[name] = {"attention": attention.tolist(), "share": attention.tolist(), "pieces": 3}
        case[name] |= {"mean": (attention * 0.8).tolist()}
        case[name] |= {"map": words.tolist(), "sink": rng.uniform(0.1, 0.4, size).tolist()}
    head = {"layer": spot[0], "head": spot[1], "change": 0.49, "why": "changed"}
    mean = {"layer": spot[0], "head": spot[1], "change": 0.39, "shown": 0.39, "holds": True}
    return {**case, "head": head, "mean": mean}
