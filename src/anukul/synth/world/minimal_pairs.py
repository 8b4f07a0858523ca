"""Agreement minimal pairs: a grammatical sentence and one that differs from it in exactly one word."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from anukul.synth.world import morphology_nepali as morphology
from anukul.synth.world import nepali
from anukul.synth.world.grammar import Adjective, Adjunct, Clause, Meaning, Name, Noun, Phrase, Tense
from anukul.synth.world.lexicon import ADJECTIVES_ALL, adverbs, by_class, draw, draw_noun
from anukul.synth.world.nepali_phrases import agreement
from anukul.synth.world.paragraphs import Writer
from anukul.synth.world.patterns import ACTIVE_VERBS, act
from anukul.synth.world.phrases import Scene, pronoun
from anukul.synth.world.trees import Node, text, walk

_TENSES: tuple[Tense, ...] = ("present", "past", "future")
_MOST_BETWEEN = 4


@dataclass(frozen=True, slots=True)
class MinimalPair:
    """`distance`: words between the word that demands the form (controller) and the word that differs (target)."""

    id: str
    good: str
    bad: str
    phenomenon: str
    distance: int


def _between(root: Node, controller: Node, target: Node) -> int:
    words = walk(root)
    first, second = sorted(next(i for i, w in enumerate(words) if w is node) for node in (controller, target))
    return second - first - 1


def _pair(root: Node, controller: Node, target: Node, wrong: str, phenomenon: str) -> MinimalPair | None:
    if wrong == target.form:
        return None
    distance = _between(root, controller, target)
    good, right = text(root), target.form
    target.form = wrong
    bad = text(root)
    target.form = right
    return MinimalPair("", good, bad, phenomenon, distance) if distance <= _MOST_BETWEEN else None


def _clause(scene: Scene, who: Phrase, tenses: tuple[Tense, ...] = _TENSES) -> Clause:
    tense = scene.rng.choice(tenses)
    return replace(
        act(scene, draw(scene.rng, ACTIVE_VERBS), who, tense, scene.rng.choice((0, 1, 2, 2))), fronted=False
    )


def _verb_pair(
    scene: Scene, who: Phrase, wrong_slots: tuple[str, ...], phenomenon: str
) -> MinimalPair | None:
    """A finite verb put into a slot that its subject does not allow."""
    clause = _clause(scene, who)
    assert clause.verb is not None
    root = nepali.sentence(Meaning("agreement", clause))
    subject = next(node for node in root.left if node.deprel == "nsubj")
    wrong = morphology.finite(clause.verb.nepali, clause.tense, False, scene.rng.choice(wrong_slots))[0]
    return _pair(root, subject, root, wrong, phenomenon)


# Words for either sex: विद्यार्थी गई is as good as विद्यार्थी गयो.
_EPICENE = ("बच्चा", "विद्यार्थी")


def _low(scene: Scene, feminine: bool | None = None, plural: bool = False) -> Phrase:
    """A human subject of low honour: केटो, मेरी बहिनी."""
    found = [n for n in (*by_class("child"), *by_class("young")) if n.honor == 0 and n.nepali not in _EPICENE]
    noun = draw(scene.rng, tuple(n for n in found if feminine is None or n.feminine == feminine))
    if noun.classes[0] == "kin":
        return Phrase(noun, owner=pronoun(scene.rng.choice(("i", "we", "you"))), plural=plural)
    return Phrase(noun, determiner="the", plural=plural)


def person(scene: Scene) -> MinimalPair | None:
    """म … जान्छु / *जान्छ."""
    key, wrong = scene.rng.choice(
        (("i", ("3s",)), ("we", ("3p", "3s")), ("they", ("1p", "1s")), ("", ("1s", "1p")))
    )
    return _verb_pair(scene, pronoun(key) if key else _low(scene), wrong, "subject-verb person")


def number(scene: Scene) -> MinimalPair | None:
    """केटा-हरू … जान्छन् / *जान्छ."""
    plural = scene.chance(0.5)
    return _verb_pair(
        scene, _low(scene, False, plural), ("3s",) if plural else ("3p",), "subject-verb number"
    )


def gender(scene: Scene) -> MinimalPair | None:
    """केटी … गई / *गयो; राम … गए / *गइन्."""
    feminine = scene.chance(0.5)
    if scene.chance(0.5):
        return _verb_pair(
            scene, _low(scene, feminine), ("3s",) if feminine else ("3sf",), "subject-verb gender"
        )
    name = scene.rng.choice([name for name in scene.people if name.feminine == feminine])
    return _verb_pair(scene, Phrase(name), ("3p",) if feminine else ("3pf",), "subject-verb gender")


def honorific(scene: Scene) -> MinimalPair | None:
    """तपाईं … जानुहुन्छ / *जान्छस्."""
    key, wrong = scene.rng.choice(
        (("you_high", ("2l", "2m")), ("you", ("h", "2l")), ("you_low", ("h", "2m")), ("he_high", ("3s",)))
    )
    return _verb_pair(scene, pronoun(key), wrong, "subject-verb honorific")


def genitive(scene: Scene) -> MinimalPair | None:
    """रामकी … छोरी / *रामको … छोरी: between them an adjective or a participle clause."""
    plural = scene.chance(0.34)
    who = _low(scene, None, plural)
    noun = (
        who.head
        if isinstance(who.head, Noun) and who.head.classes[0] == "kin"
        else draw(scene.rng, by_class("young"))
    )
    owner = (
        Phrase(scene.person()) if scene.chance(0.6) else pronoun(scene.rng.choice(("i", "we", "you", "he")))
    )
    head = Phrase(noun, owner=owner, plural=plural)
    between = scene.rng.randrange(3)
    if between == 1:
        head = replace(head, adjective=draw(scene.rng, _PERSONAL_ADJECTIVES))
    elif between == 2:
        inner = _clause(scene, replace(head, owner=None), ("present",))
        head = replace(head, relative=inner, gap="subject")
    clause = replace(_clause(scene, head), adjuncts=())
    root = nepali.sentence(Meaning("agreement", clause))
    subject = next(node for node in root.left if node.deprel == "nsubj")
    target = next(node for node in subject.left if node.deprel == "nmod:poss")
    right = morphology.ending(agreement(head))
    wrong = {"का": "की", "की": "को", "को": "की"}[right]
    return _pair(root, subject, target, target.form[:-1] + wrong[1:], "genitive agreement")


_PERSONAL_ADJECTIVES = tuple(a for a in ADJECTIVES_ALL if "person" in a.classes and a.attributive)
_INFLECTING = tuple(
    a for a in ADJECTIVES_ALL if "person" in a.classes and a.predicative and a.nepali.endswith("ो")
)


def adjective(scene: Scene) -> MinimalPair | None:
    """केटी धेरै अग्ली छे / *अग्लो; ती अग्ला केटाहरू / *अग्ली."""
    plural = scene.chance(0.34)
    who = _low(scene, None, plural)
    word = draw(scene.rng, _INFLECTING)
    if scene.chance(0.3):
        clause = replace(_clause(scene, replace(who, adjective=word)), adjuncts=())
        root = nepali.sentence(Meaning("agreement", clause))
        controller = next(node for node in root.left if node.deprel == "nsubj")
        target = next(node for node in controller.left if node.deprel == "amod")
    else:
        clause = _description(scene, who, word)
        root = nepali.sentence(Meaning("agreement", clause))
        controller, target = next(node for node in root.left if node.deprel == "nsubj"), root
    right = morphology.ending(agreement(who))
    wrong = {"का": "की", "की": "को", "को": "की"}[right]
    return _pair(root, controller, target, target.form[:-1] + wrong[1:], "adjective agreement")


def _description(scene: Scene, who: Phrase, word: Adjective) -> Clause:
    adjuncts: list[Adjunct] = []
    if scene.chance(0.6):
        adjuncts.append(
            Adjunct("time", scene.rng.choice((adverbs("past")[0], adverbs("past")[1], adverbs("day")[1])))
        )
    if scene.chance(0.5):
        adjuncts.append(Adjunct("place", Phrase(draw_noun(scene.rng, ("place",)), determiner="the")))
    degree = adverbs("degree")[scene.rng.randrange(2)] if scene.chance(0.6) else None
    return Clause(who, kind="state", tense="past", complement=word, degree=degree, adjuncts=tuple(adjuncts))


# Verbs with which usage is divided: राम नाचे and रामले नाचे, राम नेपाली बोले and रामले नेपाली बोले.
_UNSTEADY = ("हाँस्नु", "नाच्नु", "रुनु", "बोल्नु", "खेल्नु", "पौडिनु", "घुम्नु", "थाक्नु")


def ergative(scene: Scene) -> MinimalPair | None:
    """रामले … किने / *राम … किने; राम … गए / *रामले … गए."""
    who = scene.rng.choice(
        (Phrase(scene.person()), _low(scene), pronoun(scene.rng.choice(("i", "he", "he_low", "they"))))
    )
    clause = _clause(scene, who, ("past",))
    while clause.verb is None or clause.verb.nepali in _UNSTEADY:
        clause = _clause(scene, who, ("past",))
    root = nepali.sentence(Meaning("agreement", clause))
    subject = next(node for node in root.left if node.deprel == "nsubj")
    marked = clause.verb.ergative
    other = nepali.phrase_with_relative(who, "" if marked else "ले", "nsubj")
    return _pair(root, root, subject, other.form, "ergative case")


_PHENOMENA: tuple[Callable[[Scene], MinimalPair | None], ...] = (
    person, number, gender, honorific, genitive, adjective, ergative,
)  # fmt: skip


def draw_pairs(rng: random.Random, people: tuple[Name, ...], each: int) -> list[MinimalPair]:
    """`each` pairs of every phenomenon, spread over the distances 0 to 4 as evenly as the grammar allows."""
    pairs: list[MinimalPair] = []
    writer = Writer(rng, people)
    for make in _PHENOMENA:
        buckets: dict[int, list[MinimalPair]] = {distance: [] for distance in range(_MOST_BETWEEN + 1)}
        seen: set[str] = set()
        for _ in range(each * 25):
            pair = make(writer.scene())
            if pair is not None and pair.good not in seen and len(buckets[pair.distance]) < each:
                seen.add(pair.good)
                buckets[pair.distance].append(pair)
            if sum(min(len(bucket), each // 5 + 1) for bucket in buckets.values()) >= each:
                break
        chosen = _spread(buckets, each)
        if len(chosen) < each:
            raise RuntimeError(f"{make.__name__}: only {len(chosen)} minimal pairs")
        pairs += [replace(pair, id=f"agreement-{len(pairs) + i:04d}") for i, pair in enumerate(chosen)]
    return pairs


def _spread(buckets: dict[int, list[MinimalPair]], each: int) -> list[MinimalPair]:
    chosen: list[MinimalPair] = []
    depth = 0
    while len(chosen) < each and any(len(bucket) > depth for bucket in buckets.values()):
        chosen += [bucket[depth] for bucket in buckets.values() if len(bucket) > depth]
        depth += 1
    return chosen[:each]
