"""Pairs of finite verbs: person, number, gender, honorific level; and the case of the subject with a past verb."""

from __future__ import annotations

from anukul.synth.world import morphology_nepali as morphology
from anukul.synth.world import nepali
from anukul.synth.world.grammar import Adjunct, Clause, Meaning, Noun, Phrase, Verb
from anukul.synth.world.lexicon import NOUNS_ALL
from anukul.synth.world.nepali_phrases import adjunct_node
from anukul.synth.world.pairs.sentences import (
    DOING,
    INTRANSITIVE,
    TENSES,
    Draft,
    Drafts,
    Setting,
    activity,
    both,
    draft,
    length,
)
from anukul.synth.world.pairs.words import FEMININE, IN_O, Contrast, attractor, frozen, name, subjects
from anukul.synth.world.phrases import Scene, pronoun
from anukul.synth.world.trees import text

HOUSE = next(noun for noun in NOUNS_ALL if noun.nepali == "घर")
_AT_HOME = frozenset(("room", "yard", "study", "cooking", "seat"))
# Usage is divided over these: राम नाचे and रामले नाचे, राम नेपाली बोले and रामले नेपाली बोले.
_UNSTEADY = frozen("हाँस्नु नाच्नु रुनु बोल्नु खेल्नु पौडिनु घुम्नु थाक्नु")


def in_house(owner: Phrase, verb: Verb | None) -> Adjunct | None:
    """In (or to) somebody's house, where the verb allows it."""
    settings = verb.settings if verb is not None else (("place", "room"),)
    house = Phrase(HOUSE, owner=owner)
    if any(role == "goal" for role, _ in settings):
        return Adjunct("goal", house)
    return Adjunct("place", house) if any(kind in _AT_HOME for _, kind in settings) else None


def verb_pairs(
    scene: Scene, phenomenon: str, contrast: Contrast, size: int, attracted: bool
) -> Drafts | None:
    """One frame with two subjects: म … जान्छु / *जान्छ and केटो … जान्छ / *जान्छु; None where this draw gives none."""
    who = subjects(scene, phenomenon, contrast)
    tense = scene.rng.choice(TENSES)
    beside: tuple[Phrase, ...] = ()
    if attracted:
        beside = tuple(attractor(scene, phenomenon, wanted) for wanted in reversed(contrast))
        if any(other.head == one.head for other, one in zip(beside, who, strict=True)):
            return None
    housed = attracted and (contrast == ("1s", "1p") or (size > 1 and scene.chance(0.4)))
    reserved = 0 if not attracted else 2 if housed else 1
    found = activity(scene, size - reserved, DOING, tense, placed=not housed)
    if found is None or _blurred(who[0], phenomenon, found):
        return None
    more = tuple(_beside(found.verb, other, housed) for other in beside)
    if any(adjunct is None or length(adjunct) != reserved for adjunct in more):
        return None
    made: list[Draft | None] = []
    for number, subject in enumerate(who):
        right, wrong = contrast if number == 0 else contrast[::-1]
        near = [adjunct for adjunct in more[number : number + 1] if adjunct is not None]
        made.append(_finite(found, subject, near, right, wrong))
    return both(made)


def _blurred(subject: Phrase, phenomenon: str, found: Setting) -> bool:
    """Whether -ले would hide what the verb agrees with: केटाले is one boy or, with respect, a young man."""
    ergative = found.tense == "past" and found.verb.ergative
    return phenomenon == "subject-verb number" and isinstance(subject.head, Noun) and ergative


def _beside(verb: Verb, other: Phrase, housed: bool) -> Adjunct | None:
    """The attractor: with somebody (केटासँग), or in somebody's house (केटाको घरमा)."""
    if housed:
        return in_house(other, verb)
    return Adjunct("with", other) if ("with", "people") in verb.settings else None


def _finite(found: Setting, subject: Phrase, near: list[Adjunct], right: str, wrong: str) -> Draft | None:
    clause = Clause(
        subject, found.verb, found.tense, object=found.object, adjuncts=(*found.times, *near, *found.others)
    )
    root = nepali.sentence(Meaning("agreement", clause))
    controller = next(node for node in root.left if node.deprel == "nsubj")
    if root.form != morphology.finite(found.verb.nepali, found.tense, False, right)[0]:
        raise ValueError(f"{root.form} after {controller.form} is not {right}")
    form = morphology.finite(found.verb.nepali, found.tense, False, wrong)[0]
    word = text(adjunct_node(near[0])).split()[0] if near else ""
    return draft(root, controller, root, form, word, f"{right}>{wrong}")


_GOES = tuple(verb for verb in INTRANSITIVE if verb.nepali not in _UNSTEADY)
_TAKES = tuple(verb for verb in DOING if verb.frame == "t" and verb.nepali not in _UNSTEADY)
# These have something done to them even where it is not said; राम पढे may be "Ram studied".
_AFFECTING = frozen("किन्नु पकाउनु ल्याउनु लैजानु बनाउनु लेख्नु खानु पिउनु धुनु टिप्नु बोक्नु खोल्नु गन्नु छान्नु चाख्नु")
_WITHOUT_OBJECT = tuple(verb for verb in _TAKES if verb.nepali in _AFFECTING)


def case_pairs(scene: Scene, contrast: Contrast, size: int) -> Drafts | None:
    """One subject with two verbs: रामले … किने / *राम … किने and राम … गए / *रामले … गए.

    Only in the simple past, where no usage is divided: राम पढेका छन् may say that he is a man of learning.
    """
    who = _somebody(scene)
    # Where nothing may stand between, the object is one that is known: रामले किने, "Ram bought it".
    taking = activity(scene, size, _TAKES if size else _WITHOUT_OBJECT, "past", bare=not size)
    going = activity(scene, size, _GOES, "past")
    if taking is None or going is None:
        return None
    right, wrong = contrast
    return both(
        [_cased(taking, who, "ले", "", f"{right}>{wrong}"), _cased(going, who, "", "ले", f"{wrong}>{right}")]
    )


def _somebody(scene: Scene) -> Phrase:
    roll = scene.rng.random()
    if roll < 0.35:
        return name(scene, scene.chance(0.5))
    if roll < 0.75:
        keys = ("i", "we", "you_low", "you", "you_high", "he_low", "he", "he_high", "they")
        return pronoun(scene.rng.choice(keys))
    noun = scene.rng.choice((IN_O[0], IN_O[1], FEMININE[0]))
    return Phrase(noun, determiner="the", plural=scene.chance(0.4))


def _cased(found: Setting, who: Phrase, case: str, other: str, contrast: str) -> Draft | None:
    clause = Clause(who, found.verb, found.tense, object=found.object, adjuncts=(*found.times, *found.others))
    root = nepali.sentence(Meaning("agreement", clause))
    subject = next(node for node in root.left if node.deprel == "nsubj")
    if subject.form != nepali.phrase_with_relative(who, case, "nsubj").form:
        raise ValueError(f"{subject.form} before {root.form}")
    wrong = nepali.phrase_with_relative(who, other, "nsubj").form
    return draft(root, root, subject, wrong, "", contrast)
