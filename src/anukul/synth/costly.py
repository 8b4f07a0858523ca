"""Filters that ask a model: how likely it finds a pair, and how much of the target side comes back through it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.config import SynthSettings
from anukul.languages import Language
from anukul.synth.translate import CTranslate2Translator, Translator, Use, describe, make_translator, nobody


@dataclass(frozen=True, slots=True)
class Weighed:
    """What the models say of a pair; None where they were not asked, or could not take it."""

    score: float | None = None  # mean log-probability per token, nats
    round_trip: float | None = None  # chrF, 0 to 100
    reason: tuple[str, str] | None = None


class Costly:
    """The filters of `synth.forced_score` and `synth.round_trip`; their models are loaded when first needed."""

    def __init__(
        self, settings: SynthSettings, base: Language, target: Language, seed: int, parts: Path
    ) -> None:
        self.forced = settings.forced_score
        self.trip = settings.round_trip
        self.base, self.target, self.seed = base, target, seed
        self.parts = parts  # of the step
        self._scorer: CTranslate2Translator | None = None
        self._back: Translator | None = None

    def describe(self) -> dict[str, Any]:
        """Return what stats.json records of the models asked."""
        found: dict[str, Any] = {}
        if self.forced:
            found["forced_score"] = {
                **describe(self.forced.translator, self.seed),
                "direction": self.forced.direction,
                "min_score": self.forced.min_score,
            }
        if self.trip:
            found["round_trip"] = {
                **describe(self.trip.translator, self.seed),
                "min_chrf": self.trip.min_chrf,
                "metric": "chrF2, sacrebleu",
            }
        return found

    def weigh(self, pairs: Sequence[tuple[str, str]]) -> list[Weighed]:
        """Ask the models about pairs of (base side, target side); a text that a model cannot take is not dropped."""
        scores = self._scores(pairs) if self.forced and pairs else [None] * len(pairs)
        trips = self._trips(pairs) if self.trip and pairs else [None] * len(pairs)
        return [self._weighed(score, trip) for score, trip in zip(scores, trips, strict=True)]

    def _weighed(self, score: float | None, trip: float | None) -> Weighed:
        reason: tuple[str, str] | None = None
        least = self.forced.min_score if self.forced else None
        wanted = self.trip.min_chrf if self.trip else None
        if score is not None and least is not None and score < least:
            reason = "unlikely", f"{score:.2f} nats per token, less than {least:g}"
        elif trip is not None and wanted is not None and trip < wanted:
            reason = "round_trip", f"chrF {trip:.1f} of the way back, less than {wanted:g}"
        return Weighed(score, trip, reason)

    def _scores(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        assert self.forced is not None
        to_base = self.forced.direction == "to_base"
        ways = (self.target, self.base) if to_base else (self.base, self.target)
        if self._scorer is None:
            made = make_translator(self.forced.translator, *ways, self.seed)
            if not isinstance(made, CTranslate2Translator):
                raise TypeError("forced scores come from a CTranslate2 model")
            self._scorer = made
        sides = ([target for _, target in pairs], [source for source, _ in pairs])
        given, scored = sides if to_base else (sides[1], sides[0])
        return self._scorer.score(given, scored)

    def _trips(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        from sacrebleu.metrics.chrf import CHRF

        assert self.trip is not None
        if self._back is None:
            use = Use.of("synth.round_trip.translator", self.parts)
            asked = self.trip.translator
            self._back = make_translator(asked, self.base, self.target, self.seed, nobody, use)
        metric = CHRF()
        back = self._back.translate([source for source, _ in pairs])
        return [
            round(float(metric.sentence_score(one.text, [target]).score), 2) if one.ended else None
            for one, (_, target) in zip(back, pairs, strict=True)
        ]
