"""The entries of selected.json: each relation's best heads, chosen on one half and reported on the other, both ways."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul.probe import resample
from anukul.probe.heads import ArcTable, Crossed, Group, Head, Part, Scores, best_head, cross_fit, part_of
from anukul.probe.permute import looked, permuted_accuracy
from anukul.probe.resample import Floats
from anukul.stats import benjamini_hochberg

MODELS = ("base", "adapted")


@dataclass(frozen=True, slots=True)
class Permuted:
    """The permutation test of one group and model: p over all heads at once, `[layers, heads]`.

    `found`: the group outlives the correction over relations and directions; its heads with a p of at most
    `level` are significant.
    """

    p: Floats
    q: float
    found: bool
    level: float

    def significant(self, head: Head) -> bool:
        """Whether a head knows more than positions."""
        return self.found and bool(self.p[head] <= self.level)


def select(
    table: ArcTable,
    group: Group,
    models: Mapping[str, Scores],
    seed: int,
    randoms: tuple[Scores, ...] = (),
) -> dict[str, Any]:
    """Return the group's entry in selected.json: each model's best head against the baselines, its change.

    Without `crossfit`, numbers are of the head chosen on the selection half, on the report half. `randoms` are models
    of the same architecture with random weights.
    """
    chosen_on, shown, every = (part_of(table, group, half, seed) for half in ("selection", "report", "all"))
    hit = group.hit[shown.at]
    crossed_randoms = [cross_fit(group, scores) for scores in randoms]
    entry: dict[str, Any] = {
        "relation": group.relation,
        "direction": group.direction,
        "n_selection": len(chosen_on.arcs),
        "n_report": len(shown.arcs),
        "sentences_selection": len(chosen_on.counts),
        "sentences_report": len(shown.counts),
        "baseline": {
            "offset": group.offset,
            "accuracy_selection": float(group.hit[chosen_on.at].mean()),
            "accuracy": float(hit.mean()),
        },
        # accuracy of a guess among the earlier words
        "uniform": float((1.0 / group.query[shown.at]).mean()),
    }
    if randoms:
        by_chance = np.mean([crossed.correct for crossed in crossed_randoms], axis=0)[every.at]
        entry["random"] = {"models": len(randoms), "n": len(every.arcs), **every.mean(by_chance)}
    for name, scores in models.items():
        head = best_head(scores, chosen_on.arcs)
        rng = resample.generator(seed, group.name, "p", name)
        entry[name] = {
            **_reported(group, shown, scores, head, hit, rng),
            "accuracy_selection": float(scores.correct[(chosen_on.arcs, *head)].mean()),
            "change": _change(shown, models, head),
            "crossfit": _crossed(group, every, cross_fit(group, scores), seed, name, crossed_randoms),
        }
    return entry


def _reported(
    group: Group,
    shown: Part,
    scores: Scores,
    head: Head,
    hit: NDArray[np.bool_],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The chosen head on the half that it was not chosen on."""
    correct = scores.correct[(shown.arcs, *head)]
    against = correct.astype(np.float64) - hit
    own, difference = shown.mean(correct), shown.mean(against)
    arcs = looked(scores.found[(shown.arcs, *head)], group.query[shown.at], group.distance[shown.at])
    return {
        "layer": head[0],
        "head": head[1],
        "accuracy": own["value"],
        "low": own["low"],
        "high": own["high"],
        "mass": float(scores.mass[(shown.arcs, *head)].mean(dtype=np.float64)),
        "permuted": float(permuted_accuracy(arcs)[0]),
        "difference": difference["value"],
        "difference_low": difference["low"],
        "difference_high": difference["high"],
        "p": resample.sign_flip(shown.sums(against), rng),
    }


def _crossed(
    group: Group, every: Part, own: Crossed, seed: int, name: str, randoms: list[Crossed]
) -> dict[str, Any]:
    """Every arc judged by the head chosen on the other half: pooled accuracy, and its lead over the baselines."""
    correct = own.correct[every.at].astype(np.float64)
    against = correct - group.crossed_hit[every.at]
    accuracy, difference = every.mean(correct), every.mean(against)
    rng = resample.generator(seed, group.name, "crossfit", name)
    result: dict[str, Any] = {
        "n": len(every.arcs),
        "sentences": len(every.counts),
        "heads": [list(head) for head in own.heads if head is not None],
        "accuracy": accuracy["value"],
        "low": accuracy["low"],
        "high": accuracy["high"],
        "baseline": float(group.crossed_hit.mean()),
        "offsets": list(group.offsets),
        "difference": difference["value"],
        "difference_low": difference["low"],
        "difference_high": difference["high"],
        "p": resample.sign_flip(every.sums(against), rng),
    }
    if randoms:
        beyond = correct - np.mean([crossed.correct for crossed in randoms], axis=0)[every.at]
        rng = resample.generator(seed, group.name, "random", name)
        p = resample.sign_flip(every.sums(beyond), rng)
        result["over_random"] = {**every.mean(beyond), "p": p}
    return result


def _change(part: Part, models: Mapping[str, Scores], head: Head) -> dict[str, float]:
    """Return adapted minus base for one head on the same arcs, with its interval."""
    base, adapted = (models[name].correct[(part.arcs, *head)].astype(np.float64) for name in MODELS)
    change = part.mean(adapted - base)
    return {"accuracy": change["value"], "low": change["low"], "high": change["high"]}


def add_q_values(entries: list[dict[str, Any]], models: tuple[str, ...]) -> None:
    """Give every `p` of the entries its false discovery rate `q`, over all relations and directions of one model.

    Each test is a family of its own: the lead on the report half, the cross-fitted lead, the lead over random weights.
    """
    for name in models:
        for path in ((), ("crossfit",), ("crossfit", "over_random")):
            held = [_under(entry[name], path) for entry in entries]
            if held and all(held):
                q_values = benjamini_hochberg([float(item["p"]) for item in held])
                for item, q in zip(held, q_values, strict=True):
                    item["q"] = q


def _under(entry: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path:
        entry = entry.get(key, {})
    return entry


def add_permutations(
    entry: dict[str, Any], name: str, tested: Permuted, accuracy: Floats, alpha: float
) -> None:
    """Add the permutation test to an entry's model, and the heads that know the relation.

    `resolvers` know it: the relation is led by its best heads, cross-fitted and after the correction, over the fixed
    offset and (where there are any) over random weights; and each of them knows more than positions and is above both
    by its own `accuracy` `[layers, heads]` on all arcs. They are ordered by that accuracy, and each stands with it and
    with its lead over the better of the two. `named` are those among them that were chosen as best on a half.
    """
    held = entry[name]
    own = (int(held["layer"]), int(held["head"]))
    strongest = np.unravel_index(int(tested.p.argmin()), tested.p.shape)
    held["permutation"] = {
        "p": float(tested.p[own]),
        "p_smallest": float(tested.p.min()),
        "strongest": [int(place) for place in strongest],
        "q": tested.q,
        "heads": int((tested.p <= tested.level).sum()) if tested.found else 0,
    }
    crossed = held["crossfit"]
    leads = [crossed] + ([crossed["over_random"]] if "over_random" in crossed else [])
    above = all(lead["q"] <= alpha and lead.get("difference", lead.get("value")) > 0 for lead in leads)
    bar = max(crossed["baseline"], entry.get("random", {}).get("value", 0.0))
    found = [
        (float(accuracy[head]), head)
        for head in np.ndindex(*accuracy.shape)
        if above and accuracy[head] > bar and tested.significant((head[0], head[1]))
    ]
    found.sort(key=lambda item: (-item[0], item[1]))
    held["resolvers"] = [
        {"layer": layer, "head": head, "accuracy": value, "lead": value - bar}
        for value, (layer, head) in found
    ]
    chosen = {tuple(head) for head in crossed["heads"]}
    held["named"] = [list(head) for _, head in found if head in chosen]


def resolving_heads(entries: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the heads that know any relation, the largest lead first, each with its relations.

    `named` says that it is the best of one of them.
    """
    found: dict[Head, dict[str, Any]] = {}
    for entry in entries:
        for one in entry[name]["resolvers"]:
            head = (one["layer"], one["head"])
            new = {"layer": head[0], "head": head[1], "named": False, "relations": [], "lead": 0.0}
            item = found.setdefault(head, new)
            item["relations"].append(f"{entry['relation']}/{entry['direction']}")
            item["named"] |= list(head) in entry[name]["named"]
            item["lead"] = max(item["lead"], one["lead"])
    return sorted(found.values(), key=lambda item: (-item["lead"], item["layer"], item["head"]))
