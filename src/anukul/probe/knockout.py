"""Heads that were found are silenced, and agreement and held-out text scored: what is lost, against random sets.

After Sashida et al. 2026 (Findings of EACL 214). Everything is scored before and after with the same requests; every
set is a file, so that a killed run goes on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from anukul import progress
from anukul.config import KnockoutSettings
from anukul.errors import UserError
from anukul.items.pairs import MinimalPair
from anukul.items.rows import check_finite
from anukul.model.loaded import Loaded
from anukul.model.silence import How, head_means, silenced
from anukul.probe.choose import MODELS
from anukul.probe.pairs import score_pairs
from anukul.probe.resample import Floats
from anukul.probe.sets import Trial
from anukul.rundir import write_atomic
from anukul.scoring.budget import kept_budget
from anukul.scoring.scorer import Scorer

MOST_APART = 1e-3  # nats by which the intact model may differ from itself before the run is stopped


@dataclass(frozen=True, slots=True)
class Asked:
    """What is scored with every set of heads."""

    pairs: list[MinimalPair]
    texts: list[str]

    @property
    def bytes(self) -> Floats:
        """UTF-8 bytes of each text."""
        return np.array([len(text.encode("utf-8")) for text in self.texts], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-likelihoods in nats: `pairs` `[pairs, 2]`, good first, and `texts` `[texts]`."""

    pairs: Floats
    texts: Floats

    @property
    def correct(self) -> Floats:
        """`[pairs]`: 1 where the good sentence is strictly likelier."""
        return (self.pairs[:, 0] > self.pairs[:, 1]).astype(np.float64)

    @property
    def margins(self) -> Floats:
        """`[pairs]`: by how many nats the good sentence is likelier."""
        margins: Floats = self.pairs[:, 0] - self.pairs[:, 1]
        return margins

    @property
    def bits(self) -> Floats:
        """`[texts]`."""
        bits: Floats = -self.texts / log(2)
        return bits

    def save(self, path: Path) -> None:
        """Write atomically."""
        buffer = BytesIO()
        np.savez(buffer, pairs=self.pairs, texts=self.texts)
        write_atomic(path, buffer.getvalue())

    @staticmethod
    def load(path: Path) -> "Scored":
        """Read what `save` wrote."""
        with np.load(path) as file:
            return Scored(file["pairs"], file["texts"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """One model: intact, with each set silenced by way and place in the trials, and intact again."""

    before: Scored
    silenced: dict[tuple[str, int], Scored]
    after: Scored

    @property
    def untouched(self) -> dict[str, Any]:
        """Whether the model scores as before, to the bit, when all is done."""
        return {
            "bit_equal": np.array_equal(self.before.pairs, self.after.pairs)
            and np.array_equal(self.before.texts, self.after.texts),
            "largest_difference": _apart(self.before, self.after),
        }


def _apart(one: Scored, other: Scored) -> float:
    both = ((one.pairs, other.pairs), (one.texts, other.texts))
    return max(float(np.abs(a - b).max(initial=0.0)) for a, b in both)


def spread_pairs(pairs: Sequence[MinimalPair], limit: int) -> list[MinimalPair]:
    """Return at most `limit` pairs, as many of each phenomenon as can be, frames whole and spread over the file.

    A frame's pairs are made to be wrong in opposite ways; one of them alone would favor a form.
    """
    if len(pairs) <= limit:
        return list(pairs)
    frames: dict[str, dict[str, list[int]]] = {}
    for place, pair in enumerate(pairs):
        frames.setdefault(pair.phenomenon, {}).setdefault(pair.cluster, []).append(place)
    held = {name: sum(len(places) for places in own.values()) for name, own in frames.items()}
    quota = dict.fromkeys(frames, 0)
    left = limit
    while left > 0:
        for name in quota:
            if left > 0 and quota[name] < held[name]:
                quota[name] += 1
                left -= 1
    kept = [place for name, own in frames.items() for place in _spread(list(own.values()), quota[name])]
    return [pairs[place] for place in sorted(kept)]


def _spread(frames: list[list[int]], limit: int) -> list[int]:
    """Return the places of as many whole frames as give at most `limit`, evenly spaced."""
    for count in range(min(len(frames), limit), 0, -1):
        chosen = [frames[int(i)] for i in np.linspace(0, len(frames) - 1, count).round()]
        if sum(map(len, chosen)) <= limit:
            return [place for places in chosen for place in places]
    return frames[0][:limit]  # one frame is larger than all that may be scored


def run_trials(
    loaded: Loaded, settings: KnockoutSettings, asked: Asked, trials: Sequence[Trial], parts: Path
) -> dict[str, Outcome]:
    """Score base and adapted intact, with every set silenced in every way, and intact again.

    Raises UserError where a score is not finite, or where the intact model does not score as before.
    """
    total = len(MODELS) * (2 + len(trials) * len(settings.how))
    outcomes: dict[str, Outcome] = {}
    budget = kept_budget(loaded, parts / "knockout_token_budget")
    with progress.bar("knock-out", total, "sets") as bar:
        for model in MODELS:
            # one scorer for all sets of a model: it finds out only once how its attention is walked
            scorer = Scorer(loaded, budget, adapter=model == "adapted")
            before = _kept(scorer, asked, parts / f"{model}-intact.npz", model)
            bar.advance(1, model)
            means = _means(scorer, asked) if "mean" in settings.how else None
            found: dict[tuple[str, int], Scored] = {}
            for how in settings.how:
                for place, trial in enumerate(trials):
                    path = parts / f"{model}-{how}-{trial.kind}-{trial.number:03d}.npz"
                    with _silence(loaded, trial, how, means, path.exists()):
                        found[how, place] = _kept(scorer, asked, path, model)
                    bar.advance(1, f"{model}, {how}")
            # never from a file: that the model is as it was is seen, not remembered
            outcomes[model] = Outcome(before, found, _score(scorer, asked, model))
            bar.advance(1, model)
            _check_untouched(outcomes[model], model)
    return outcomes


@contextmanager
def _silence(loaded: Loaded, trial: Trial, how: How, means: Any, kept: bool) -> Iterator[None]:
    """Silence a set, unless its scores are there already."""
    with nullcontext() if kept else silenced(loaded, trial.heads, how, means if how == "mean" else None):
        yield


def _means(scorer: Scorer, asked: Asked) -> Any:
    """The mean output of every head, over the held-out texts, or the good sentences where there are none."""
    with scorer.active():
        return head_means(scorer.loaded, asked.texts or [pair.good for pair in asked.pairs])


def _kept(scorer: Scorer, asked: Asked, path: Path, model: str) -> Scored:
    if not path.exists():
        _score(scorer, asked, model).save(path)
    return Scored.load(path)


def _score(scorer: Scorer, asked: Asked, model: str) -> Scored:
    pairs = score_pairs(scorer, asked.pairs) if asked.pairs else np.zeros((0, 2))
    texts = scorer.score_texts(asked.texts) if asked.texts else []
    check_finite([*pairs.ravel().tolist(), *texts], "knock-out", "all", model)
    return Scored(pairs, np.array(texts, dtype=np.float64))


def _check_untouched(outcome: Outcome, model: str) -> None:
    apart = _apart(outcome.before, outcome.after)
    if apart > MOST_APART:
        raise UserError(
            f"probe.knockout: after its heads were silenced the {model} model scores otherwise than before, by up to "
            f"{apart:.3g} nats: something stayed behind, its numbers cannot be trusted"
        )
    if not outcome.untouched["bit_equal"]:
        progress.say(
            f"  knock-out: the {model} model scores as before but for rounding (up to {apart:.3g} nats)"
        )
