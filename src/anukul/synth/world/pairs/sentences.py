"""What a pair is, how words are counted, and settings of an exact length."""

from __future__ import annotations

from dataclasses import dataclass

from anukul.synth.world.grammar import Adjective, Adjunct, Adverb, Noun, Phrase, Tense, Verb
from anukul.synth.world.lexicon import adjectives_for, adverbs, draw, draw_noun
from anukul.synth.world.nepali_phrases import adjunct_node
from anukul.synth.world.patterns import ACTIVE_VERBS
from anukul.synth.world.phrases import Scene, place, time_adverb
from anukul.synth.world.trees import Node, text, walk

TENSES: tuple[Tense, ...] = ("present", "past", "future")
_PARTS_OF_DAY = ("बिहान", "बेलुका", "दिउँसो", "राति")
_DAYS = ("हिजो", "आज", "भोलि", "हरेक दिन", "सधैँ", "प्रायः", "शनिबार", "आइतबार", "सोमबार", "शुक्रबार")
_LIVING = ("animal", "bird", "insect", "body", "womens")


@dataclass(frozen=True, slots=True)
class AgreementPair:
    """A grammatical sentence and one that differs from it in one word, the target.

    `distance`: words between target and controller (the word that demands the form), as they are written: a case
    marker is part of its noun. `attractor`: the word of somebody who would demand the bad form, "" for none; it stands
    between subject and verb or adjective; of a genitive it is the owner, which carries the ending. Things never
    count. `contrast`: what the good word shows > what the bad word shows. `cluster`: the frame, which two pairs share.
    """

    id: str
    good: str
    bad: str
    phenomenon: str
    distance: int
    attractor: str
    contrast: str
    cluster: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A pair before it has a name."""

    good: str
    bad: str
    distance: int
    attractor: str
    contrast: str


Drafts = tuple[Draft, Draft]


def draft(
    root: Node, controller: Node, target: Node, wrong: str, attractor: str, contrast: str
) -> Draft | None:
    """The pair of a tree whose target takes the wrong form; None where that is the right one."""
    if wrong == target.form:
        return None
    good, right = text(root), target.form
    target.form = wrong
    bad = text(root)
    target.form = right
    return Draft(good, bad, words_between(root, controller, target), attractor, contrast)


def both(made: list[Draft | None]) -> Drafts | None:
    """The two pairs of a frame, where both could be made."""
    one, other = made
    return (one, other) if one is not None and other is not None else None


def words_between(root: Node, one: Node, other: Node) -> int:
    """How many written words stand between two nodes; punctuation is part of the word before it."""
    nodes = walk(root)
    first, last = sorted(next(i for i, node in enumerate(nodes) if node is wanted) for wanted in (one, other))
    return sum(len(node.form.split()) for node in nodes[first + 1 : last] if not node.glued)


def length(adjunct: Adjunct) -> int:
    """How many written words an adjunct has."""
    return len(text(adjunct_node(adjunct)).split())


@dataclass(frozen=True, slots=True)
class Setting:
    """A verb and what stands between subject and verb, the attractor apart: nothing living is in it."""

    verb: Verb
    tense: Tense
    object: Phrase | None
    times: tuple[Adjunct, ...]
    others: tuple[Adjunct, ...]


def activity(
    scene: Scene, size: int, verbs: tuple[Verb, ...], tense: Tense, placed: bool = True, bare: bool = False
) -> Setting | None:
    """A verb with object and adjuncts of `size` words in all, or None where this draw gives none.

    Without `placed` no place is added; `bare` leaves the object out.
    """
    verb = scene.rng.choice(verbs)
    if {"present": "event", "future": "mental"}.get(tense) in verb.options:
        return None
    left = size - len(verb.light.split())
    what: Phrase | None = None
    if verb.objects and not bare:
        noun = draw_noun(scene.rng, verb.objects)
        if noun.human or noun.animate or set(_LIVING) & set(noun.classes):
            return None
        left -= len(noun.nepali.split())
        adjective = _adjective(scene, noun) if left > 0 and scene.chance(0.3) else None
        left -= adjective is not None
        what = Phrase(noun, generic=not noun.mass, adjective=adjective)
    times, others, left = _adjuncts(scene, verb, tense, left, placed)
    return Setting(verb, tense, what, times, others) if left == 0 else None


def _adjective(scene: Scene, noun: Noun) -> Adjective | None:
    found = adjectives_for(noun, False)
    return draw(scene.rng, found) if found else None


def _adjuncts(
    scene: Scene, verb: Verb, tense: Tense, left: int, placed: bool
) -> tuple[tuple[Adjunct, ...], tuple[Adjunct, ...], int]:
    """Times and other adjuncts that fill up to `left` words, and how many words remain."""
    found: list[Adjunct] = []
    adverb = time_adverb(scene, tense)
    times = times_of(scene, adverb) if adverb is not None else ()
    options: list[tuple[Adjunct, ...]] = [times] if times else []
    for role, kind in verb.settings:
        if role in ("place", "goal", "source") and placed:
            options.append((Adjunct(role, place(scene, kind, role, True)),))
        if role == "manner":
            options.append((Adjunct(role, draw(scene.rng, adverbs(kind))),))
    scene.rng.shuffle(options)
    for option in options:
        words = sum(length(adjunct) for adjunct in option)
        if words <= left and _fits(option[0], found):
            found += option
            left -= words
    when = tuple(adjunct for adjunct in found if adjunct.role == "time")
    return when, tuple(adjunct for adjunct in found if adjunct.role != "time"), left


def _fits(adjunct: Adjunct, found: list[Adjunct]) -> bool:
    where = ("place", "goal", "source")
    if isinstance(adjunct.value, Adverb) and adjunct.value.nepali == "एक्लै":
        return False  # alone, and perhaps with somebody
    return adjunct.role not in where or not any(other.role in where for other in found)


def times_of(scene: Scene, adverb: Adverb) -> tuple[Adjunct, ...]:
    """A time as an adjunct; half of the days have a part of the day after them: हिजो बिहान."""
    when = (Adjunct("time", adverb),)
    if adverb.nepali in _DAYS and scene.chance(0.5):
        part = scene.rng.choice([a for a in adverbs("day") if a.nepali in _PARTS_OF_DAY])
        return (*when, Adjunct("time", part))
    return when


# What people do with things, or by themselves.
DOING = tuple(
    verb
    for verb in ACTIVE_VERBS
    if "dative" not in verb.options and verb.frame in ("i", "t") and verb.objects != ("people",)
)
INTRANSITIVE = tuple(verb for verb in DOING if verb.frame == "i")
