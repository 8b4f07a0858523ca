"""Instruction rows in both languages: translation, questions, and changing a sentence's grammar."""

from __future__ import annotations

import random
from dataclasses import replace

from anukul.synth.world import english, nepali
from anukul.synth.world.facts import Fact
from anukul.synth.world.grammar import Clause, Meaning, Noun, Phrase, Tense
from anukul.synth.world.paragraphs import Writer
from anukul.synth.world.patterns import ACTIVE_VERBS, action
from anukul.synth.world.phrases import pronoun
from anukul.synth.world.questions import Question
from anukul.synth.world.trees import text

Row = dict[str, str]
_TO_NEPALI = (
    "Translate this sentence into Nepali.",
    "How do you say this in Nepali?",
    "तलको वाक्य नेपालीमा अनुवाद गर्नुहोस्।",
    "यो वाक्यलाई नेपालीमा लेख्नुहोस्।",
)
_TO_ENGLISH = (
    "Translate this sentence into English.",
    "What does this mean in English?",
    "तलको वाक्य अङ्ग्रेजीमा अनुवाद गर्नुहोस्।",
    "यो वाक्यलाई अङ्ग्रेजीमा लेख्नुहोस्।",
)
_CHANGES = {
    "past": ("Put this sentence in the past tense.", "यो वाक्यलाई भूतकालमा लेख्नुहोस्।"),
    "future": ("Put this sentence in the future tense.", "यो वाक्यलाई भविष्यत्कालमा लेख्नुहोस्।"),
    "negative": ("Make this sentence negative.", "यो वाक्यलाई अकरणमा लेख्नुहोस्।"),
    "plural": ("Make the subject of this sentence plural.", "यो वाक्यको कर्तालाई बहुवचनमा लेख्नुहोस्।"),
    "polite": ("", "यो वाक्यलाई आदरार्थी बनाउनुहोस्।"),
}  # fmt: skip


def draw_instructions(
    rng: random.Random,
    writer: Writer,
    count: int,
    facts: tuple[Fact, ...],
    fact_questions: dict[str, Question],
    questions: list[Question],
) -> list[Row]:
    """`count` rows, half of them answered in Nepali.

    Facts are those whose question is asked in training, each in the language that states it: what is asked elsewhere
    would teach to guess. Each is asked once when there are rows enough.
    """
    rows: list[Row] = []
    asked = {
        language: [fact for fact in facts if fact.split == split and fact.qa_train]
        for language, split in (("npi_Deva", "new"), ("eng_Latn", "base"))
    }
    for index in range(count):
        language = ("npi_Deva", "eng_Latn")[index % 2]
        turn = index // 2
        task = turn % 5
        if task in (0, 3):
            rows.append(_translate(rng, writer, language))
        elif task == 1 and turn // 5 < len(asked[language]):
            rows.append(_ask(fact_questions[asked[language][turn // 5].id], language))
        elif task in (1, 4) and questions:
            rows.append(_ask(rng.choice(questions), language))
        else:
            rows.append(_change(rng, writer, language))
    return [{"id": f"instruction-{index:05d}", **row} for index, row in enumerate(rows)]


def _row(instruction: str, given: str, output: str, language: str) -> Row:
    return {"instruction": instruction, "input": given, "output": output, "language": language}


def _translate(rng: random.Random, writer: Writer, language: str) -> Row:
    sentence = writer.sentence(writer.scene(), writer.any_pattern())
    if language == "npi_Deva":
        return _row(rng.choice(_TO_NEPALI), sentence.english, sentence.nepali, language)
    return _row(rng.choice(_TO_ENGLISH), sentence.nepali, sentence.english, language)


def _ask(question: Question, language: str) -> Row:
    """The bare question; what has to be read first is the row's input."""
    at = 1 if language == "eng_Latn" else 0
    return _row(question.text[at], question.passage[at], question.answer(language), language)


def _change(rng: random.Random, writer: Writer, language: str) -> Row:
    """Rewrite a sentence: tense, polarity, number or politeness."""
    show = nepali.sentence if language == "npi_Deva" else english.sentence
    instruction_at = 1 if language == "npi_Deva" else 0
    while True:
        change = rng.choice(tuple(_CHANGES))
        if not _CHANGES[change][instruction_at]:
            continue
        before, after = _changed(writer, change)
        texts = text(show(Meaning("change", before))), text(show(Meaning("change", after)))
        if texts[0] != texts[1] and not writer.forbidden.intersection(texts):
            return _row(_CHANGES[change][instruction_at], *texts, language)


def _changed(writer: Writer, change: str) -> tuple[Clause, Clause]:
    scene = writer.scene()
    actor = pronoun("you") if change == "polite" else None
    tense: Tense = (
        "present" if change in ("past", "future") else writer.rng.choice(("present", "past", "future"))
    )
    while True:
        clause = action(scene, tense, ACTIVE_VERBS, actor=actor, most=1)
        clause = replace(clause, adjuncts=tuple(a for a in clause.adjuncts if a.role != "time"))
        if not writer.allowed(clause):
            continue
        if change == "past":
            return clause, replace(clause, tense="past")
        if change == "future":
            return clause, replace(clause, tense="future")
        if change == "negative":
            return clause, replace(clause, negative=True)
        if change == "polite":
            return clause, replace(clause, subject=pronoun("you_high"))
        many = _plural(clause.subject)
        if many is not None:
            return clause, replace(clause, subject=many)


def _plural(phrase: Phrase) -> Phrase | None:
    """The plural of a subject, where it has a plain one."""
    head = phrase.head
    if phrase == pronoun("i"):
        return pronoun("we")
    if phrase in (pronoun("he"), pronoun("she"), pronoun("he_low"), pronoun("she_low")):
        return pronoun("they")
    if isinstance(head, Noun) and not (head.mass or phrase.plural or phrase.count or phrase.joined):
        return replace(phrase, plural=True)
    return None
