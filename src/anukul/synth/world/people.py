"""The people of a world and the places they may live in."""

from __future__ import annotations

import random

from anukul.synth.world.grammar import Name
from anukul.synth.world.names import FEMALE, MALE, PLACES, SURNAMES, table

PLACE_NAMES: tuple[Name, ...] = tuple(
    Name(nepali, english, person=False) for nepali, english in table(PLACES)
)


def draw_people(rng: random.Random, count: int) -> tuple[Name, ...]:
    """`count` people with unique names: given names while they suffice, else given name and surname.

    Raises:
        ValueError: if there are not enough names.
    """
    given = [Name(n, e) for n, e in table(MALE)] + [Name(n, e, feminine=True) for n, e in table(FEMALE)]
    if count <= len(given):
        return tuple(rng.sample(given, count))
    surnames = table(SURNAMES)
    every = [
        Name(f"{name.nepali} {nepali}", f"{name.english} {english}", name.feminine)
        for name in given
        for nepali, english in surnames
    ]
    if count > len(every):
        raise ValueError(f"{count} people asked for, {len(every)} names known")
    return tuple(rng.sample(every, count))
