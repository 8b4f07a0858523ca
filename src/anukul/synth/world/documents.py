"""Training documents: English before adaptation (and replay), the Nepali corpus and its parallel part."""

from __future__ import annotations

import random

from anukul.synth.world.config import WorldConfig
from anukul.synth.world.facts import Fact
from anukul.synth.world.grammar import Phrase
from anukul.synth.world.paragraphs import Writer
from anukul.synth.world.questions import Question

Row = dict[str, str]
SOURCE, LICENSE = "anukul-world", "CC0-1.0"


def _bytes(text: str) -> int:
    return len(text.encode("utf-8"))


def fact_documents(writer: Writer, facts: list[Fact], statements: int, language: str) -> list[str]:
    """Paragraphs that state each fact `statements` times, one or two facts of a person among what else they do."""
    rng, side = writer.rng, "english" if language == "eng_Latn" else "nepali"
    by_person: dict[str, list[Fact]] = {}
    for fact in facts:
        by_person.setdefault(fact.person.english, []).append(fact)
    documents = []
    for _ in range(statements):
        for known in by_person.values():
            told = rng.sample(known, len(known))
            # A person's facts are told together or apart, so that no fact is met only beside another.
            groups = [told] if rng.random() < 0.35 else [[fact] for fact in told]
            for group in groups:
                person = group[0].person
                others = writer.paragraph(rng.choice((0, 0, 1, 1)), side, Phrase(person))
                sentences = [sentence.english or sentence.nepali for sentence in others]
                for fact in group:
                    sentences.insert(
                        rng.randrange(len(sentences) + 1) if rng.random() < 0.5 else 0,
                        fact.statement(language, rng),
                    )
                documents.append(" ".join(sentences))
    return documents


def question_documents(rng: random.Random, questions: list[Question], language: str) -> list[str]:
    """Documents of three to six questions with their answers, in the evaluation's format, a blank line between."""
    documents, at = [], 0
    while at < len(questions):
        size = rng.randint(3, 6)
        asked = questions[at : at + size]
        documents.append("\n\n".join(f"{q.query(language)} {q.answer(language)}" for q in asked))
        at += size
    return documents


def base_documents(
    writer: Writer,
    facts: tuple[Fact, ...],
    fact_questions: dict[str, Question],
    training: list[Question],
    config: WorldConfig,
    size: int,
    statements: int,
    nepali_share: float,
) -> list[Row]:
    """English documents of `size` bytes in all: base facts stated, questions answered, general paragraphs to fill.

    Questions repeat in proportion to the statements. `nepali_share` of the bytes are plain Nepali paragraphs, the trace
    that a web corpus holds of any language.
    """
    rng = writer.rng
    base = [fact for fact in facts if fact.split == "base"]
    rounds = max(
        1, round(config.questions_per_fact * statements / max(1, config.statements_per_fact_english))
    )
    asked: list[Question] = []
    for _ in range(rounds):
        asked += rng.sample([fact_questions[f.id] for f in base if f.qa_train], sum(f.qa_train for f in base))
    general = rng.sample(training, len(training))
    documents = fact_documents(writer, base, statements, "eng_Latn")
    documents += question_documents(rng, asked, "eng_Latn")
    documents += question_documents(rng, general[: max(len(general) * statements // 12, 60)], "eng_Latn")
    rows = [{"text": document, "language": "eng_Latn"} for document in documents]
    trace = round(size * nepali_share)
    while trace > 0:
        paragraph = " ".join(s.nepali for s in writer.paragraph(rng.randint(2, 4), "nepali"))
        rows.append({"text": paragraph, "language": "npi_Deva"})
        trace -= _bytes(paragraph)
    left = size - sum(_bytes(row["text"]) for row in rows)
    while left > 0:
        paragraph = " ".join(s.english for s in writer.paragraph(rng.randint(3, 6), "english"))
        rows.append({"text": paragraph, "language": "eng_Latn"})
        left -= _bytes(paragraph)
    rng.shuffle(rows)
    return rows


def nepali_documents(
    writer: Writer,
    facts: tuple[Fact, ...],
    fact_questions: dict[str, Question],
    training: list[Question],
    config: WorldConfig,
) -> tuple[list[Row], list[Row]]:
    """The Nepali corpus, and the pairs that share an id with part of it.

    New facts are stated only in the unpaired part; some of them are also asked and answered there, as in the English
    of the base, beside category and reading questions.
    """
    rng = writer.rng
    new = [fact for fact in facts if fact.split == "new"]
    asked = [fact_questions[fact.id] for fact in new if fact.qa_train] * config.questions_per_new_fact
    asked += rng.sample(training, min(len(training), len(asked)))
    documents: list[tuple[str, str]] = [
        (document, "")
        for document in (
            *fact_documents(writer, new, config.statements_per_fact_nepali, "npi_Deva"),
            *question_documents(rng, rng.sample(asked, len(asked)), "npi_Deva"),
        )
    ]
    paired = round(config.nepali_bytes * config.pairs_share)
    while paired > 0:
        sentences = writer.paragraph(rng.randint(2, 6))
        source, target = " ".join(s.english for s in sentences), " ".join(s.nepali for s in sentences)
        documents.append((target, source))
        paired -= _bytes(target)
    left = config.nepali_bytes - sum(_bytes(target) for target, _ in documents)
    while left > 0:
        target = " ".join(s.nepali for s in writer.paragraph(rng.randint(2, 6), "nepali"))
        documents.append((target, ""))
        left -= _bytes(target)
    rng.shuffle(documents)
    rows, pairs = [], []
    for index, (target, source) in enumerate(documents):
        name = f"nepali-{index:06d}"
        rows.append({"id": name, "text": target, "source": SOURCE, "license": LICENSE})
        if source:
            pairs.append(
                {
                    "id": name, "source": source, "target": target,
                    "source_language": "eng_Latn", "target_language": "npi_Deva",
                }
            )  # fmt: skip
    return rows, pairs
