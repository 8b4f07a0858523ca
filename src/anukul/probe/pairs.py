"""Minimal pairs, base and adapted: pairs.parquet, the table pairs.json, and pairs-sample.txt to be read by people.

What the probe step (or a notebook) calls: `load_sets` before a model is loaded, `run_pairs` with it; the knock-out
scores the same pairs by `score_pairs`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anukul import progress
from anukul.config import PairSettings
from anukul.errors import UserError
from anukul.items.pairs import MinimalPair
from anukul.items.pairs import load_pairs as read_pairs
from anukul.model.loaded import Loaded
from anukul.probe.pairs_table import pairs_table, right
from anukul.records import PairScore, write_rows
from anukul.rundir import Result, write_atomic, write_json
from anukul.scoring.budget import kept_budget
from anukul.scoring.cache import BatchCache
from anukul.scoring.scorer import Scorer

MODELS = ("base", "adapted")
SHOWN = 3  # pairs of each phenomenon in the sample
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairSet:
    """A named set of minimal pairs, as read."""

    name: str
    path: str
    pairs: tuple[MinimalPair, ...]


def load_sets(settings: Sequence[PairSettings], language: str) -> list[PairSet]:
    """Read the sets of `probe.pairs`; `language` is that of sets without one. Raise UserError for a bad row."""
    return [
        PairSet(found.name, found.path, tuple(read_pairs(found.path, found.language or language)))
        for found in settings
    ]


def score_pairs(scorer: Scorer, pairs: Sequence[MinimalPair]) -> Floats:
    """Return the log-likelihoods of good and bad as whole texts after BOS, `[pairs, 2]`, in nats.

    The two sentences of a pair share their beginning, which the scorer's trie runs once. Raise UserError where one is
    not a finite number. What changes the model while it is scored (`silenced`) must give it a fingerprint of its own.
    """
    texts = [text for pair in pairs for text in (pair.good, pair.bad)]
    scores = np.asarray(scorer.score_texts(texts), dtype=np.float64).reshape(-1, 2)
    broken = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(broken):
        raise UserError(
            f"minimal pair '{pairs[broken[0]].id}': its log-likelihood is not a finite number; the weights or the "
            "adapter are broken, or compute_dtype is too narrow: try float32"
        )
    return scores


def byte_counts(pairs: Sequence[MinimalPair]) -> NDArray[np.int64]:
    """Return the UTF-8 bytes of good and bad, `[pairs, 2]`."""
    sizes = [[len(text.encode("utf-8")) for text in (pair.good, pair.bad)] for pair in pairs]
    return np.asarray(sizes, dtype=np.int64).reshape(-1, 2)


def run_pairs(loaded: Loaded, sets: Sequence[PairSet], folder: Path, seed: int) -> Result:
    """Score every set with base and adapted on the same pairs and write the three files into `folder`.

    A killed run goes on from the forwards in `folder`/parts, which the caller removes when its step is done.
    """
    parts = folder / "parts"
    cache = BatchCache(parts / "pairs_batches.jsonl")
    budget = kept_budget(loaded, parts / "token_budget")
    scores: dict[str, list[Floats]] = {}
    for model in MODELS:
        scorer = Scorer(loaded, budget, adapter=model == "adapted", cache=cache)
        with scorer.showing(f"minimal pairs, {model}", sum(2 * len(held.pairs) for held in sets)):
            scores[model] = [score_pairs(scorer, held.pairs) for held in sets]
    rows = [
        row
        for model in MODELS
        for held, values in zip(sets, scores[model], strict=True)
        for row in _rows(held, values, model)
    ]
    table = pairs_table(rows, seed)
    table["sets"] = [{"name": held.name, "path": held.path, "pairs": len(held.pairs)} for held in sets]
    count = write_rows(folder / "pairs.parquet", rows, PairScore)
    write_atomic(folder / "pairs-sample.txt", sample(sets, scores))
    write_json(folder / "pairs.json", table)
    _say(table, folder)
    return Result(["pairs.parquet", "pairs.json", "pairs-sample.txt"], {"pairs": count // len(MODELS)})


def _rows(held: PairSet, scores: Floats, model: str) -> list[PairScore]:
    sizes = byte_counts(held.pairs)
    return [
        PairScore(
            model=model,
            set=held.name,
            language=pair.language,
            pair=pair.id,
            phenomenon=pair.phenomenon,
            distance=pair.distance,
            attractor=pair.attractor,
            cluster=pair.cluster,
            good=pair.good,
            bad=pair.bad,
            good_nats=float(nats[0]),
            bad_nats=float(nats[1]),
            good_bytes=int(size[0]),
            bad_bytes=int(size[1]),
            correct=bool(is_right),
        )
        for pair, nats, size, is_right in zip(held.pairs, scores, sizes, right(scores), strict=True)
    ]


def _say(table: dict[str, object], folder: Path) -> None:
    rows = table["rows"]
    assert isinstance(rows, list)
    for row in rows:
        if row["whole_set"]:
            base, adapted = row["base"]["value"], row["adapted"]["value"]
            progress.say(
                f"  minimal pairs, {row['set']}: {base:.1%} base, {adapted:.1%} adapted, of {row['n']:,} pairs"
            )
    progress.say(f"  {SHOWN} of each phenomenon to read: {folder / 'pairs-sample.txt'}")


def sample(sets: Sequence[PairSet], scores: dict[str, list[Floats]]) -> str:
    """Return a few pairs of every phenomenon, good above bad, the words that differ in brackets, for reading.

    `scores` `{model: [[pairs, 2] of each set]}`, in nats; may be empty, and then no numbers are shown.
    """
    lines: list[str] = []
    for number, held in enumerate(sets):
        places: dict[str, list[int]] = {}
        for place, pair in enumerate(held.pairs):
            places.setdefault(pair.phenomenon, []).append(place)
        for phenomenon, found in places.items():
            lines += [f"{held.name}: {phenomenon}, {len(found):,} pairs", ""]
            for place in _spread([held.pairs[place] for place in found], found):
                lines += _shown(held.pairs[place], {m: values[number][place] for m, values in scores.items()})
    return "\n".join(lines) + "\n"


def _spread(pairs: Sequence[MinimalPair], places: Sequence[int]) -> list[int]:
    """Choose the places of SHOWN pairs, from the nearest to the farthest."""
    order = sorted(range(len(pairs)), key=lambda index: (pairs[index].distance, bool(pairs[index].attractor)))
    steps = min(SHOWN, len(order))
    return [places[order[(2 * step + 1) * len(order) // (2 * steps)]] for step in range(steps)]


def _shown(pair: MinimalPair, scores: dict[str, Floats]) -> list[str]:
    good, bad = bracketed(pair.good, pair.bad)
    told = [f"distance {pair.distance}"] if pair.distance >= 0 else []
    told += [f"attractor {pair.attractor}"] if pair.attractor else []
    told += [f"{model} {nats[0] - nats[1]:+.2f} nats" for model, nats in scores.items()]
    return [f"  + {good}", f"  - {bad}", f"    {', '.join(told)}", ""]


def bracketed(good: str, bad: str) -> tuple[str, str]:
    """Return both sentences with brackets around every word that the other does not have in this place."""
    made: tuple[list[str], list[str]] = ([], [])
    for first, second in zip_longest(good.split(), bad.split(), fillvalue=""):
        for words, word in zip(made, (first, second), strict=True):
            if word:
                words.append(word if first == second else f"[{word}]")
    return " ".join(made[0]), " ".join(made[1])
