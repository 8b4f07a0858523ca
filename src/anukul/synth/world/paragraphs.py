"""Sentences and coherent paragraphs, in both languages at once; nothing here states a fact about a named person."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from anukul.synth.world import english, nepali
from anukul.synth.world.complex_patterns import PATTERNS
from anukul.synth.world.grammar import Clause, Meaning, Name, Noun, Phrase
from anukul.synth.world.lexicon import by_class, draw
from anukul.synth.world.names import ANIMALS, PROFESSIONS, table
from anukul.synth.world.people import PLACE_NAMES
from anukul.synth.world.phrases import Scene, common_subject, pronoun, relative
from anukul.synth.world.trees import text

FACT_NOUNS = frozenset(nepali for nepali, _ in (*table(PROFESSIONS), *table(ANIMALS)))

# How often each pattern is drawn; those not listed: 2. Complex sentences are rarer, as in text.
_WEIGHTS = {
    "present": 9, "past": 12, "future": 6, "progressive": 5, "past_progressive": 3, "perfect": 4, "giving": 4,
    "negative_present": 4, "negative_past": 4, "state": 7, "location": 4, "existence": 4, "possession": 4, "liking": 4,
    "modal": 4, "polar_question": 3, "question": 4, "coordination": 4, "category": 3, "purpose": 3, "after": 3,
    "object_relative": 3, "subject_relative": 7,
}  # fmt: skip
_PERSONAL = (
    "present", "past", "future", "progressive", "past_progressive", "perfect", "used_to", "giving", "negative_present",
    "negative_past", "negative_future", "possession", "liking", "modal", "state", "location", "condition", "because",
    "after", "purpose", "coordination", "report", "knowing",
)  # fmt: skip
# Persons that only pronouns name; a paragraph about one of them is a diary, a letter, a talk.
_SPEAKING = ("i", "i", "we", "we", "you_low", "you", "you", "you_high", "they")
_ANIMAL = ("present", "past", "progressive", "state", "negative_past", "future", "past_progressive")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A meaning with its two texts; `english` or `nepali` is empty where only the other was asked for."""

    meaning: Meaning
    english: str
    nepali: str


@dataclass(slots=True)
class Writer:
    """Draws sentences and paragraphs; never one whose text is in `forbidden`."""

    rng: random.Random
    people: tuple[Name, ...]
    forbidden: set[str] = field(default_factory=set)

    def scene(self, topic: Phrase | None = None) -> Scene:
        """A fresh scene about a topic."""
        return Scene(self.rng, self.people, PLACE_NAMES, topic)

    def meaning(self, scene: Scene, pattern: str) -> Meaning:
        """A meaning that puts no named person beside a value that one of the fact relations could take."""
        while True:
            introduced = scene.introduced
            clause = PATTERNS[pattern](scene)
            if self.allowed(clause, scene.about_name):
                return Meaning(pattern, clause)
            scene.introduced = introduced

    def allowed(self, clause: Clause, about_name: bool = False) -> bool:
        """Whether the clause keeps named persons and the values of fact relations apart.

        In a paragraph about a named person even a pronoun counts: "He keeps goats" would be such a fact.
        """
        heads = list(_heads(clause))
        named = about_name or any(isinstance(head, Name) and head.person for head in heads)
        return not (named and any(_fact_value(head) for head in heads))

    def sentence(self, scene: Scene, pattern: str, languages: str = "both") -> Sentence:
        """One sentence, realised in "english", "nepali" or "both"."""
        for _ in range(1000):
            meaning = self.meaning(scene, pattern)
            first = text(english.sentence(meaning)) if languages != "nepali" else ""
            second = text(nepali.sentence(meaning)) if languages != "english" else ""
            if first not in self.forbidden and second not in self.forbidden:
                return Sentence(meaning, first, second)
        raise RuntimeError(f"pattern {pattern}: no sentence outside the held-out set")

    def topic(self) -> tuple[Phrase | None, tuple[str, ...]]:
        """What a paragraph is about, and the patterns that suit it."""
        roll, rng = self.rng.random(), self.rng
        if roll < 0.14:
            return Phrase(rng.choice(self.people)), _PERSONAL
        if roll < 0.40:
            return pronoun(rng.choice(_SPEAKING)), _PERSONAL
        if roll < 0.72:
            return relative(self.scene()), _PERSONAL
        if roll < 0.86:
            return common_subject(
                self.scene(), draw(rng, by_class(rng.choice(("general", "role", "child", "child"))))
            ), _PERSONAL
        if roll < 0.90:
            return Phrase(draw(rng, by_class("animal")), determiner="the"), _ANIMAL
        return None, tuple(PATTERNS)

    def paragraph(self, size: int, languages: str = "both", topic: Phrase | None = None) -> list[Sentence]:
        """`size` sentences, about one topic where there is one."""
        patterns: tuple[str, ...] = _PERSONAL
        if topic is None:
            topic, patterns = self.topic()
        scene = self.scene(topic)
        weights = [_WEIGHTS.get(pattern, 2) for pattern in patterns]
        drawn = self.rng.choices(patterns, weights, k=size)
        return [self.sentence(scene, pattern, languages) for pattern in drawn]

    def any_pattern(self) -> str:
        """A pattern, drawn by its weight."""
        return self.rng.choices(tuple(PATTERNS), [_WEIGHTS.get(pattern, 2) for pattern in PATTERNS])[0]


def _fact_value(head: object) -> bool:
    if isinstance(head, Noun):
        return head.nepali in FACT_NOUNS
    return isinstance(head, Name) and not head.person


def _heads(part: object) -> Iterator[object]:
    """Every phrase head in a clause, those of linked and relative clauses included."""
    if isinstance(part, Phrase):
        yield part.head
    elif isinstance(part, tuple):
        for item in part:
            yield from _heads(item)
        return
    elif not isinstance(part, Clause) and type(part).__name__ != "Adjunct":
        return
    for item in fields(part):  # type: ignore[arg-type]
        value = getattr(part, item.name)
        if value and not isinstance(value, str):
            yield from _heads(value)
