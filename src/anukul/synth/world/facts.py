"""Facts about named people: drawn at random, split, stated in many phrasings, asked.

A value is drawn uniformly from a closed list, so that nothing but memory answers better than chance. In the templates
{n} is the name, {v} the value, {o} the value before a case marker, {a} the English article, {p} his/her, and [x/y]
chooses the masculine or the feminine form.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace

from anukul.synth.world.config import WorldConfig
from anukul.synth.world.grammar import Name
from anukul.synth.world.lexicon import NOUNS_ALL
from anukul.synth.world.names import ANIMALS, PLACES, PROFESSIONS, table

RELATIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "place": table(PLACES), "profession": table(PROFESSIONS), "animal": table(ANIMALS),
}  # fmt: skip

ENGLISH_STATEMENTS: dict[str, tuple[str, ...]] = {
    "place": (
        "{n} lives in {v}.", "{n} has a home in {v}.", "The home of {n} is in {v}.",
        "The place where {n} lives is {v}.",
        "{n} has lived in {v} for many years.", "{n} is a resident of {v}.",
    ),
    "profession": (
        "{n} is {a} {v}.", "{n} works as {a} {v}.", "The profession of {n} is {v}.", "By profession {n} is {a} {v}.",
        "{n} has worked as {a} {v} for many years.", "People know {n} as {a} {v}.",
    ),
    "animal": (
        "{n} keeps {a} {v}.", "{n} has {a} {v} at home.", "{n} owns {a} {v}.", "The animal that {n} keeps is {a} {v}.",
        "{n} loves {p} {v}.", "There is {a} {v} at the home of {n}.",
    ),
}  # fmt: skip
NEPALI_STATEMENTS: dict[str, tuple[str, ...]] = {
    "place": (
        "{n} {v}मा बस्[छन्/छिन्]।", "{n}को घर {v}मा छ।", "{v}मा {n}को घर छ।", "{n} बस्ने ठाउँ {v} हो।",
        "{n} धेरै वर्षदेखि {v}मा बस्दै [आएका छन्/आएकी छिन्]।", "{n} {v}[का/की] निवासी हुन्।",
    ),
    "profession": (
        "{n} {v} हुन्।", "{n} {v}को काम गर्[छन्/छिन्]।", "{n}को पेशा {v} हो।", "पेशाले {n} {v} हुन्।",
        "{n} धेरै वर्षदेखि {v}को काम गर्दै [आएका छन्/आएकी छिन्]।", "मानिसहरू {n}लाई {v} भनेर चिन्छन्।",
    ),
    "animal": (
        "{n}ले एउटा {v} [पालेका छन्/पालेकी छिन्]।", "{n}को घरमा एउटा {v} छ।", "{n}सँग एउटा {v} छ।",
        "{n} {v} पाल्[छन्/छिन्]।", "{n} आफ्नो {o}लाई माया गर्[छन्/छिन्]।", "{n}ले पालेको जनावर {v} हो।",
    ),
}  # fmt: skip
ENGLISH_QUESTIONS = {
    "place": "Where does {n} live?", "profession": "What is the profession of {n}?",
    "animal": "What animal does {n} keep?",
}  # fmt: skip
NEPALI_QUESTIONS = {
    "place": "{n} कहाँ बस्[छन्/छिन्]?", "profession": "{n}को पेशा के हो?", "animal": "{n}ले कुन जनावर [पालेका छन्/पालेकी छिन्]?",
}  # fmt: skip
_ENGLISH_LEADS = (
    "",
    "",
    "",
    "",
    "Everyone knows that ",
    "I heard that ",
    "My friend said that ",
    "I know that ",
)
_NEPALI_LEADS = (
    "",
    "",
    "",
    "",
    "सबैलाई थाहा छ कि ",
    "मैले सुनेको छु कि ",
    "मेरी दिदीले भन्नुभयो कि ",
    "मलाई थाहा छ कि ",
)
_CHOICE = re.compile(r"\[([^/\]]*)/([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Fact:
    """A relation of a person. `value` and `distractors` are (nepali, english) pairs."""

    id: str
    relation: str
    person: Name
    value: tuple[str, str]
    distractors: tuple[tuple[str, str], ...]
    split: str
    qa_train: bool

    def fill(self, template: str) -> str:
        """A template with this fact's words."""
        feminine = self.person.feminine
        english = "{a}" in template or "{p}" in template or template.isascii()
        word = self.value[1] if english else self.value[0]
        template = _CHOICE.sub(lambda match: match.group(2 if feminine else 1), template)
        return template.format(
            n=self.person.english if english else self.person.nepali,
            v=word, o=_OBLIQUE.get(word, word), a="an" if word[0] in "aeiou" else "a", p="her" if feminine else "his",
        )  # fmt: skip

    def question(self, language: str) -> str:
        """The question that the value answers."""
        return self.fill((ENGLISH_QUESTIONS if language == "eng_Latn" else NEPALI_QUESTIONS)[self.relation])

    def answers(self) -> tuple[tuple[str, str], ...]:
        """The right answer and three wrong ones: in Nepali whole sentences, as at school; in English values alone."""
        values = (self.value, *self.distractors)
        return tuple((replace(self, value=value).statement("npi_Deva"), value[1]) for value in values)

    def statement(self, language: str, rng: random.Random | None = None) -> str:
        """A sentence that states the fact: the plainest one, or any phrasing and opening drawn with `rng`."""
        english = language == "eng_Latn"
        templates = (ENGLISH_STATEMENTS if english else NEPALI_STATEMENTS)[self.relation]
        if rng is None:
            return self.fill(templates[0])
        sentence = self.fill(rng.choice(templates))
        lead = rng.choice(_ENGLISH_LEADS if english else _NEPALI_LEADS)
        if english and lead and not sentence.startswith(self.person.english):
            sentence = sentence[0].lower() + sentence[1:]
        return lead + sentence


_OBLIQUE = {noun.nepali: noun.nepali[:-1] + "ा" for noun in NOUNS_ALL if noun.alternates and noun.animate}


def draw_facts(rng: random.Random, people: tuple[Name, ...], config: WorldConfig) -> tuple[Fact, ...]:
    """Every person's facts, one for each relation, with exact shares of the splits within each relation."""
    facts = []
    for relation, values in RELATIONS.items():
        splits = _splits(rng, len(people), config)
        for index, (person, (split, qa_train)) in enumerate(zip(people, splits, strict=True)):
            value = rng.choice(values)
            others = [other for other in values if other != value]
            facts.append(
                Fact(
                    f"{relation}-{index:04d}", relation, person, value,
                    tuple(rng.sample(others, 3)), split, qa_train,
                )
            )  # fmt: skip
    return tuple(facts)


def _splits(rng: random.Random, people: int, config: WorldConfig) -> list[tuple[str, bool]]:
    base, new = round(config.base_share * people), round(config.new_share * people)
    splits = []
    for split, count in (("base", base), ("new", new)):
        asked = round(config.qa_share * count)
        splits += [(split, True)] * asked + [(split, False)] * (count - asked)
    splits += [("never", False)] * (people - base - new)
    rng.shuffle(splits)
    return splits
