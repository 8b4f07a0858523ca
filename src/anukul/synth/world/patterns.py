"""Sentence patterns: each draws one meaning. The dictionaries at the end are the list of what the grammar can say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from anukul.synth.world.description_patterns import (
    category,
    existence,
    identity,
    liking,
    location,
    possession,
    state,
    weather,
)
from anukul.synth.world.grammar import Adjunct, Clause, Modal, Name, Noun, Phrase, Tense, Verb
from anukul.synth.world.lexicon import (
    VERBS_ALL,
    adverbs,
    by_class,
    draw,
    draw_noun,
)
from anukul.synth.world.nepali_phrases import agreement
from anukul.synth.world.phrases import (
    Scene,
    other_person,
    place,
    pronoun,
    setting,
    subject,
    thing,
)

Pattern = Callable[[Scene], Clause]

TRANSITIVE = tuple(verb for verb in VERBS_ALL if verb.frame == "t" and verb.objects)
DITRANSITIVE = tuple(verb for verb in VERBS_ALL if verb.frame == "d")
TWO_PLACE = tuple(verb for verb in VERBS_ALL if verb.frame != "d")
HUMAN_VERBS = tuple(verb for verb in TWO_PLACE if "people" in verb.subjects)
ACTIVE_VERBS = tuple(verb for verb in HUMAN_VERBS if "state" not in verb.options)


def action(
    scene: Scene,
    tense: Tense,
    verbs: tuple[Verb, ...] = TWO_PLACE,
    actor: Phrase | None = None,
    most: int = 2,
) -> Clause:
    """An action clause: verb, subject, object and setting that fit together."""
    if tense in ("progressive", "past_progressive"):
        verbs = tuple(verb for verb in verbs if "state" not in verb.options)
    if tense in ("present", "used_to"):
        verbs = tuple(verb for verb in verbs if "event" not in verb.options)
    if tense in ("perfect", "future"):
        verbs = tuple(verb for verb in verbs if "mental" not in verb.options)
    if scene.topic is not None and actor is None:
        verbs = tuple(verb for verb in verbs if fits(scene.topic, verb)) or verbs
    verb = draw(scene.rng, verbs)
    who = actor if actor is not None else subject(scene, verb.subjects)
    return act(scene, verb, who, tense, most)


def act(scene: Scene, verb: Verb, who: Phrase, tense: Tense, most: int = 2) -> Clause:
    """The clause of a verb with a given subject."""
    adjuncts = setting(scene, verb, who, tense, most)
    if verb.nepali in _TOWARDS and not any(a.role in ("goal", "source") for a in adjuncts):
        # "Ram went" alone says too little to be natural.
        goal = place(scene, "goalplace", "goal", isinstance(who.head, Name) or scene.about_name)
        adjuncts = (*(a for a in adjuncts if a.role != "manner"), Adjunct("goal", goal))
    what = _object(scene, verb, who)
    if what is not None and _same_person(who, what.owner):
        # The subject's own things are आफ्नो, never मेरो or तिम्रो.
        what = replace(what, owner=None, own=True)
    loose = (
        what is not None
        and isinstance(what.head, Noun)
        and not (what.head.mass or what.head.human or what.head.unique)
    )
    if verb.nepali == "बजाउनु":
        loose = False  # one plays the flute
    if what is not None and loose and (_one(what) if tense == "present" else tense == "used_to"):
        # A habit has a kind for its object: he reads books, किताब पढ्छन्.
        what = Phrase(what.head, generic=True, adjective=what.adjective)
    return Clause(
        who, verb, tense,
        object=what,
        recipient=other_person(scene, who) if verb.frame == "d" else None,
        adjuncts=adjuncts,
        fronted=scene.chance(0.3),
    )  # fmt: skip


def _same_person(who: Phrase, owner: Phrase | None) -> bool:
    return (
        owner is not None and agreement(who).person < 3 and agreement(who).person == agreement(owner).person
    )


def _one(phrase: Phrase) -> bool:
    return phrase.determiner == "a" or phrase.count == 1


_TOWARDS = ("जानु", "लैजानु", "आउनु")


def fits(who: Phrase, verb: Verb) -> bool:
    """Whether the subject satisfies the verb's selection restriction."""
    head = who.head
    if isinstance(head, Noun):
        return any(kind in head.classes for kind in verb.subjects)
    return "people" in verb.subjects


def _object(scene: Scene, verb: Verb, who: Phrase) -> Phrase | None:
    if not verb.objects:
        return None
    if verb.objects == ("people",):
        return other_person(scene, who)
    noun = draw_noun(scene.rng, verb.objects)
    if noun.human:
        kin = noun.classes[0] == "kin"
        return Phrase(noun, own=kin, determiner="" if kin else "the")
    if verb.light == "मन" and not (noun.mass or noun.unique):
        return Phrase(noun, generic=True)
    if verb.objects == ("transport",):
        return Phrase(noun, determiner="the" if scene.chance(0.5) else "a")
    if verb.objects == ("clothing",):
        if "womens" in noun.classes and not agreement(who).feminine:
            noun = by_class("clothing")[0]
        what = thing(scene, noun)
        return replace(what, count=0, determiner="a") if what.count else what
    return thing(scene, noun, plural="plural" in verb.options)


def _simple(tense: Tense) -> Pattern:
    def pattern(scene: Scene) -> Clause:
        return action(scene, tense)

    return pattern


def _negated(tense: Tense) -> Pattern:
    def pattern(scene: Scene) -> Clause:
        clause = replace(action(scene, tense, most=1), negative=True)
        kept = tuple(
            a for a in clause.adjuncts if a.value not in adverbs("habit") or a.value.nepali == "हरेक दिन"
        )
        thing_ = clause.object
        if thing_ is not None and thing_.count:
            # "Did not buy three books" is true in too many ways: the count is dropped.
            clause = replace(clause, object=replace(thing_, count=0, plural=True))
        return replace(clause, adjuncts=kept)

    return pattern


def giving(scene: Scene) -> Clause:
    """Verbs with a recipient: Ram gave his friend a book."""
    return action(
        scene, scene.rng.choice(("past", "past", "future", "present", "perfect")), DITRANSITIVE, most=1
    )


def ability(scene: Scene) -> Clause:
    """-न सक्नु, -न चाहनु, -नुपर्नु."""
    modal: Modal = scene.rng.choice(_MODALS)
    clause = action(scene, "present", ACTIVE_VERBS, most=1)
    kept = tuple(a for a in clause.adjuncts if a.role != "time")
    return replace(clause, modal=modal, adjuncts=kept, negative=modal != "must" and scene.chance(0.25))


_MODALS: tuple[Modal, ...] = ("can", "can", "want", "must")


def command(scene: Scene) -> Clause:
    """Imperatives to तिमी and तपाईं."""
    clause = action(scene, "present", ACTIVE_VERBS, actor=pronoun("you"), most=1)
    kept = tuple(a for a in clause.adjuncts if a.role != "time")
    return replace(
        clause, command=scene.rng.choice((1, 2, 2)), adjuncts=kept, negative=scene.chance(0.2), fronted=False
    )


SIMPLE_PATTERNS: dict[str, Pattern] = {
    "present": _simple("present"), "past": _simple("past"), "future": _simple("future"),
    "progressive": _simple("progressive"), "past_progressive": _simple("past_progressive"),
    "perfect": _simple("perfect"), "used_to": _simple("used_to"), "giving": giving,
    "negative_present": _negated("present"), "negative_past": _negated("past"), "negative_future": _negated("future"),
    "negative_progressive": _negated("progressive"), "identity": identity, "state": state, "location": location,
    "existence": existence, "possession": possession, "liking": liking, "weather": weather, "modal": ability,
    "command": command, "category": category,
}  # fmt: skip
