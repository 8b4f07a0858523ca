"""Multiple-choice questions in the format that training and evaluation share: facts, categories, reading."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from anukul.synth.world import english, english_phrases, english_verbs, nepali, nepali_phrases
from anukul.synth.world.description_patterns import CATEGORIZED, CATEGORY_NOUNS
from anukul.synth.world.facts import Fact
from anukul.synth.world.grammar import Adjunct, Clause, Meaning, Name, Noun, Phrase, Verb
from anukul.synth.world.lexicon import draw_noun
from anukul.synth.world.paragraphs import FACT_NOUNS, Writer
from anukul.synth.world.patterns import HUMAN_VERBS
from anukul.synth.world.trees import text

LANGUAGES = ("eng_Latn", "npi_Deva")
_PREFIX = {"eng_Latn": ("Question: ", "Answer:"), "npi_Deva": ("प्रश्न: ", "उत्तर:")}
_READ_VERBS = tuple(
    verb for verb in HUMAN_VERBS
    if verb.nepali in ("जानु", "खानु", "किन्नु", "पढ्नु", "पिउनु", "पकाउनु", "लेख्नु", "बेच्नु", "ल्याउनु", "धुनु", "बोक्नु", "टिप्नु")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """A question in both languages; `choices` holds (nepali, english) answers and `gold` the index of the right one."""

    id: str
    cluster: str
    text: tuple[str, str]
    passage: tuple[str, str]
    choices: tuple[tuple[str, str], ...]
    gold: int

    def query(self, language: str) -> str:
        """What stands before the answer: passage, question and the word for "answer"."""
        at = _side(language)
        prefix, answer = _PREFIX[language]
        passage = self.passage[at] + "\n" if self.passage[at] else ""
        return f"{passage}{prefix}{self.text[at]}\n{answer}"

    def answer(self, language: str) -> str:
        """The right answer."""
        return self.choices[self.gold][_side(language)]

    def row(self, language: str, split: str) -> dict[str, object]:
        """The row of a question file."""
        return {
            "id": self.id, "query": self.query(language), "choices": [c[_side(language)] for c in self.choices],
            "gold": self.gold, "cluster": self.cluster, "split": split,
        }  # fmt: skip


def _side(language: str) -> int:
    return 1 if language == "eng_Latn" else 0


def _shuffled(
    rng: random.Random, right: tuple[str, str], wrong: list[tuple[str, str]]
) -> tuple[tuple[tuple[str, str], ...], int]:
    choices = [right, *wrong]
    rng.shuffle(choices)
    return tuple(choices), choices.index(right)


def fact_question(rng: random.Random, fact: Fact) -> Question:
    """The question about a fact, with the fact's own distractors."""
    right, *wrong = fact.answers()
    choices, gold = _shuffled(rng, right, wrong)
    asked = (fact.question("npi_Deva"), fact.question("eng_Latn"))
    return Question(f"fact-{fact.id}", fact.person.english, asked, ("", ""), choices, gold)


def category_pools(rng: random.Random) -> tuple[tuple[Noun, ...], tuple[Noun, ...]]:
    """The nouns whose category is asked in training, and those asked only in evaluation, half and half."""
    nouns = list(CATEGORIZED)
    rng.shuffle(nouns)
    half = len(nouns) // 2
    return tuple(nouns[:half]), tuple(nouns[half:])


def category_question(rng: random.Random, noun: Noun, index: int) -> Question:
    """What kind of thing is a goat?"""
    right = CATEGORY_NOUNS[noun.classes[0]]
    others = [kind for kind in CATEGORY_NOUNS.values() if kind.nepali not in (right.nepali, *_also(noun))]
    wrong = [(kind.nepali, kind.english) for kind in rng.sample(others, 3)]
    choices, gold = _shuffled(rng, (right.nepali, right.english), wrong)
    phrase = Phrase(noun, determiner="" if noun.mass else "a")
    name = text(english_phrases.phrase_node(phrase, "root"))
    verb = "are" if english_verbs.plural_mass(noun) else "is"
    asked = (f"{noun.nepali} कस्तो चीज हो?", f"What kind of thing {verb} {name}?")
    return Question(f"category-{index:04d}", noun.english, asked, ("", ""), choices, gold)


def _also(noun: Noun) -> list[str]:
    """Categories that would be right as well: a bird is an animal, a cup is a vessel."""
    related = {
        "bird": ("animal",),
        "insect": ("animal",),
        "animal": ("bird", "insect"),
        "vegetable": ("fruit",),
    }
    also = {*related.get(noun.classes[0], ()), *noun.classes}
    return [CATEGORY_NOUNS[kind].nepali for kind in also if kind in CATEGORY_NOUNS]


def reading_question(rng: random.Random, writer: Writer, index: int) -> Question:
    """Two or three sentences about different people, and a question about one of them."""
    size = rng.choice((2, 2, 3))
    verbs = rng.sample(_READ_VERBS, size)
    people = rng.sample(writer.people, size)
    clauses = [_event(writer, verb, person) for verb, person in zip(verbs, people, strict=True)]
    target = rng.randrange(size)
    clause = clauses[target]
    told = [Meaning("past", c) for c in clauses]
    sides = [text(nepali.sentence(m)) for m in told], [text(english.sentence(m)) for m in told]
    if not writer.forbidden.isdisjoint(sides[0] + sides[1]):
        return reading_question(rng, writer, index)
    passage = (" ".join(sides[0]), " ".join(sides[1]))
    if clause.object is None:
        return _where(rng, index, passage, clauses, target)
    if rng.random() < 0.5:
        return _who(rng, writer, index, passage, clauses, target)
    return _what(rng, index, passage, clauses, target)


def _event(writer: Writer, verb: Verb, person: Name) -> Clause:
    rng = writer.rng
    if not verb.objects:
        goal = Phrase(draw_noun(rng, ("goalplace",)), determiner="the")
        return Clause(Phrase(person), verb, "past", adjuncts=(Adjunct("goal", goal),))
    while True:
        noun = draw_noun(rng, verb.objects)
        if noun.nepali not in FACT_NOUNS:
            break
    what = Phrase(noun, determiner="" if noun.mass else "a")
    place = [kind for role, kind in verb.settings if role == "place"]
    adjuncts: tuple[Adjunct, ...] = ()
    if place and rng.random() < 0.4:
        adjuncts = (Adjunct("place", Phrase(draw_noun(rng, (rng.choice(place),)), determiner="the")),)
    return Clause(Phrase(person), verb, "past", object=what, adjuncts=adjuncts)


def _ask(clause: Clause) -> tuple[str, str]:
    meaning = Meaning("question", clause)
    return text(nepali.sentence(meaning)), text(english.sentence(meaning))


def _choices(
    rng: random.Random, right: tuple[str, str], near: list[tuple[str, str]], far: list[tuple[str, str]]
) -> tuple[tuple[tuple[str, str], ...], int]:
    """Three wrong answers, those from the passage first: finding a name in the passage is not enough."""
    wrong: list[tuple[str, str]] = []
    for choice in [*near, *rng.sample(far, len(far))]:
        taken = [right, *wrong]
        if len(wrong) < 3 and all(choice[0] != other[0] and choice[1] != other[1] for other in taken):
            wrong.append(choice)
    return _shuffled(rng, right, wrong)


def _who(
    rng: random.Random,
    writer: Writer,
    index: int,
    passage: tuple[str, str],
    clauses: list[Clause],
    target: int,
) -> Question:
    clause = clauses[target]

    def named(phrase: Phrase) -> tuple[str, str]:
        # The short answer repeats the case of the question word: कसले? रामले.
        head = phrase.head
        assert isinstance(head, Name)
        return head.nepali + "ले", head.english

    near = [named(c.subject) for i, c in enumerate(clauses) if i != target]
    far = [named(Phrase(person)) for person in rng.sample(writer.people, 6)]
    choices, gold = _choices(rng, named(clause.subject), near, far)
    asked = _ask(replace(clause, asked="subject", adjuncts=()))
    return Question(f"reading-{index:04d}", f"reading-{index:04d}", asked, passage, choices, gold)


def _what(
    rng: random.Random, index: int, passage: tuple[str, str], clauses: list[Clause], target: int
) -> Question:
    clause = clauses[target]
    assert clause.object is not None and clause.verb is not None

    def shown(phrase: Phrase) -> tuple[str, str]:
        return text(nepali_phrases.phrase_node(phrase, "", "root")), text(
            english_phrases.phrase_node(phrase, "root")
        )

    near = [shown(c.object) for i, c in enumerate(clauses) if i != target and c.object is not None]
    drawn = [draw_noun(rng, clause.verb.objects) for _ in range(24)]
    spare = [draw_noun(rng, ("goods", "fruit", "reading")) for _ in range(24)]
    far = [shown(Phrase(noun, determiner="" if noun.mass else "a")) for noun in (*drawn, *spare)]
    choices, gold = _choices(rng, shown(clause.object), near, far)
    asked = _ask(replace(clause, asked="object", object=None, adjuncts=()))
    return Question(f"reading-{index:04d}", f"reading-{index:04d}", asked, passage, choices, gold)


def _where(
    rng: random.Random, index: int, passage: tuple[str, str], clauses: list[Clause], target: int
) -> Question:
    clause = clauses[target]

    def shown(adjunct: Adjunct) -> tuple[str, str]:
        node = english_phrases.adjunct_node(adjunct, None)
        return text(nepali_phrases.adjunct_node(adjunct)), text(node)

    far = [
        shown(Adjunct("goal", Phrase(draw_noun(rng, ("goalplace",)), determiner="the"))) for _ in range(40)
    ]
    choices, gold = _choices(rng, shown(clause.adjuncts[0]), [], far)
    asked = _ask(replace(clause, asked="place", adjuncts=()))
    return Question(f"reading-{index:04d}", f"reading-{index:04d}", asked, passage, choices, gold)
