"""Drawing pairs evenly over distances, attractors and contrasts; none whose sentences stand in the training text."""

from __future__ import annotations

import random
from collections import Counter

from anukul.synth.world.grammar import Name
from anukul.synth.world.pairs.phrases import adjective_pairs, genitive_pairs
from anukul.synth.world.pairs.sentences import AgreementPair, Draft, Drafts
from anukul.synth.world.pairs.verbs import case_pairs, verb_pairs
from anukul.synth.world.pairs.words import Contrast
from anukul.synth.world.paragraphs import Writer
from anukul.synth.world.phrases import Scene

DISTANCES = range(5)
TRIES = 3000
_ENDINGS: tuple[Contrast, ...] = (("को", "का"), ("का", "की"))
# Contrasts in turn. Left out is what speech or respect allows (भाइ आए, रामको छोरी) and जान्छौ / जान्छौँ, which many
# write alike.
CONTRASTS: dict[str, tuple[Contrast, ...]] = {
    "subject-verb person": (("1s", "3s"), ("1p", "3p"), ("1s", "2l"), ("2m", "3p"), ("2l", "3s")),
    "subject-verb number": (("3s", "3p"), ("1s", "1p"), ("3s", "3p")),
    "subject-verb gender": (("3s", "3sf"), ("3p", "3pf")),
    "subject-verb honorific": (
        ("3s", "h"),
        ("2l", "h"),
        ("3p", "h"),
        ("2m", "h"),
        ("3s", "3p"),
        ("2l", "2m"),
    ),
    "adjective agreement": _ENDINGS,
    "genitive agreement": _ENDINGS,
    "ergative case": (("erg", "nom"),),
}


def can_attract(phenomenon: str, contrast: Contrast, distance: int) -> bool:
    """Whether somebody who would demand the wrong form can be named in so many words."""
    if phenomenon == "genitive agreement":
        return True  # the owner itself
    if phenomenon == "ergative case" or distance == 0:
        return False
    if phenomenon == "subject-verb honorific" and {"2l", "2m"} & set(contrast):
        return False  # one does not speak to two people with two degrees of respect in one sentence
    if phenomenon == "adjective agreement" or contrast == ("1s", "1p"):
        return distance > 1  # in somebody's house; I am not "with us"
    return True


def draw_agreement(
    rng: random.Random, people: tuple[Name, ...], each: int, seen: set[str]
) -> list[AgreementPair]:
    """`each` pairs of every phenomenon, or one less; no sentence of theirs is in `seen`, which grows by them."""
    writer = Writer(rng, people)
    pairs: list[AgreementPair] = []
    for phenomenon in CONTRASTS:
        found: list[Drafts] = []
        for distance, attracted, contrast in _plan(phenomenon, each // 2):
            found.append(_frame(writer, phenomenon, contrast, distance, attracted, seen))
        pairs += _named(phenomenon, found)
    return pairs


def _plan(phenomenon: str, frames: int) -> list[tuple[int, bool, Contrast]]:
    """Distance, whether there is an attractor, and contrast of every frame: each in turn."""
    plan: list[tuple[int, bool, Contrast]] = []
    turns: Counter[tuple[int, bool]] = Counter()
    for number in range(frames):
        distance = DISTANCES[number % len(DISTANCES)]
        attracted = bool(number // len(DISTANCES) % 2)
        able = [c for c in CONTRASTS[phenomenon] if can_attract(phenomenon, c, distance)]
        attracted = attracted and bool(able)
        contrasts = able if attracted else list(CONTRASTS[phenomenon])
        # Every cell takes the contrasts in turn, from another one on.
        turn = distance + turns[distance, attracted]
        turns[distance, attracted] += 1
        plan.append((distance, attracted, contrasts[turn % len(contrasts)]))
    return plan


def _frame(
    writer: Writer, phenomenon: str, contrast: Contrast, distance: int, attracted: bool, seen: set[str]
) -> Drafts:
    for _ in range(TRIES):
        drafts = _make(writer.scene(), phenomenon, contrast, distance, attracted)
        if drafts is None or any(draft.distance != distance for draft in drafts):
            continue
        texts = [text for draft in drafts for text in (draft.good, draft.bad)]
        if len(set(texts)) == len(texts) and seen.isdisjoint(texts):
            seen.update(texts)
            return drafts
    raise RuntimeError(
        f"{phenomenon}: no new pair of {contrast} at distance {distance}, attractor {attracted}"
    )


def _make(scene: Scene, phenomenon: str, contrast: Contrast, distance: int, attracted: bool) -> Drafts | None:
    if phenomenon == "adjective agreement":
        return adjective_pairs(scene, contrast, distance, attracted)
    if phenomenon == "genitive agreement":
        return genitive_pairs(scene, contrast, distance, attracted)
    if phenomenon == "ergative case":
        return case_pairs(scene, contrast, distance)
    return verb_pairs(scene, phenomenon, contrast, distance, attracted)


def _named(phenomenon: str, frames: list[Drafts]) -> list[AgreementPair]:
    short = phenomenon.removeprefix("subject-verb ").removesuffix(" agreement").removesuffix(" case")
    return [
        _pair(f"{short}-{number:03d}", letter, draft, phenomenon)
        for number, drafts in enumerate(frames)
        for letter, draft in zip("ab", drafts, strict=True)
    ]


def _pair(frame: str, letter: str, draft: Draft, phenomenon: str) -> AgreementPair:
    return AgreementPair(
        f"{frame}{letter}",
        draft.good,
        draft.bad,
        phenomenon,
        draft.distance,
        draft.attractor,
        draft.contrast,
        frame,
    )
