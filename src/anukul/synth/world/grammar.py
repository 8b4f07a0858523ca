"""The abstract meaning of a sentence: what both languages realise. Nothing here belongs to one language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Tense = Literal["present", "past", "future", "progressive", "past_progressive", "perfect", "used_to"]
Modal = Literal["", "can", "want", "must"]
Asked = Literal["", "polar", "subject", "object", "place", "time", "reason", "count"]
Role = Literal["place", "goal", "source", "with", "instrument", "time", "manner", "spot"]
Link = Literal[
    "if", "when", "while", "because", "after", "purpose", "and", "but", "or", "that", "quote", "whoever"
]
Determiner = Literal["", "a", "the", "this", "that"]


class Agreement(NamedTuple):
    """What a verb agrees with. `honor`: 0 low (ऊ, तँ), 1 middle (उनी, तिमी), 2 high (उहाँ, तपाईं)."""

    person: int
    plural: bool
    honor: int
    feminine: bool


@dataclass(frozen=True, slots=True)
class Noun:
    """A common noun; `classes[0]` is its category."""

    nepali: str
    english: str
    english_plural: str
    classes: tuple[str, ...]
    human: bool = False
    animate: bool = False
    feminine: bool = False
    honor: int = 0
    mass: bool = False
    place: str = "in"
    weak: bool = False
    unique: bool = False
    pair: bool = False
    alternates: bool = False  # in -o: takes -a in the plural (केटो, केटाहरू)


@dataclass(frozen=True, slots=True)
class Name:
    """A proper name: of a person (spoken of with middle honour, as in writing) or of a place."""

    nepali: str
    english: str
    feminine: bool = False
    person: bool = True


@dataclass(frozen=True, slots=True)
class Pronoun:
    """A personal pronoun: the stem before a case, the ergative, the genitive (masculine singular) and English."""

    nepali: str
    oblique: str
    ergative: str
    genitive: str
    english: str
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Adjective:
    """An adjective, the noun classes it describes and whether it stands before the noun, in the predicate."""

    nepali: str
    english: str
    classes: tuple[str, ...]
    attributive: bool
    predicative: bool


@dataclass(frozen=True, slots=True)
class Adverb:
    """An adverb with the kinds of clause it goes with, separated by spaces."""

    nepali: str
    english: str
    kind: str


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb with its selection restrictions. `particle` follows it in English, `light` precedes it in Nepali."""

    nepali: str
    light: str
    english: tuple[str, str, str]
    particle: str
    frame: str
    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    settings: tuple[tuple[Role, str], ...]
    options: frozenset[str]

    @property
    def ergative(self) -> bool:
        """Whether its subject takes -ले in the past and the perfect."""
        return self.frame != "i"


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun phrase. `own`: the owner is the subject of the clause (आफ्नो). `relative`: a clause about the head, whose
    `gap` ("subject" or "object") the head fills. `joined`: a second phrase after र / and. `generic`: a kind, plural
    in English and bare in Nepali (I like mangoes: मलाई आँप मन पर्छ)."""

    head: Noun | Name | Pronoun
    plural: bool = False
    determiner: Determiner = ""
    count: int = 0
    digits: bool = False
    adjective: Adjective | None = None
    owner: Phrase | None = None
    own: bool = False
    relative: Clause | None = None
    gap: str = ""
    joined: Phrase | None = None
    generic: bool = False


@dataclass(frozen=True, slots=True)
class Adjunct:
    """A phrase or adverb with its role in the clause."""

    role: Role
    value: Phrase | Adverb


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause. `verb` is None for "to be": `complement` then says what the subject is, `kind` which copula.

    kind: "action"; "identity" (हो), "state" (छ with an adjective), "place" (छ with a place), "exist" (there is),
    "have" (-सँग छ), "like" (-लाई मन पर्छ), "ambient" (it is cold), "know" (-लाई थाहा छ).
    `linked` is a second clause and `link` how it hangs on this one; `fronted`: the time comes first.
    """

    subject: Phrase
    verb: Verb | None = None
    tense: Tense = "present"
    kind: str = "action"
    negative: bool = False
    modal: Modal = ""
    object: Phrase | None = None
    recipient: Phrase | None = None
    complement: Phrase | Adjective | None = None
    degree: Adverb | None = None
    adjuncts: tuple[Adjunct, ...] = ()
    asked: Asked = ""
    command: int = 0
    fronted: bool = False
    link: Link | None = None
    linked: Clause | None = None


@dataclass(frozen=True, slots=True)
class Meaning:
    """A sentence's meaning with the name of the pattern it came from and the clause that states it."""

    pattern: str
    clause: Clause
