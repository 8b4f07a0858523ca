"""Pairs of genitives and adjectives: their ending against the gender and number of the noun they agree with."""

from __future__ import annotations

from dataclasses import replace

from anukul.synth.world import nepali
from anukul.synth.world.grammar import Adjective, Adjunct, Adverb, Clause, Meaning, Phrase, Tense
from anukul.synth.world.lexicon import ADJECTIVES_ALL, adverbs, draw
from anukul.synth.world.nepali_phrases import adjunct_node
from anukul.synth.world.pairs.sentences import (
    INTRANSITIVE,
    Draft,
    Drafts,
    activity,
    both,
    draft,
    length,
    times_of,
)
from anukul.synth.world.pairs.verbs import in_house
from anukul.synth.world.pairs.words import (
    FEMININE,
    IN_O,
    MASCULINE,
    RESPECTED_MEN,
    Contrast,
    name,
    owned,
    person_with_ending,
)
from anukul.synth.world.phrases import Scene, place, pronoun
from anukul.synth.world.trees import Node, text

_OF_PERSONS = tuple(
    adjective
    for adjective in ADJECTIVES_ALL
    if "person" in adjective.classes and adjective.attributive and not adjective.nepali.endswith("ो")
)
_HABITS = ("सधैँ", "प्रायः", "कहिलेकाहीँ", "हिजोआज", "हरेक दिन")
_LASTING = ("अग्लो", "होचो")
_PASSING = ("भोको", "तिर्खाएको")


def _adjectives(words: tuple[str, ...]) -> tuple[Adjective, ...]:
    return tuple(adjective for adjective in ADJECTIVES_ALL if adjective.nepali in words)


def _wrong(node: Node, ending_: str) -> str:
    return node.form[:-1] + ending_[1:]


def genitive_pairs(scene: Scene, contrast: Contrast, size: int, attracted: bool) -> Drafts | None:
    """सीताका … छोराहरू / *सीताकी … छोराहरू and रामकी … छोरी / *रामका … छोरी.

    Between owner and noun stands nothing that could be owned: with पानी बोक्ने there, रामको would be right again, as
    the owner of the water.
    """
    heads = _relatives(scene, contrast)
    adjective, doing = _between(scene, size)
    found = activity(scene, scene.rng.randrange(2), INTRANSITIVE, "past")
    if found is None:
        return None
    made: list[Draft | None] = []
    for number, head in enumerate(heads):
        right, wrong = contrast if number == 0 else contrast[::-1]
        owner = _owner(scene, contrast, wrong if attracted else "")
        who = replace(head, owner=owner, adjective=adjective)
        if doing is not None:
            who = replace(who, relative=replace(doing, subject=head), gap="subject")
        clause = Clause(who, found.verb, found.tense, adjuncts=(*found.times, *found.others))
        root = nepali.sentence(Meaning("agreement", clause))
        subject = next(node for node in root.left if node.deprel == "nsubj")
        target = next(node for node in subject.left if node.deprel == "nmod:poss")
        _check(target, right)
        word = target.form if attracted else ""
        made.append(draft(root, subject, target, _wrong(target, wrong), word, f"{right}>{wrong}"))
    return both(made)


def _check(node: Node, right: str) -> None:
    if not node.form.endswith(right[1:]):
        raise ValueError(f"{node.form} does not end as {right}")


def _relatives(scene: Scene, contrast: Contrast) -> tuple[Phrase, Phrase]:
    """Two relatives without owner, whose genitive has the one and the other ending."""
    if contrast == ("को", "का"):
        noun = scene.rng.choice([noun for noun in IN_O if noun.classes[0] == "kin"])
        return Phrase(noun), Phrase(noun, plural=True)
    number = scene.rng.randrange(1, len(MASCULINE))
    she = Phrase(FEMININE[number])
    if scene.chance(0.3):
        return Phrase(scene.rng.choice(RESPECTED_MEN)), she
    return Phrase(MASCULINE[number], plural=True), she


def _owner(scene: Scene, contrast: Contrast, attracting: str) -> Phrase:
    """Whose own ending is the wrong one (`attracting`), or neither of the contrast."""
    if attracting:
        return person_with_ending(scene, attracting)
    if contrast == ("को", "का"):
        return name(scene, True)
    return pronoun(scene.rng.choice(("i", "you_low", "he_low")))


def _between(scene: Scene, size: int) -> tuple[Adjective | None, Clause | None]:
    """An adjective and a participle clause of `size` words in all: सधैँ बिस्तारै हिँड्ने मेहनती."""
    adjective = scene.rng.choice(_OF_PERSONS) if size and (size == 1 or scene.chance(0.5)) else None
    left = size - (adjective is not None)
    if not left:
        return adjective, None
    left -= 1  # for the participle
    moving = [verb for verb in INTRANSITIVE if any(role == "manner" for role, _ in verb.settings)]
    verb = scene.rng.choice(moving if left > 1 else INTRANSITIVE)
    adjuncts: list[Adjunct] = []
    if left:
        fitting = [a for a in adverbs("habit") if a.nepali in _HABITS and len(a.nepali.split()) <= left]
        longest = [a for a in fitting if len(a.nepali.split()) == 2]
        adverb = scene.rng.choice(longest if left == 3 else fitting)
        adjuncts.append(Adjunct("time", adverb))
        left -= len(adverb.nepali.split())
    if left:
        manner = next(kind for role, kind in verb.settings if role == "manner")
        adjuncts.append(Adjunct("manner", draw(scene.rng, adverbs(manner))))
    return adjective, Clause(pronoun("he_low"), verb, "present", adjuncts=tuple(adjuncts))


def adjective_pairs(scene: Scene, contrast: Contrast, size: int, attracted: bool) -> Drafts | None:
    """केटाहरू … भोका थिए / *भोकी थिए and केटी … भोकी थिई / *भोका थिई; beside it without distance अग्ला केटाहरू."""
    heads = _people(scene, contrast)
    if size == 0 and scene.chance(0.5):
        return _attributive(scene, contrast, heads)
    lasting = size < 2 and scene.chance(0.5)
    word = draw(scene.rng, _adjectives(_LASTING if lasting else _PASSING))
    tense: Tense = scene.rng.choice(("past", "present"))
    made: list[Draft | None] = []
    frame = _state_setting(scene, tense, size - 2 * attracted, lasting, placed=not attracted)
    if frame is None:
        return None
    degree, adjuncts = frame
    for number, who in enumerate(heads):
        right, wrong = contrast if number == 0 else contrast[::-1]
        near: tuple[Adjunct, ...] = ()
        beside = ""
        if attracted:
            owner = person_with_ending(scene, wrong)
            house = in_house(owner, None)
            if house is None or length(house) != 2 or owner.head == who.head:
                return None
            near, beside = (house,), text(adjunct_node(house)).split()[0]
        clause = Clause(
            who, kind="state", tense=tense, complement=word, degree=degree, adjuncts=(*adjuncts, *near)
        )
        root = nepali.sentence(Meaning("agreement", clause))
        subject = next(node for node in root.left if node.deprel == "nsubj")
        _check(root, right)
        made.append(draft(root, subject, root, _wrong(root, wrong), beside, f"{right}>{wrong}"))
    return both(made)


def _people(scene: Scene, contrast: Contrast) -> tuple[Phrase, Phrase]:
    """Two subjects of low honour, whose adjective has the one and the other ending."""
    if contrast == ("को", "का"):
        one = owned(scene, scene.rng.choice(IN_O))
        return one, replace(one, plural=True)
    number = scene.rng.randrange(len(MASCULINE))
    he = owned(scene, MASCULINE[number], plural=True)
    return he, replace(he, head=FEMININE[number], plural=False)


def _attributive(scene: Scene, contrast: Contrast, heads: tuple[Phrase, Phrase]) -> Drafts | None:
    young = "child" in getattr(heads[0].head, "classes", ())
    word = draw(scene.rng, _adjectives((*_LASTING, "भोको", *(("सानो", "ठूलो") if young else ()))))
    found = activity(
        scene, scene.rng.randrange(3), INTRANSITIVE, scene.rng.choice(("past", "present", "future"))
    )
    if found is None:
        return None
    made: list[Draft | None] = []
    for number, head in enumerate(heads):
        right, wrong = contrast if number == 0 else contrast[::-1]
        who = replace(head, adjective=word)
        clause = Clause(who, found.verb, found.tense, adjuncts=(*found.times, *found.others))
        root = nepali.sentence(Meaning("agreement", clause))
        subject = next(node for node in root.left if node.deprel == "nsubj")
        target = next(node for node in subject.left if node.deprel == "amod")
        _check(target, right)
        made.append(draft(root, subject, target, _wrong(target, wrong), "", f"{right}>{wrong}"))
    return both(made)


def _state_setting(
    scene: Scene, tense: Tense, size: int, lasting: bool, placed: bool
) -> tuple[Adverb | None, tuple[Adjunct, ...]] | None:
    """A degree, a time and a place of `size` words in all; None where this draw gives none."""
    left = size
    degree: Adverb | None = None
    if left and (lasting or scene.chance(0.5)):
        degree = scene.rng.choice(adverbs("degree"))
        left -= 1
    if lasting:
        return (degree, ()) if not left else None
    adjuncts: list[Adjunct] = []
    if left and placed and scene.chance(0.6):
        where = Adjunct("place", place(scene, scene.rng.choice(("room", "yard", "work")), "place", True))
        if length(where) <= left:
            adjuncts.append(where)
            left -= length(where)
    if left:
        found = [a for a in adverbs("day") if tense == "past"] + [
            a for a in adverbs("past" if tense == "past" else "now") if len(a.nepali.split()) == 1
        ]
        when = times_of(scene, scene.rng.choice(found))
        if sum(length(adjunct) for adjunct in when) != left:
            return None
        adjuncts += when
    return degree, tuple(adjuncts)
