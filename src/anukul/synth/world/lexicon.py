"""The lexicon: tables read into entries, indexed by class, drawn with Zipf-like frequency."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import TypeVar, cast

from anukul.synth.world.grammar import Adjective, Adverb, Agreement, Noun, Pronoun, Role, Verb
from anukul.synth.world.modifiers import ADJECTIVES, ADVERBS
from anukul.synth.world.nouns import NOUNS
from anukul.synth.world.verbs import VERBS

Entry = TypeVar("Entry")

# Person nouns are every noun with a gender; these classes follow from others, so that the tables need not repeat them.
_ANIMALS = ("animal", "bird", "insect")
_THINGS = ("vehicle", "furniture", "building", "container", "toy", "vessel", "stationery", "device", "image")


def _rows(text: str, columns: int) -> list[list[str]]:
    rows = [line.split("|") for line in text.strip().split("\n")]
    for row in rows:
        if len(row) != columns:
            raise ValueError(f"{row[0]}: {len(row)} columns, expected {columns}")
    return rows


def _english_plural(word: str) -> str:
    if word.endswith(("s", "sh", "ch", "x")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def _noun(row: list[str]) -> Noun:
    nepali, english, classes, option_text = row[:4]
    options = option_text.split(",")
    plural = next((option[3:] for option in options if option.startswith("pl=")), _english_plural(english))
    kinds = classes.split(",")
    human = "m" in options or "f" in options
    animate = human or kinds[0] in _ANIMALS
    if human:
        kinds.append("people")
        if kinds[0] in ("general", "role", "child"):
            kinds.append("person")
    if kinds[0] in _THINGS:
        kinds.append("thing")
    return Noun(
        nepali, english, plural, tuple(kinds), human, animate,
        feminine="f" in options,
        honor=2 if "h2" in options else int("h1" in options),
        mass="mass" in options,
        place=next((word for word in ("at", "on") if word in options), "in"),
        weak="weak" in options,
        unique="unique" in options,
        pair="pair" in options,
        alternates=nepali.endswith("ो") and "fixed" not in options,
    )  # fmt: skip


def _verb(row: list[str]) -> Verb:
    nepali, english, frame, subjects, objects, settings, options = row
    light, _, infinitive = nepali.rpartition(" ")
    forms, _, particle = english.partition("+")
    parts = forms.split(" ")
    base = parts[0]
    if len(parts) == 1:
        past = _english_past(base)
        parts = [base, past, past]
    pairs = [item.partition(":") for item in settings.split()]
    return Verb(
        infinitive, light, (parts[0], parts[1], parts[2]), particle, frame,
        tuple(subjects.split()), tuple(objects.split()),
        tuple((cast(Role, role), kind) for role, _, kind in pairs),
        frozenset(options.split(",")) if options else frozenset(),
    )  # fmt: skip


_DOUBLED = ("chat", "plan", "stop", "sit", "run", "swim", "get", "put", "travel", "cut", "dig", "set")


def _english_past(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + (base[-1] if base in _DOUBLED else "") + "ed"


def english_third(base: str) -> str:
    """The third person singular present: go, goes; carry, carries; wash, washes."""
    return _english_plural(base) if not base.endswith("o") else base + "es"


def english_gerund(base: str) -> str:
    """The -ing form: make, making; sit, sitting."""
    if base.endswith("e") and not base.endswith("ee") and base != "be":
        return base[:-1] + "ing"
    return base + (base[-1] if base in _DOUBLED else "") + "ing"


NOUNS_ALL: tuple[Noun, ...] = tuple(_noun(row) for row in _rows(NOUNS, 4))
VERBS_ALL: tuple[Verb, ...] = tuple(_verb(row) for row in _rows(VERBS, 7))
ADJECTIVES_ALL: tuple[Adjective, ...] = tuple(
    Adjective(row[0], row[1], tuple(row[2].split()), "a" in row[3], "p" in row[3])
    for row in _rows(ADJECTIVES, 4)
)
ADVERBS_ALL: tuple[Adverb, ...] = tuple(Adverb(*row) for row in _rows(ADVERBS, 3))


def _pronoun(forms: str, person: int, plural: bool, honor: int, feminine: bool = False) -> Pronoun:
    nepali, oblique, ergative, genitive, english = forms.split()
    return Pronoun(nepali, oblique, ergative, genitive, english, Agreement(person, plural, honor, feminine))


PRONOUNS: dict[str, Pronoun] = {
    "i": _pronoun("म म मैले मेरो I", 1, False, 0),
    "we": _pronoun("हामी हामी हामीले हाम्रो we", 1, True, 0),
    "you_low": _pronoun("तँ तँ तैँले तेरो you", 2, False, 0),
    "you": _pronoun("तिमी तिमी तिमीले तिम्रो you", 2, False, 1),
    "you_high": _pronoun("तपाईं तपाईं तपाईंले तपाईंको you", 2, False, 2),
    "he_low": _pronoun("ऊ उस उसले उसको he", 3, False, 0),
    "she_low": _pronoun("ऊ उस उसले उसको she", 3, False, 0, True),
    "he": _pronoun("उनी उन उनले उनको he", 3, False, 1),
    "she": _pronoun("उनी उन उनले उनको she", 3, False, 1, True),
    "he_high": _pronoun("उहाँ उहाँ उहाँले उहाँको he", 3, False, 2),
    "she_high": _pronoun("उहाँ उहाँ उहाँले उहाँको she", 3, False, 2, True),
    "it": _pronoun("त्यो त्यस त्यसले त्यसको it", 3, False, 0),
    "they": _pronoun("उनीहरू उनीहरू उनीहरूले उनीहरूको they", 3, True, 1),
}


@cache
def by_class(kind: str) -> tuple[Noun, ...]:
    """The nouns of a class, commonest first."""
    found = tuple(noun for noun in NOUNS_ALL if kind in noun.classes)
    if not found:
        raise KeyError(f"no noun of class {kind!r}")
    return found


@cache
def adjectives_for(noun: Noun, predicative: bool) -> tuple[Adjective, ...]:
    """The adjectives that can describe a noun before it, or in the predicate."""
    return tuple(
        adjective
        for adjective in ADJECTIVES_ALL
        if (adjective.predicative if predicative else adjective.attributive)
        and any(kind in noun.classes for kind in adjective.classes)
    )


@cache
def adverbs(kind: str) -> tuple[Adverb, ...]:
    """The adverbs of a kind, commonest first."""
    return tuple(adverb for adverb in ADVERBS_ALL if kind in adverb.kind.split())


@cache
def _weights(size: int) -> tuple[float, ...]:
    # A Zipf-Mandelbrot law with a shift, so that the tail of each class is still met (size ~ 30: last/first ~ 1/15).
    return tuple(accumulate(1.0 / (rank + 2.0) for rank in range(size)))


def draw(rng: random.Random, entries: Sequence[Entry]) -> Entry:
    """One entry, the earlier ones more often (Zipf-Mandelbrot)."""
    return rng.choices(entries, cum_weights=_weights(len(entries)))[0]


def draw_noun(rng: random.Random, kinds: Sequence[str]) -> Noun:
    """A noun of one of the classes, a class being drawn first."""
    return draw(rng, by_class(kinds[0] if len(kinds) == 1 else rng.choice(kinds)))
