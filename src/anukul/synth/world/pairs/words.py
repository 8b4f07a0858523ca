"""Who can be subject, attractor and owner: each word's own agreement decides, and doubtful words are left out."""

from __future__ import annotations

from anukul.synth.world.grammar import Noun, Phrase
from anukul.synth.world.lexicon import NOUNS_ALL
from anukul.synth.world.morphology_nepali import slot
from anukul.synth.world.nepali_phrases import agreement
from anukul.synth.world.phrases import Scene, pronoun

Contrast = tuple[str, str]  # two slots of a paradigm, or two endings


def frozen(words: str) -> frozenset[str]:
    """Words written with spaces, as a set."""
    return frozenset(words.split())


# Given to women and men alike, or to either in some communities.
_EITHER = frozen("किरण सुमन मिलन सरोज चन्दन पासाङ तेन्जिङ मिङ्मा सोनाम पेमा तुलसी कुसुम हीरा मधु ज्योति इन्दु")


def _nouns(words: str) -> tuple[Noun, ...]:
    by_word = {noun.nepali: noun for noun in NOUNS_ALL}
    return tuple(by_word[word] for word in words.split())


# In -o the singular cannot be taken for a plural or for respect (केटो, but भाइ आए); masculine and feminine go in pairs.
IN_O = _nouns("केटो गोठालो छोरो भतिजो")
MASCULINE = _nouns("केटो छोरो भाइ नाति भतिजो")
FEMININE = _nouns("केटी छोरी बहिनी नातिनी भतिजी")
RESPECTED_MEN = _nouns("बुबा दाजु काका हजुरबुबा")
_RESPECTED_WOMEN = _nouns("आमा दिदी काकी हजुरआमा")
_LOW_MEN = _nouns("केटो गोठालो भाइ नाति")
_LOW_WOMEN = _nouns("केटी बहिनी नातिनी भतिजी")
_MANY = _nouns("केटो केटी साथी छिमेकी पाहुना किसान")

PRONOUNS_2 = {"2l": "you_low", "2m": "you", "h": "you_high"}
PRONOUNS_3 = {"3s": "he_low", "3p": "he", "h": "he_high"}
SPEAKING = {"1s": "i", "1p": "we", "2l": "you_low", "2m": "you"}


def name(scene: Scene, feminine: bool) -> Phrase:
    """A person whose name tells the gender."""
    found = [
        person
        for person in scene.people
        if person.feminine == feminine and person.nepali.split()[0] not in _EITHER
    ]
    return Phrase(scene.rng.choice(found))


def owned(scene: Scene, noun: Noun, avoid: Contrast = ("", ""), plural: bool = False) -> Phrase:
    """A noun as subject; a relative is somebody's (मेरो छोरो), of a person whose own verb would have neither form."""
    if noun.classes[0] != "kin":
        return Phrase(noun, determiner="the", plural=plural)
    owners = [pronoun(key) for key in ("i", "we", "you")]
    owner = scene.rng.choice([found for found in owners if slot(agreement(found)) not in avoid])
    return Phrase(noun, owner=owner, plural=plural)


def subjects(scene: Scene, phenomenon: str, contrast: Contrast) -> tuple[Phrase, Phrase]:
    """Two subjects, the first demanding the first slot of the contrast and the second the second."""
    if phenomenon == "subject-verb person":
        return _of_person(scene, contrast[0], contrast), _of_person(scene, contrast[1], contrast)
    if phenomenon == "subject-verb honorific":
        keys = PRONOUNS_2 if {"2l", "2m"} & set(contrast) else PRONOUNS_3
        return pronoun(keys[contrast[0]]), pronoun(keys[contrast[1]])
    if phenomenon == "subject-verb gender":
        return _of_gender(scene, contrast)
    if contrast == ("1s", "1p"):
        return pronoun("i"), pronoun("we")
    if scene.chance(0.3):
        return pronoun("he_low"), pronoun("they")
    one = owned(scene, scene.rng.choice(IN_O))
    return one, Phrase(one.head, owner=one.owner, determiner=one.determiner, plural=True)


def _of_person(scene: Scene, wanted: str, contrast: Contrast) -> Phrase:
    if wanted in SPEAKING:
        return pronoun(SPEAKING[wanted])
    if scene.chance(0.4):
        return pronoun("he_low" if wanted == "3s" else "they")
    return owned(scene, scene.rng.choice(MASCULINE), contrast, plural=wanted == "3p")


def _of_gender(scene: Scene, contrast: Contrast) -> tuple[Phrase, Phrase]:
    if contrast == ("3p", "3pf"):
        return name(scene, False), name(scene, True)
    number = scene.rng.randrange(len(MASCULINE))
    he = owned(scene, MASCULINE[number])
    return he, Phrase(FEMININE[number], owner=he.owner, determiner=he.determiner)


def attractor(scene: Scene, phenomenon: str, wanted: str) -> Phrase:
    """Somebody whose own verb would have the wanted slot."""
    if wanted in SPEAKING:
        return pronoun(SPEAKING[wanted])
    if wanted == "h":
        return Phrase(scene.rng.choice((*RESPECTED_MEN, *_RESPECTED_WOMEN)))
    if wanted == "3pf":
        return name(scene, True)
    if wanted == "3p" and phenomenon in ("subject-verb gender", "subject-verb honorific"):
        return name(scene, False)
    if wanted == "3p":
        return pronoun("they") if scene.chance(0.2) else Phrase(scene.rng.choice(_MANY), plural=True)
    return Phrase(scene.rng.choice(_LOW_WOMEN if wanted == "3sf" else _LOW_MEN))


def person_with_ending(scene: Scene, wanted: str) -> Phrase:
    """Somebody whose own adjective would end in the vowel of को, का or की: गोठालो, राम (respected), सीता."""
    if wanted == "को":
        return Phrase(scene.rng.choice((IN_O[1], _LOW_MEN[2])))
    if wanted == "की":
        return name(scene, True) if scene.chance(0.7) else Phrase(_LOW_WOMEN[1])
    return name(scene, False) if scene.chance(0.7) else Phrase(scene.rng.choice(_MANY[2:]), plural=True)
