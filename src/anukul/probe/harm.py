"""What silencing did: drops with intervals, and the rank of the selected heads among sets drawn at random."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anukul.config import KnockoutSettings
from anukul.probe import resample
from anukul.probe.choose import MODELS
from anukul.probe.knockout import Asked, Outcome
from anukul.probe.resample import Floats
from anukul.probe.sets import RandomSets, Trial
from anukul.records import Silenced
from anukul.stats import benjamini_hochberg, mcnemar_clustered

MEASURES = ("accuracy", "margin", "bits_per_byte")


@dataclass(frozen=True, slots=True)
class Harm:
    """Means before and after, and the harm with its interval, one entry for each set: all `[sets]` but `before`."""

    before: float
    after: Floats
    value: Floats
    low: Floats
    high: Floats


def harm_of(
    before: Floats, after: Floats, weights: Floats, clusters: Sequence[str], rng: np.random.Generator
) -> Harm:
    """Return before minus after of ratios sum / weight, for `before` `[items]` and `after` `[items, sets]`.

    One draw of clusters serves all sets.
    """
    numbers: dict[str, int] = {}
    index = np.array([numbers.setdefault(name, len(numbers)) for name in clusters])
    lost = before[:, None] - after
    sums = np.zeros((len(numbers), lost.shape[1]))
    np.add.at(sums, index, lost)
    counts = np.bincount(index, weights=weights, minlength=len(numbers)).astype(np.float64)
    low, high = resample.ratio_interval(sums, counts, resample.draws(len(numbers), rng))
    whole = weights.sum()
    return Harm(float(before.sum() / whole), after.sum(0) / whole, lost.sum(0) / whole, low, high)


@dataclass(frozen=True, slots=True)
class Measured:
    """One model and way of silencing: harm by (phenomenon, measure), the sets in the order of the trials."""

    harms: Mapping[tuple[str, str], Harm]
    lost: Floats  # [pairs, sets] correct before minus correct after


def measure(outcome: Outcome, how: str, asked: Asked, trials: Sequence[Trial], seed: int) -> Measured:
    """Return the harm of every set, over all pairs and for each phenomenon; of text it is the rise."""
    scored = [outcome.silenced[how, place] for place in range(len(trials))]
    harms: dict[tuple[str, str], Harm] = {}
    lost = np.zeros((0, len(trials)))
    if asked.pairs:
        correct = np.stack([item.correct for item in scored], 1)
        margins = np.stack([item.margins for item in scored], 1)
        lost = outcome.before.correct[:, None] - correct
        names = np.array([pair.phenomenon for pair in asked.pairs])
        clusters = np.array([pair.cluster for pair in asked.pairs])
        for phenomenon in ("", *dict.fromkeys(names.tolist())):
            wanted = np.flatnonzero((names == phenomenon) | (phenomenon == ""))
            ones, own = np.ones(len(wanted)), clusters[wanted].tolist()
            for name, before, after in (
                ("accuracy", outcome.before.correct, correct),
                ("margin", outcome.before.margins, margins),
            ):
                # the same draws for both models and all ways: their differences are paired
                rng = resample.generator(seed, "knockout", phenomenon)
                harms[phenomenon, name] = harm_of(before[wanted], after[wanted], ones, own, rng)
    if asked.texts:
        bits = np.stack([item.bits for item in scored], 1)
        lines = [str(number) for number in range(len(asked.texts))]
        rng = resample.generator(seed, "knockout", "texts")
        # harm is what is lost: of bits, what is more after than before
        harm = harm_of(-outcome.before.bits, -bits, asked.bytes, lines, rng)
        harms["", "bits_per_byte"] = Harm(-harm.before, -harm.after, harm.value, harm.low, harm.high)
    return Measured(harms, lost)


def rows_of(
    measured: Mapping[tuple[str, str], Measured], asked: Asked, trials: Sequence[Trial]
) -> list[Silenced]:
    """Return the rows of knockout.parquet; `measured` by model and way."""
    counts = {"": len(asked.pairs)}
    for pair in asked.pairs:
        counts[pair.phenomenon] = counts.get(pair.phenomenon, 0) + 1
    rows = []
    for (model, how), found in measured.items():
        for place, trial in enumerate(trials):
            for phenomenon in counts:
                accuracy = _numbers(found.harms.get((phenomenon, "accuracy")), place)
                margin = _numbers(found.harms.get((phenomenon, "margin")), place)
                text = found.harms.get((phenomenon, "bits_per_byte"))
                rows.append(
                    Silenced(
                        model,
                        how,
                        trial.kind,
                        trial.number,
                        [layer for layer, _ in trial.heads],
                        [head for _, head in trial.heads],
                        phenomenon,
                        counts[phenomenon],
                        *accuracy,
                        *margin,
                        len(asked.texts) if text else 0,
                        *_numbers(text, place),
                    )
                )
    return rows


def _numbers(harm: Harm | None, place: int) -> tuple[float, float, float, float, float]:
    """Before, after, harm, low and high of one set."""
    if harm is None:
        return (float("nan"),) * 5
    arrays = (harm.after, harm.value, harm.low, harm.high)
    after, value, low, high = (float(array[place]) for array in arrays)
    return harm.before, after, value, low, high


def knockout_summary(
    settings: KnockoutSettings,
    outcomes: Mapping[str, Outcome],
    asked: Asked,
    trials: Sequence[Trial],
    random: RandomSets,
    seed: int,
) -> tuple[dict[str, Any], list[Silenced]]:
    """Return knockout.json but for what it is about, and the rows of knockout.parquet."""
    measured: dict[tuple[str, str], Measured] = {
        (model, how): measure(outcomes[model], how, asked, trials, seed)
        for model in MODELS
        for how in settings.how
    }
    models: dict[str, Any] = {
        model: {how: _effects(measured[model, how], asked, trials) for how in settings.how}
        for model in MODELS
    }
    sets = [
        models[model][how]["set"][name]
        for model in MODELS
        for how in settings.how
        for name in models[model][how]["set"]
    ]
    ranked = [effect for effect in sets if "rank_p" in effect]
    for effect, q in zip(ranked, benjamini_hochberg([item["rank_p"] for item in ranked]), strict=True):
        effect["rank_q"] = q
    return {
        "pairs": len(asked.pairs),
        "pair_clusters": len({pair.cluster for pair in asked.pairs}),
        "texts": len(asked.texts),
        "text_bytes": int(asked.bytes.sum()),
        "how": list(settings.how),
        "random_sets": {
            "asked": settings.sets,
            "made": len(random.sets),
            "distinct": random.distinct,
            "overlap": random.overlap,
            "exact": random.exact,
            "smallest_p": random.smallest_p,
        },
        "models": models,
        "adapted_minus_base": {
            how: _difference(measured["adapted", how], measured["base", how], asked, seed)
            for how in settings.how
            if asked.pairs
        },
        "untouched": {model: outcomes[model].untouched for model in MODELS},
    }, rows_of(measured, asked, trials)


def _effects(measured: Measured, asked: Asked, trials: Sequence[Trial]) -> dict[str, Any]:
    """One model and way: the set against the random sets, by phenomenon, and each head against others."""
    random = [place for place, trial in enumerate(trials) if trial.kind == "random"]
    own = next(place for place, trial in enumerate(trials) if trial.kind == "selected")
    whole = _all_measures(measured, asked, own, random)
    phenomena = [
        {"phenomenon": phenomenon, **_effect(harm, own, random)}
        for (phenomenon, name), harm in measured.harms.items()
        if phenomenon and name == "accuracy"
    ]
    singles = []
    for place, trial in enumerate(trials):
        if trial.kind == "single":
            layer, head = trial.heads[0]
            beside = [
                i for i, item in enumerate(trials) if item.kind == "other" and item.heads[0][0] == layer
            ]
            singles.append({"layer": layer, "head": head, **_all_measures(measured, asked, place, beside)})
    tested = [entry["accuracy"] for entry in singles if "accuracy" in entry]
    for effect, q in zip(tested, benjamini_hochberg([item["p"] for item in tested]), strict=True):
        effect["q"] = q
    return {"set": whole, "phenomena": phenomena, "singles": singles}


def _all_measures(measured: Measured, asked: Asked, place: int, compared: Sequence[int]) -> dict[str, Any]:
    """One set's harm by every measure, over all pairs and texts; that of accuracy with McNemar's p by frame."""
    effects = {
        name: _effect(measured.harms["", name], place, compared)
        for name in MEASURES
        if ("", name) in measured.harms
    }
    if "accuracy" in effects:
        clusters = [pair.cluster for pair in asked.pairs]
        effects["accuracy"]["p"] = mcnemar_clustered(measured.lost[:, place], clusters)
    return effects


def _effect(harm: Harm, place: int, compared: Sequence[int]) -> dict[str, Any]:
    """One set's harm, and how many of the compared sets do at least as much."""
    before, after, value, low, high = _numbers(harm, place)
    effect: dict[str, Any] = {"before": before, "after": after, "value": value, "low": low, "high": high}
    if compared:
        others = harm.value[list(compared)]
        at_least = int((others >= value - 1e-12).sum())
        effect |= {
            "others": len(compared),
            "others_mean": float(others.mean()),
            "others_largest": float(others.max()),
            "others_at_least": at_least,
            "rank_p": (1 + at_least) / (1 + len(compared)),
        }
    return effect


def _difference(adapted: Measured, base: Measured, asked: Asked, seed: int) -> dict[str, float]:
    """By how much more the selected set is missed in the adapted model than in the base, paired by pair."""
    rng = resample.generator(seed, "knockout", "difference")
    clusters = [pair.cluster for pair in asked.pairs]
    ones = np.ones(len(clusters))
    # the selected set comes first
    harm = harm_of(adapted.lost[:, 0], base.lost[:, :1], ones, clusters, rng)
    p = mcnemar_clustered(adapted.lost[:, 0] - base.lost[:, 0], clusters)
    return {"value": float(harm.value[0]), "low": float(harm.low[0]), "high": float(harm.high[0]), "p": p}
