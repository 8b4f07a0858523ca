"""Patterns without an action: identity, state, place, existence, possession, liking, weather, category."""

from __future__ import annotations

from dataclasses import replace

from anukul.synth.world.grammar import Adjunct, Clause, Noun, Phrase, Pronoun, Tense, Verb
from anukul.synth.world.lexicon import NOUNS_ALL, PRONOUNS, adjectives_for, adverbs, by_class, draw, draw_noun
from anukul.synth.world.phrases import (
    Scene,
    common_subject,
    place,
    pronoun,
    someone,
    subject,
    time_adverb,
)


def identity(scene: Scene) -> Clause:
    """हो: this is a book; my uncle is a farmer. Never of a named person, whose profession is a fact."""
    if scene.chance(0.5):
        noun = draw(
            scene.rng,
            tuple(
                n for n in NOUNS_ALL if not n.human and not n.mass and not n.unique and n.classes[0] != "body"
            ),
        )
        owner = pronoun(scene.rng.choice(("i", "you", "we", "they"))) if scene.chance(0.4) else None
        owner = owner if noun.classes[0] != "insect" and "wild" not in noun.classes else None
        what = Phrase(noun, owner=owner, determiner="" if owner else "a")
        return Clause(
            Phrase(DEMONSTRATIVE[scene.chance(0.5)]),
            kind="identity",
            complement=what,
            negative=scene.chance(0.2),
        )
    noun = draw(scene.rng, by_class("role"))
    kin = draw(
        scene.rng, tuple(n for n in by_class("kin") if n.feminine == noun.feminine or not noun.feminine)
    )
    who = Phrase(kin, owner=pronoun(scene.rng.choice(("i", "we", "you"))))
    if scene.chance(0.3):
        who = pronoun(scene.rng.choice(("i", "you", "you_high", "he_high")))
    tense: Tense = "past" if scene.chance(0.2) else "present"
    return Clause(
        who, kind="identity", tense=tense, complement=Phrase(noun, determiner="a"), negative=scene.chance(0.2)
    )


DEMONSTRATIVE = {
    True: Pronoun("यो", "यस", "यसले", "यसको", "this", PRONOUNS["he_low"].agreement),
    False: Pronoun("त्यो", "त्यस", "त्यसले", "त्यसको", "that", PRONOUNS["he_low"].agreement),
}


def state(scene: Scene) -> Clause:
    """छ with an adjective: the house is big; we are happy."""
    tense: Tense = scene.rng.choice(("present", "present", "past"))
    degree = draw(scene.rng, adverbs("degree")) if scene.chance(0.35) else None
    who = scene.topic if scene.topic is not None and scene.chance(0.8) else None
    if who is not None and not isinstance(who.head, Noun):
        who = subject(scene, ("people",))
    elif who is None and scene.chance(0.4):
        who = someone(scene)
    if who is None:
        noun = draw(scene.rng, DESCRIBED)
        who = replace(common_subject(scene, noun), adjective=None)
    model = who.head if isinstance(who.head, Noun) else by_class("person")[0]
    found = adjectives_for(model, True) or adjectives_for(by_class("person")[0], True)
    plural = who.joined is not None
    adjective = draw(scene.rng, found)
    negative = not plural and scene.chance(0.15)
    degree = None if negative or adjective.english in _ABSOLUTE else degree
    if _respected(who) and adjective.nepali.endswith("ो"):
        # With उहाँ and तपाईं usage is divided between -ो and -ा; only adjectives that do not inflect are used.
        adjective = draw(scene.rng, tuple(a for a in found if not a.nepali.endswith("ो")))
    return Clause(
        who,
        kind="state",
        tense=tense,
        complement=adjective,
        degree=degree,
        negative=negative,
    )


_ABSOLUTE = ("red", "white", "black", "blue", "green", "yellow", "empty", "round", "ripe", "fresh")


def _respected(who: Phrase) -> bool:
    head = who.head
    return (
        head.agreement.honor if isinstance(head, Pronoun) else head.honor if isinstance(head, Noun) else 0
    ) == 2


DESCRIBED = tuple(n for n in NOUNS_ALL if not n.human and adjectives_for(n, True))


def location(scene: Scene) -> Clause:
    """छ with a place: the keys are in the box; Sita is in the garden."""
    tense: Tense = scene.rng.choice(("present", "present", "past"))
    if scene.chance(0.5):
        who, where = (
            common_subject(scene, draw_noun(scene.rng, ("object",))),
            draw_noun(scene.rng, ("surface", "container")),
        )
    else:
        who, where = subject(scene, ("people",)), draw_noun(scene.rng, ("place",))
    adjuncts: tuple[Adjunct, ...] = ()
    if tense == "past" and scene.chance(0.3):
        adjuncts = (Adjunct("time", adverbs("past")[0]),)
    return Clause(
        replace(who, adjective=None), kind="place", tense=tense, complement=Phrase(where, determiner="the"),
        adjuncts=adjuncts, negative=scene.chance(0.15), fronted=True,
    )  # fmt: skip


def existence(scene: Scene) -> Clause:
    """छ of existence: there are three books on the table."""
    inside, kinds = scene.rng.choice(
        (("surface", "object"), ("container", "object"), ("pasture", "cattle"), ("area", "building"),
         ("yard", "planted"),
         ("room", "furniture"), ("water", "swimmer"), ("area", "way"), ("pasture", "wild"))
    )  # fmt: skip
    what = _count_or_plural(scene, draw_noun(scene.rng, (kinds,)))
    where = place(scene, inside, "place", False)
    if isinstance(where.head, Noun) and isinstance(what.head, Noun) and where.head == what.head:
        where = Phrase(by_class("area")[0], determiner="the")
    tense: Tense = scene.rng.choice(("present", "present", "past"))
    return Clause(
        what, kind="exist", tense=tense, object=what, adjuncts=(Adjunct("place", where),),
        negative=not what.count and scene.chance(0.15),
    )  # fmt: skip


def _count_or_plural(scene: Scene, noun: Noun) -> Phrase:
    if noun.mass:
        return Phrase(noun)
    if noun.pair or noun.unique:
        return Phrase(noun, generic=noun.pair, determiner="the" if noun.unique else "")
    if scene.chance(0.55):
        return Phrase(
            noun, count=scene.rng.choice((1, 2, 2, 3, 3, 4, 5, 6, 8, 10)), digits=scene.chance(0.25)
        )
    return Phrase(noun, plural=True)


def possession(scene: Scene) -> Clause:
    """-सँग छ: Gita has two pens."""
    who = subject(scene, ("people",))
    what = _count_or_plural(scene, draw_noun(scene.rng, ("object", "money", "clothing", "toy")))
    tense: Tense = scene.rng.choice(("present", "present", "past"))
    return Clause(who, kind="have", tense=tense, object=what, negative=not what.count and scene.chance(0.25))


def liking(scene: Scene) -> Clause:
    """-लाई मन पर्छ: I like mangoes; the experiencer is in the dative and the verb agrees with what is liked."""
    who = subject(scene, ("people",))
    noun = draw_noun(scene.rng, ("fruit", "drink", "dish", "game", "flower", "subject"))
    return Clause(who, kind="like", object=Phrase(noun, generic=not noun.mass), negative=scene.chance(0.2))


def _weather_verb(nepali: str, english: str, options: str) -> Verb:
    forms = english.split()
    forms = forms if len(forms) == 3 else [english, english + "ed", english + "ed"]
    return Verb(nepali, "", (forms[0], forms[1], forms[2]), "", "i", (), (), (), frozenset(options.split()))


_WEATHER = (
    ("पानी", "", _weather_verb("पर्नु", "rain", "weather late")),
    ("घाम", "the", _weather_verb("लाग्नु", "shine shone shone", "late")),
    ("हावा", "the", _weather_verb("चल्नु", "blow blew blown", "late")),
    ("हिउँ", "", _weather_verb("पर्नु", "snow", "weather late")),
)  # fmt: skip


def weather(scene: Scene) -> Clause:
    """Rain, snow, sun, wind, heat and cold."""
    tense: Tense = scene.rng.choice(("past", "future", "present"))
    when = time_adverb(scene, tense)
    adjuncts: tuple[Adjunct, ...] = (Adjunct("time", when),) if when is not None else ()
    spot = place(scene, "area", "place", False)
    if scene.chance(0.5):
        adjuncts += (Adjunct("place", spot),)
    if scene.chance(0.25):
        noun, cold = (COLD, True) if scene.chance(0.5) else (HEAT, False)
        adjective = COLD_ADJECTIVE if cold else HEAT_ADJECTIVE
        kept = (*(a for a in adjuncts if a.role == "place"), Adjunct("time", adverbs("day")[0]))
        degree = adverbs("degree")[0] if scene.chance(0.5) else None
        past: Tense = "past" if scene.chance(0.4) else "present"
        return Clause(
            Phrase(noun), kind="ambient", tense=past, object=Phrase(noun), complement=adjective, degree=degree,
            adjuncts=kept, fronted=True, negative=degree is None and scene.chance(0.1),
        )  # fmt: skip
    nepali, determiner, verb = draw(scene.rng, _WEATHER)
    noun = next(n for n in NOUNS_ALL if n.nepali == nepali)
    return Clause(
        Phrase(noun, determiner="the" if determiner else ""), verb, tense, adjuncts=adjuncts, fronted=True,
        negative=tense != "present" and scene.chance(0.15),
    )  # fmt: skip


COLD = Noun("जाडो", "cold", "cold", ("weather",), mass=True)
HEAT = Noun("गर्मी", "heat", "heat", ("weather",), mass=True)
COLD_ADJECTIVE = next(a for a in adjectives_for(by_class("drink")[1], True) if a.english == "cold")
HEAT_ADJECTIVE = next(a for a in adjectives_for(by_class("drink")[1], True) if a.english == "hot")


def category(scene: Scene) -> Clause:
    """A goat is an animal: what kind of thing a noun names."""
    noun = draw(scene.rng, CATEGORIZED)
    kind = CATEGORY_NOUNS[noun.classes[0]]
    return Clause(
        Phrase(noun, determiner="" if noun.mass else "a"), kind="identity", complement=Phrase(kind, count=1)
    )


def _kind(nepali: str, english: str, plural: str = "") -> Noun:
    return Noun(nepali, english, plural or english + "s", ("category",))


CATEGORY_NOUNS: dict[str, Noun] = {
    "animal": _kind("जनावर", "animal"), "bird": _kind("चरा", "bird"), "insect": _kind("कीरा", "insect"),
    "fruit": _kind("फल", "fruit"), "vegetable": _kind("तरकारी", "vegetable"), "grain": _kind("अन्न", "grain"),
    "drink": _kind("पेय", "drink"), "clothing": _kind("लुगा", "garment"), "tool": _kind("औजार", "tool"),
    "vehicle": _kind("सवारीसाधन", "vehicle"), "furniture": _kind("फर्निचर", "piece of furniture"),
    "flower": _kind("फूल", "flower"), "instrument": _kind("बाजा", "instrument"), "language": _kind("भाषा", "language"),
    "body": _kind("अङ्ग", "body part"), "vessel": _kind("भाँडो", "vessel"), "building": _kind("भवन", "building"),
    "game": _kind("खेल", "game"), "subject": _kind("विषय", "subject"),
}  # fmt: skip
CATEGORIZED = tuple(n for n in NOUNS_ALL if n.classes[0] in CATEGORY_NOUNS and not n.weak)
