"""Patterns of two clauses and questions: relative, conditional, temporal, causal, purpose, report, coordination."""

from __future__ import annotations

from dataclasses import replace

from anukul.synth.world.description_patterns import state, weather
from anukul.synth.world.grammar import Adjunct, Asked, Clause, Link, Noun, Phrase, Pronoun, Tense, Verb
from anukul.synth.world.lexicon import ADJECTIVES_ALL, adjectives_for, adverbs, draw, draw_noun
from anukul.synth.world.patterns import (
    ACTIVE_VERBS,
    HUMAN_VERBS,
    SIMPLE_PATTERNS,
    TRANSITIVE,
    Pattern,
    action,
)
from anukul.synth.world.phrases import Scene, pronoun, pronoun_for, relative, someone, subject

_INSTANT = ("पुग्नु", "फर्कनु", "आउनु", "उठ्नु", "निस्कनु", "सुत्नु", "थाक्नु")
_EVENT_VERBS = tuple(verb for verb in HUMAN_VERBS if verb.nepali in _INSTANT)
_SLEEP = next(verb for verb in HUMAN_VERBS if verb.nepali == "सुत्नु")
_GOING = tuple(verb for verb in ACTIVE_VERBS if verb.nepali in ("जानु", "आउनु", "फर्कनु"))
_PURPOSES = tuple(
    verb for verb in ACTIVE_VERBS
    if verb.nepali in ("किन्नु", "बेच्नु", "हेर्नु", "पढ्नु", "सिक्नु", "खेल्नु", "भेट्नु", "टिप्नु", "खानु", "पिउनु", "सुन्नु", "नाच्नु")
)  # fmt: skip
_SPEECH = {
    "say": Verb("भन्नु", "", ("say", "said", "said"), "", "t", (), (), (), frozenset()),
    "think": Verb("सोच्नु", "", ("think", "thought", "thought"), "", "t", (), (), (), frozenset()),
    "hear": Verb("सुन्नु", "", ("hear", "heard", "heard"), "", "t", (), (), (), frozenset({"state"})),
}


def _trim(clause: Clause, roles: tuple[str, ...] = ("time",)) -> Clause:
    """The clause without adjuncts of these roles and nothing fronted."""
    return replace(clause, adjuncts=tuple(a for a in clause.adjuncts if a.role not in roles), fronted=False)


def _short(
    scene: Scene, tense: Tense, actor: Phrase | None = None, verbs: tuple[Verb, ...] = ACTIVE_VERBS
) -> Clause:
    return _trim(action(scene, tense, verbs, actor=actor, most=1))


def _same(who: Phrase) -> Phrase:
    """How the second clause names the subject of the first: a pronoun of the same person."""
    return who if isinstance(who.head, Pronoun) else pronoun_for(who)


def condition(scene: Scene) -> Clause:
    """पानी पर्‍यो भने म घरमा बस्नेछु."""
    if scene.chance(0.35):
        first = _rain_or_sun(scene, scene.chance(0.6))
        who = subject(scene, ("people",))
    else:
        who = subject(scene, ("people",))
        first = _short(scene, "past", who)
        who = _same(who)
    return replace(_short(scene, "future", who), link="if", linked=first)


def when(scene: Scene) -> Clause:
    """जब म घर पुगेँ, तब उनी पढिरहेकी थिइन्."""
    first = _short(scene, "past", subject(scene, ("people",)), _EVENT_VERBS)
    who = someone(scene)
    if isinstance(who.head, Pronoun) and who.head.agreement.person == 3 and not who.head.agreement.plural:
        # "When Sita got up, she ..." would leave open who "she" is.
        who = Phrase(scene.person())
    main = _short(scene, scene.rng.choice(("past", "past_progressive")), who)
    return replace(main, link="when", linked=first)


def while_(scene: Scene) -> Clause:
    """म घर पुग्दा उनी पढिरहेकी थिइन्."""
    return replace(when(scene), link="while")


def because(scene: Scene) -> Clause:
    """उनी स्कुल गइनन् किनभने उनी बिरामी थिइन्."""
    who = subject(scene, ("people",))
    main = replace(_short(scene, "past", who), negative=scene.chance(0.6))
    if scene.chance(0.3):
        cause = _rain_or_sun(scene, main.negative)
    else:
        cause = replace(state(replace(scene, topic=None)), subject=_same(who), tense="past", negative=False)
        rested = main.verb is not None and main.verb.nepali in ("सुत्नु", "बस्नु", "फर्कनु", "उभिनु", "रुनु")
        reasons = (
            ("ill", "tired") if rested else ("ill", "tired", "busy", "sad") if main.negative else ("happy",)
        )
        cause = _personal(scene, cause, reasons)
    return replace(main, link="because", linked=cause)


def _rain_or_sun(scene: Scene, bad: bool) -> Clause:
    """Bad weather keeps people from doing things; sunshine makes them do them."""
    while True:
        clause = weather(scene)
        if clause.verb is not None and (clause.verb.english[0] in ("rain", "snow")) == bad:
            return replace(clause, tense="past", adjuncts=(), negative=False)


def _personal(scene: Scene, clause: Clause, reasons: tuple[str, ...]) -> Clause:
    """A passing state of a person (ill, tired, busy) as the reason; none of these adjectives inflects."""
    passing = tuple(a for a in ADJECTIVES_ALL if a.english in reasons)
    return replace(
        clause,
        complement=scene.rng.choice(passing),
        degree=adverbs("degree")[0] if scene.chance(0.3) else None,
    )


def after(scene: Scene) -> Clause:
    """भात खाएर राम विद्यालय गए."""
    who = subject(scene, ("people",))
    tense: Tense = scene.rng.choice(("past", "past", "future", "present"))
    first = _short(scene, tense, who)
    if any(a.role == "with" for a in first.adjuncts):
        first = _trim(first, ("time", "with"))
    main = _trim(_short(scene, tense, who), ("time", "with"))
    if main.verb == first.verb:
        main = replace(main, verb=_SLEEP, object=None, recipient=None, adjuncts=())
    return replace(main, link="after", linked=first)


def purpose(scene: Scene) -> Clause:
    """गीता किताब किन्न बजार गइन्."""
    who = subject(scene, ("people",))
    main = action(
        scene, scene.rng.choice(("past", "future", "past", "progressive")), _GOING, actor=who, most=1
    )
    aim = _trim(
        _short(scene, "present", who, _PURPOSES),
        ("time", "place", "spot", "source", "goal", "manner", "with"),
    )
    assert aim.verb is not None
    goal = draw_noun(scene.rng, (_WHERE_TO.get(aim.verb.nepali, "goalplace"),))
    kept = (*(a for a in main.adjuncts if a.role == "time"), Adjunct("goal", Phrase(goal, determiner="the")))
    return replace(main, link="purpose", linked=aim, adjuncts=kept)


# Where one goes to do what, as a noun class.
_WHERE_TO = {
    "किन्नु": "selling", "बेच्नु": "selling", "पढ्नु": "study", "सिक्नु": "study", "हेर्नु": "area", "खेल्नु": "yard",
    "टिप्नु": "yard", "नाच्नु": "yard", "खानु": "serving", "पिउनु": "serving", "सुन्नु": "area",
}  # fmt: skip


def coordination(scene: Scene) -> Clause:
    """र, तर, वा."""
    link: Link = scene.rng.choice(_COORDINATORS)
    tense: Tense = scene.rng.choice(("past", "present", "future", "progressive"))
    who = subject(scene, ("people",))
    first = _short(scene, tense, who)
    if link == "or" or (link == "and" and scene.chance(0.5)):
        second = _short(scene, tense, who)
    else:
        other = someone(replace(scene, topic=None))
        second = replace(_short(scene, tense, other), negative=link == "but")
    if second.subject == first.subject and second.verb is not None and first.verb is not None:
        # A shared subject is said once, so both verbs must mark it alike (ले or not) in the tense.
        if second.verb.ergative != first.verb.ergative and tense == "past":
            second = replace(first, object=None)
            second = _short(
                scene, tense, who, tuple(v for v in ACTIVE_VERBS if v.ergative == first.verb.ergative)
            )
        if second.verb == first.verb:
            return first
    return replace(first, link=link, linked=second)


_COORDINATORS: tuple[Link, ...] = ("and", "and", "but", "or")
_REPORTS: tuple[Link, ...] = ("that", "quote")
_QUESTIONS: tuple[Asked, ...] = ("subject", "object", "place", "time", "reason", "count")


def report(scene: Scene) -> Clause:
    """सीताले राम बजार गए भनेर भनिन्; सीताले भनिन् कि राम बजार गए."""
    kind = scene.rng.choice(("say", "say", "hear", "think"))
    link: Link = scene.rng.choice(_REPORTS)
    tense: Tense = "past" if kind != "think" else scene.rng.choice(("past", "present"))
    inner_tense: Tense = scene.rng.choice(("past", "past", "perfect")) if tense == "past" else "future"
    who = subject(scene, ("people",))
    inner = _short(scene, inner_tense, someone(replace(scene, topic=None)))
    if inner_tense == "perfect":
        inner = replace(inner, tense="past")
    return Clause(who, _SPEECH[kind], tense, link=link, linked=inner)


def knowing(scene: Scene) -> Clause:
    """मलाई थाहा छ कि राम बजार गए."""
    inner = _short(
        scene, scene.rng.choice(("past", "present", "future")), someone(replace(scene, topic=None))
    )
    return Clause(subject(scene, ("people",)), kind="know", link="that", linked=inner)


def subject_relative(scene: Scene) -> Clause:
    """तरकारी बेच्ने महिला हाँसिन्; हिजो आएको मान्छे गयो; मेरी पानी बोक्ने बहिनी आई."""
    noun = draw_noun(scene.rng, ("general", "role", "child"))
    head = Phrase(noun, determiner="the", plural=scene.chance(0.25))
    if scene.chance(0.6):
        head = replace(relative(scene), adjective=None)
    inner = _short(scene, scene.rng.choice(("present", "past")), head)
    if inner.verb is None or any(isinstance(a.value, Phrase) and a.value.own for a in inner.adjuncts):
        inner = _trim(inner, ("with", "time"))
    who = replace(head, relative=inner, gap="subject")
    return _short(scene, scene.rng.choice(("past", "present", "progressive")), who)


def object_relative(scene: Scene) -> Clause:
    """रामले किनेको किताब राम्रो छ."""
    inner = _short(scene, "past", subject(scene, ("people",)), _OBJECT_VERBS)
    assert inner.object is not None
    noun = inner.object.head
    assert isinstance(noun, Noun)
    inner = _trim(inner, ("time", "manner", "with"))
    who = Phrase(
        noun, determiner="the", plural=not noun.mass and scene.chance(0.2), relative=inner, gap="object"
    )
    found = adjectives_for(noun, True)
    tense: Tense = scene.rng.choice(("present", "past"))
    if not found:
        return inner
    return Clause(who, kind="state", tense=tense, complement=draw(scene.rng, found))


_OBJECT_VERBS = tuple(
    verb for verb in TRANSITIVE
    if verb.nepali in ("किन्नु", "पकाउनु", "लेख्नु", "बनाउनु", "ल्याउनु", "लगाउनु", "धुनु") and "people" in verb.subjects
)  # fmt: skip


def whoever(scene: Scene) -> Clause:
    """जो मिहिनेत गर्छ, ऊ सिक्छ: the correlative, low honour, true of anyone."""
    anyone = Phrase(WHOEVER)
    low = pronoun("he_low")
    first = _plain(_short(scene, "present", anyone, _HABITS))
    second = _plain(_short(scene, scene.rng.choice(("present", "future")), low, _HABITS))
    if second.verb == first.verb:
        second = replace(second, verb=_TIRED, object=None, adjuncts=())
    return replace(second, adjuncts=(), link="whoever", linked=replace(first, adjuncts=()))


def _plain(clause: Clause) -> Clause:
    """Without "own", whose owner would be nobody in particular."""
    thing = clause.object
    if thing is None:
        return clause
    noun = thing.head
    if not isinstance(noun, Noun) or noun.mass:
        return replace(clause, object=Phrase(noun))
    alone = noun.unique or noun.classes[0] == "instrument"
    return replace(clause, object=Phrase(noun, generic=not alone, determiner="the" if alone else ""))


_HABITS = tuple(
    verb for verb in ACTIVE_VERBS
    if (verb.nepali in ("पढ्नु", "लेख्नु", "सुन्नु", "हेर्नु", "सिक्नु", "गर्नु", "किन्नु", "हिँड्नु", "हाँस्नु", "नाच्नु", "गाउनु", "खेल्नु")
    and not verb.light) or verb.light in ("काम", "आराम")
)  # fmt: skip
_TIRED = next(verb for verb in HUMAN_VERBS if verb.nepali == "थाक्नु")


WHOEVER = Pronoun("जो", "जस", "जसले", "जसको", "whoever", pronoun("he_low").head.agreement)  # type: ignore[union-attr]


def polar_question(scene: Scene) -> Clause:
    """के तिमी भात खान्छौ?"""
    tense: Tense = scene.rng.choice(("present", "past", "future", "progressive"))
    clause = _short(scene, tense, _asked_person(scene))
    return replace(clause, asked="polar")


def _asked_person(scene: Scene) -> Phrase:
    if scene.topic is None and scene.chance(0.55):
        return pronoun(scene.rng.choice(("you", "you", "you_high", "you_high", "you_low")))
    return subject(scene, ("people",))


def question(scene: Scene) -> Clause:
    """को, के, कहाँ, कहिले, किन, कति."""
    asked: Asked = scene.rng.choice(_QUESTIONS)
    tense: Tense = scene.rng.choice(("past", "past", "future", "past" if asked == "subject" else "present"))
    who = _asked_person(scene)
    if asked in ("object", "count"):
        verbs = tuple(
            v for v in TRANSITIVE if "people" in v.subjects and not v.particle and v.objects != ("people",)
        )
        clause = _trim(action(scene, tense, verbs, actor=who, most=1))
        noun = clause.object.head if clause.object is not None else None
        if asked == "count" and isinstance(noun, Noun) and not noun.mass and "dative" not in _options(clause):
            return replace(clause, object=Phrase(noun, plural=True), asked="count")
        if "dative" in _options(clause):
            return (
                replace(clause, object=None, asked="polar")
                if clause.object is None
                else replace(clause, asked="polar")
            )
        return replace(clause, object=None, asked="object")
    clause = _short(scene, tense, pronoun("he_low") if asked == "subject" else who)
    if asked == "subject":
        clause = _trim(clause, ("time", "with"))
        if clause.object is not None and (clause.object.own or clause.object.owner):
            clause = _plain(clause)
    if asked == "place":
        if clause.verb is not None and clause.verb.nepali == "आउनु":
            return replace(clause, asked="time")
        clause = _trim(clause, ("time", "place", "spot", "goal", "source", "with"))
        if not any(role in ("place", "goal") for role, _ in clause.verb.settings if clause.verb is not None):  # type: ignore[union-attr]
            return replace(clause, asked="reason")
    return replace(clause, asked=asked)


def _options(clause: Clause) -> frozenset[str]:
    return clause.verb.options if clause.verb is not None else frozenset()


def where_is(scene: Scene) -> Clause:
    """किताब कहाँ छ?"""
    noun = draw_noun(scene.rng, ("object", "people", "building"))
    who = (
        Phrase(noun, owner=pronoun("you"))
        if noun.classes[0] in ("kin", "object")
        else Phrase(noun, determiner="the")
    )
    return Clause(who, kind="place", asked="place")


COMPLEX_PATTERNS: dict[str, Pattern] = {
    "condition": condition, "when": when, "while": while_, "because": because, "after": after, "purpose": purpose,
    "coordination": coordination, "report": report, "knowing": knowing, "subject_relative": subject_relative,
    "object_relative": object_relative, "whoever": whoever, "polar_question": polar_question, "question": question,
    "where_is": where_is,
}  # fmt: skip
PATTERNS: dict[str, Pattern] = {**SIMPLE_PATTERNS, **COMPLEX_PATTERNS}
