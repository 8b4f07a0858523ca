"""Drawing noun phrases: who a sentence is about, what it is done to, where and when."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from anukul.synth.world.grammar import (
    Adjective,
    Adjunct,
    Adverb,
    Determiner,
    Name,
    Noun,
    Phrase,
    Pronoun,
    Role,
    Tense,
    Verb,
)
from anukul.synth.world.lexicon import (
    ADJECTIVES_ALL,
    PRONOUNS,
    adjectives_for,
    adverbs,
    by_class,
    draw,
    draw_noun,
)

_PRONOUN_KEYS = (
    "i",
    "he",
    "she",
    "we",
    "they",
    "you",
    "you_high",
    "he_low",
    "she_low",
    "he_high",
    "she_high",
    "you_low",
)
_PRONOUN_WEIGHTS = (14, 8, 8, 10, 8, 10, 6, 6, 6, 4, 4, 6)
_PERSON_CLASSES = ("general", "role", "child", "kin")


@dataclass(slots=True)
class Scene:
    """What a paragraph keeps: its random source, the people and places it may name, and whom it is about."""

    rng: random.Random
    people: tuple[Name, ...]
    places: tuple[Name, ...]
    topic: Phrase | None = None
    introduced: bool = False

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.rng.random() < probability

    @property
    def about_name(self) -> bool:
        """Whether the paragraph is about a named person, to whom a bare pronoun then refers."""
        return self.topic is not None and isinstance(self.topic.head, Name)

    def person(self) -> Name:
        """A named person, every one as likely, so that every name is learnt."""
        return self.rng.choice(self.people)


def pronoun(key: str) -> Phrase:
    """A pronoun as a noun phrase; keys are those of `lexicon.PRONOUNS`."""
    return Phrase(PRONOUNS[key])


def pronoun_for(phrase: Phrase) -> Phrase:
    """The third person pronoun that refers back to a phrase, with the same honour and gender."""
    head = phrase.head
    if isinstance(head, Noun):
        if phrase.plural or phrase.count > 1 or phrase.joined is not None:
            return pronoun("they")
        if not head.human:
            return pronoun("it")
        suffix = ("_low", "", "_high")[head.honor]
        return pronoun(("she" if head.feminine else "he") + suffix)
    if isinstance(head, Name):
        return pronoun("they" if phrase.joined is not None else "she" if head.feminine else "he")
    return phrase


def subject(scene: Scene, kinds: tuple[str, ...]) -> Phrase:
    """A subject of one of the classes; the paragraph's topic where it fits."""
    if "people" not in kinds:
        topic = scene.topic
        if topic is not None and isinstance(topic.head, Noun) and set(kinds) & set(topic.head.classes):
            return _topic(scene)
        return common_subject(scene, draw_noun(scene.rng, kinds))
    if _human(scene.topic) and scene.chance(0.85):
        return _topic(scene)
    return someone(scene)


def _human(topic: Phrase | None) -> bool:
    return topic is not None and (not isinstance(topic.head, Noun) or topic.head.human)


def _topic(scene: Scene) -> Phrase:
    assert scene.topic is not None
    if not scene.introduced:
        scene.introduced = True
        return scene.topic
    return pronoun_for(scene.topic) if scene.chance(0.6) else replace(scene.topic, adjective=None)


def someone(scene: Scene) -> Phrase:
    """Any human being: named, pronoun, relative or common noun; sometimes two."""
    roll = scene.rng.random()
    if roll < 0.24:
        phrase = Phrase(scene.person())
        if scene.chance(0.08):
            other = scene.person()
            return phrase if other == phrase.head else replace(phrase, joined=Phrase(other))
        return phrase
    if roll < 0.56:
        return pronoun(scene.rng.choices(_PRONOUN_KEYS, _PRONOUN_WEIGHTS)[0])
    if roll < 0.80:
        return relative(scene)
    return common_subject(scene, draw_noun(scene.rng, ("general", "role", "child", "child")))


_OF_PERSONS = tuple(a for a in ADJECTIVES_ALL if "person" in a.classes and a.attributive)


def relative(scene: Scene) -> Phrase:
    """A member of somebody's family: my mother, Sita's brother."""
    noun = draw(scene.rng, by_class("young" if scene.chance(0.6) else "kin"))
    roll = scene.rng.random()
    owner = (
        pronoun(scene.rng.choice(("i", "i", "we", "you", "he", "she")))
        if roll < 0.7
        else Phrase(scene.person())
    )
    young = noun.honor == 0
    plural = young and scene.chance(0.25)
    adjective = draw(scene.rng, _OF_PERSONS) if scene.chance(0.4 if young else 0.12) else None
    return Phrase(noun, plural=plural, owner=owner, adjective=adjective)


def common_subject(scene: Scene, noun: Noun) -> Phrase:
    """A common noun as subject: the, this, a number of, plural."""
    if noun.classes[0] == "kin":
        return replace(relative(scene), head=noun, plural=False)
    if noun.mass:
        return Phrase(noun, determiner=scene.rng.choice(("", "the", "the", "this")))
    if noun.unique:
        return Phrase(noun, determiner="the")
    roll, rng = scene.rng.random(), scene.rng
    adjective = _adjective(scene, noun, 0.22)
    if roll < 0.16:
        return Phrase(noun, plural=True, determiner="the" if rng.random() < 0.5 else "", adjective=adjective)
    if roll < 0.28:
        return _counted(scene, noun)
    if roll < 0.44 and noun.honor < 2:
        return Phrase(
            noun, determiner=rng.choice(("this", "that")), adjective=adjective, plural=scene.chance(0.2)
        )
    if roll < 0.5 and noun.human:
        return Phrase(noun, count=1, adjective=adjective)
    return Phrase(noun, determiner="the", adjective=adjective)


def _counted(scene: Scene, noun: Noun) -> Phrase:
    count = scene.rng.choices((2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), (9, 7, 5, 4, 2, 2, 1, 1, 2, 1, 1))[0]
    return Phrase(noun, count=count, digits=scene.chance(0.3), adjective=_adjective(scene, noun, 0.15))


def _adjective(scene: Scene, noun: Noun, probability: float) -> Adjective | None:
    if not scene.chance(probability):
        return None
    found = adjectives_for(noun, False)
    return draw(scene.rng, found) if found else None


# Classes of what can be somebody's.
_OWNABLE = frozenset(
    ("goods", "object", "clothing", "cloth", "reading", "writing", "cattle", "pet", "vehicle", "farmland", "furniture",
     "dish", "load", "lost")
)  # fmt: skip


def thing(scene: Scene, noun: Noun, plural: bool = False, own: bool = True) -> Phrase:
    """An object: bare, definite, counted, one's own or somebody's."""
    adjective = _adjective(scene, noun, 0.2)
    roll = scene.rng.random()
    if noun.classes[0] in ("body",):
        return Phrase(noun, own=True, generic=noun.english in ("hand", "foot"))
    own = own and not _OWNABLE.isdisjoint(noun.classes)
    if noun.unique or noun.classes[0] == "instrument":
        return Phrase(noun, determiner="the")
    if noun.pair:
        return Phrase(noun, generic=True, own=own and roll < 0.4, adjective=adjective)
    if noun.mass:
        if noun.classes[0] in ("language", "subject", "game"):
            return Phrase(noun)
        owned = own and roll < 0.06
        article: Determiner = "the" if roll > 0.9 and not owned else ""
        return Phrase(noun, own=owned, determiner=article, adjective=adjective)
    if plural or roll < 0.07:
        return Phrase(noun, generic=True, adjective=adjective)
    if roll < 0.12:
        return Phrase(noun, plural=True, adjective=adjective)
    if roll < 0.26:
        return _counted(scene, noun)
    if roll < 0.36 and own:
        return Phrase(noun, own=True, adjective=adjective)
    if roll < 0.42 and own:
        return Phrase(noun, owner=pronoun(scene.rng.choice(("i", "you", "we", "they", "you_high"))))
    if roll < 0.52:
        return Phrase(noun, determiner=scene.rng.choice(("this", "that")), adjective=adjective)
    if roll < 0.66:
        return Phrase(noun, determiner="the", adjective=adjective)
    if roll < 0.72:
        return Phrase(noun, count=1, adjective=adjective)
    return Phrase(noun, determiner="a", adjective=adjective)


def other_person(scene: Scene, actor: Phrase) -> Phrase:
    """A human object or companion, other than the actor; relatives of the actor are "own"."""
    roll = scene.rng.random()
    if isinstance(actor.head, Noun) and not actor.head.human:
        roll = 0.2 if roll < 0.4 else 0.9
    if roll < 0.35:
        name = scene.person()
        return Phrase(name) if name != actor.head else Phrase(draw(scene.rng, by_class("kin")), own=True)
    if roll < 0.7:
        # A child has parents, brothers and sisters, but no children of its own.
        young = isinstance(actor.head, Noun) and {"child", "young"} & set(actor.head.classes)
        kin = tuple(n for n in by_class("kin") if not (young and n.english in _DESCENDANTS))
        noun = draw(scene.rng, (*kin, *(n for n in by_class("general") if n.nepali in ("साथी", "छिमेकी"))))
        return Phrase(noun, own=True, plural=noun.honor < 2 and scene.chance(0.12))
    if roll < 0.8:
        # First and second person objects only beside a third person actor: "I met me" and "I met us" are avoided.
        third = not isinstance(actor.head, Pronoun) or actor.head.agreement.person == 3
        return pronoun(scene.rng.choice(("i", "we", "you", "you_high") if third else ("they", "he_high")))
    noun = draw_noun(scene.rng, ("general", "role", "child"))
    return Phrase(noun, determiner="the")


def place(scene: Scene, kind: str, role: Role, named: bool) -> Phrase:
    """A place phrase of a class; towns by name only where the sentence names no person (`named`)."""
    if kind in ("area", "goalplace") and not named and scene.chance(0.3):
        return Phrase(scene.rng.choice(scene.places))
    noun = draw_noun(scene.rng, (kind,))
    if noun.mass or noun.unique:
        return Phrase(noun, determiner="the")
    roll = scene.rng.random()
    if roll < 0.1:
        return Phrase(noun, determiner=scene.rng.choice(("this", "that")))
    return Phrase(noun, determiner="the", adjective=_adjective(scene, noun, 0.08))


_DESCENDANTS = ("son", "daughter", "grandson", "granddaughter", "nephew", "niece")

_TENSE_TIMES: dict[Tense, tuple[str, ...]] = {
    "present": ("habit", "habit", "day"), "past": ("past", "day"), "future": ("future", "day"),
    "progressive": ("now",), "past_progressive": ("past",), "perfect": ("none",), "used_to": ("none",),
}  # fmt: skip


def time_adverb(scene: Scene, tense: Tense) -> Adverb | None:
    """A time adverb that goes with the tense, or None where none does."""
    kind = scene.rng.choice(_TENSE_TIMES[tense])
    if kind == "none":
        return None
    adverb = draw(scene.rng, adverbs(kind))
    if tense == "past_progressive" and "last" in adverb.english:
        return adverbs("past")[0]
    if tense == "present" and adverb.english in ("today",):
        return adverbs("habit")[1]
    return adverb


def setting(scene: Scene, verb: Verb, actor: Phrase, tense: Tense, most: int = 2) -> tuple[Adjunct, ...]:
    """Adjuncts that the verb allows: at most `most` of place, companion, instrument and manner, and perhaps a time."""
    found: list[Adjunct] = []
    named = isinstance(actor.head, Name) or scene.about_name
    options = list(verb.settings)
    scene.rng.shuffle(options)
    roles: set[str] = set()
    for role, kind in options:
        if (
            len(found) >= most
            or role in roles
            or not scene.chance(0.55 if role in ("goal", "place") else 0.25)
        ):
            continue
        if (role == "source" and "goal" in roles) or (role == "goal" and "source" in roles):
            continue
        roles.add(role)
        if role == "manner":
            adverb = draw(scene.rng, adverbs(kind))
            if adverb.english != "alone" or "with" not in roles:
                found.append(Adjunct(role, adverb))
        elif role == "with":
            if not any(isinstance(a.value, Adverb) for a in found):
                found.append(Adjunct(role, other_person(scene, actor)))
        elif role == "instrument":
            found.append(Adjunct(role, Phrase(draw_noun(scene.rng, (kind,)), determiner="a")))
        elif role == "place" and kind in ("yard", "walkplace", "way") and scene.chance(0.12):
            found.append(Adjunct("spot", draw(scene.rng, adverbs("spot"))))
        else:
            found.append(Adjunct(role, place(scene, kind, role, named)))
    if scene.chance(0.5):
        adverb_of_time = time_adverb(scene, tense)
        if adverb_of_time is not None:
            found.insert(0, Adjunct("time", adverb_of_time))
    return tuple(found)
