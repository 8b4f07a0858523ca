"""Writing a world to files: one function per file, all from one seed."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from anukul.synth.world import english, nepali
from anukul.synth.world.config import VERSION, WorldConfig
from anukul.synth.world.documents import base_documents, nepali_documents
from anukul.synth.world.facts import Fact, draw_facts
from anukul.synth.world.grammar import Name
from anukul.synth.world.instructions import draw_instructions
from anukul.synth.world.pairs import draw_agreement
from anukul.synth.world.paragraphs import Sentence, Writer
from anukul.synth.world.people import draw_people
from anukul.synth.world.questions import (
    LANGUAGES,
    Question,
    category_pools,
    category_question,
    fact_question,
    reading_question,
)
from anukul.synth.world.trees import conllu

# Held out by world 1.0 as minimal pairs: left out still, so that the demo's training text stays what it was.
HELD_OUT = (
    "तिमी हाँस्छौ।", "तिमी निस्कनेछौ।", "तँ विद्यालय गइस्।", "उनीहरू हाँस्छन्।", "ऊ बजार गयो।", "उहाँ उठ्नुभयो।", "उनीहरू बजार गए।",
    "उहाँले सङ्गीत सुन्नुभयो।", "म सधैँ अङ्ग्रेजी बोल्छु।", "तिमी नेपाली बोल्छौ।", "उनको भाइ पानी पिउनेछ।", "म विद्यालय जानेछु।",
    "उनीहरू सुते।",
)  # fmt: skip
TRAINING = ("base_corpus", "replay", "nepali", "pairs", "instructions")
_END = re.compile(r"(?<=[.?।])\s+|\n|(?<=[^\s]:)\s")  # of a sentence, a line, or a label such as प्रश्न:


def build(config: WorldConfig, folder: Path) -> dict[str, int]:
    """Write every file of the world into `folder` and return the number of rows (or sentences) of each.

    The same config writes the same bytes. Each file has its own random source, so that changing the size of one leaves
    the facts and the other held-out sets as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "questions").mkdir(exist_ok=True)
    people = draw_people(_source(config, "people"), config.people)
    facts = draw_facts(_source(config, "facts"), people, config)
    forbidden = set(HELD_OUT)
    counts: dict[str, int] = {}
    counts |= _heldout(folder, config, people, forbidden)

    training = _questions(folder, config, people, facts, forbidden, counts)
    fact_questions = {fact.id: fact_question(_source(config, fact.id), fact) for fact in facts}
    counts["facts.jsonl"] = _jsonl(folder / "facts.jsonl", (_fact_row(fact) for fact in facts))

    for name, size, statements, nepali_share in (
        ("base_corpus", config.base_bytes, config.statements_per_fact_english, config.base_nepali_share),
        ("replay", config.replay_bytes, config.statements_per_fact_replay, 0.0),
    ):
        writer = Writer(_source(config, name), people, forbidden)
        rows = base_documents(writer, facts, fact_questions, training, config, size, statements, nepali_share)
        counts[f"{name}.jsonl"] = _jsonl(
            folder / f"{name}.jsonl", ({"id": f"{name}-{index:06d}", **row} for index, row in enumerate(rows))
        )

    writer = Writer(_source(config, "nepali"), people, forbidden)
    documents, pairs = nepali_documents(writer, facts, fact_questions, training, config)
    counts["nepali.jsonl"] = _jsonl(folder / "nepali.jsonl", documents)
    counts["pairs.jsonl"] = _jsonl(folder / "pairs.jsonl", pairs)

    writer = Writer(_source(config, "instructions"), people, forbidden)
    instructions = draw_instructions(writer.rng, writer, config.instructions, facts, fact_questions, training)
    counts["instructions.jsonl"] = _jsonl(folder / "instructions.jsonl", instructions)

    # Drawn last, around all that stands in the text, so that nothing else depends on how many there are.
    agreement = draw_agreement(
        _source(config, "minimal pairs"),
        people,
        config.agreement_per_phenomenon,
        forbidden | _written(folder),
    )
    counts["agreement.npi_Deva.jsonl"] = _jsonl(
        folder / "agreement.npi_Deva.jsonl", (asdict(pair) for pair in agreement)
    )
    meta = {"version": VERSION, "config": asdict(config), "counts": counts}
    (folder / "meta.json").write_text(
        json.dumps(meta, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n"
    )
    return counts


def _source(config: WorldConfig, name: str) -> random.Random:
    # A string seed is hashed by SHA-512 inside random, hence the same on every machine and Python build.
    return random.Random(f"{config.seed}/{name}")


def _jsonl(path: Path, rows: Iterable[dict[str, object]] | Iterable[dict[str, str]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _written(folder: Path) -> set[str]:
    """Every sentence of the training text, in whatever field of whatever row."""
    found: set[str] = set()
    for name in TRAINING:
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            for value in json.loads(line).values():
                found.update(_END.split(value) if isinstance(value, str) else ())
    return found


def _heldout(
    folder: Path, config: WorldConfig, people: tuple[Name, ...], forbidden: set[str]
) -> dict[str, int]:
    """The held-out parallel sentences and the treebanks; their texts are added to `forbidden`."""
    sizes = (("heldout", config.heldout_sentences), ("treebank", config.treebank_sentences))
    drawn: dict[str, list[Sentence]] = {}
    for name, size in sizes:
        writer = Writer(_source(config, name), people, forbidden)
        drawn[name] = []
        while len(drawn[name]) < size:
            pattern = writer.any_pattern()
            if pattern == "category":
                # What kind of thing a noun names has one sentence: held out, it could not be learnt.
                continue
            sentence = writer.sentence(writer.scene(), pattern)
            forbidden |= {sentence.english, sentence.nepali}
            drawn[name].append(sentence)
    for language in LANGUAGES:
        side = "english" if language == "eng_Latn" else "nepali"
        lines = "".join(getattr(sentence, side) + "\n" for sentence in drawn["heldout"])
        (folder / f"heldout.{language}.txt").write_text(lines, encoding="utf-8", newline="\n")
        blocks = [_block(sentence, index, language) for index, sentence in enumerate(drawn["treebank"])]
        (folder / f"treebank.{language}.conllu").write_text("".join(blocks), encoding="utf-8", newline="\n")
    return {
        f"{name}.{language}.{kind}": size
        for (name, size), kind in zip(sizes, ("txt", "conllu"), strict=True)
        for language in LANGUAGES
    }


def _block(sentence: Sentence, index: int, language: str) -> str:
    english_side = language == "eng_Latn"
    tree = (english if english_side else nepali).sentence(sentence.meaning)
    comments = {"text_en": sentence.english, "pattern": sentence.meaning.pattern}
    return conllu(tree, f"world-{index:04d}", comments)


def _questions(
    folder: Path,
    config: WorldConfig,
    people: tuple[Name, ...],
    facts: tuple[Fact, ...],
    forbidden: set[str],
    counts: dict[str, int],
) -> list[Question]:
    """Write the question files; returns the category and reading questions of the training pools."""
    exemplars = [
        fact_question(_source(config, fact.id), fact)
        for fact in facts
        if fact.split == "base" and fact.qa_train
    ]
    asked = [
        (fact_question(_source(config, fact.id), fact), fact.split) for fact in facts if not fact.qa_train
    ]
    rng = _source(config, "categories")
    seen_nouns, held_nouns = category_pools(rng)
    seen = [category_question(rng, seen_nouns[i % len(seen_nouns)], i) for i in range(3 * len(seen_nouns))]
    held = [
        category_question(rng, held_nouns[i % len(held_nouns)], 9000 + i)
        for i in range(config.category_questions)
    ]
    writer = Writer(_source(config, "reading"), people, forbidden)
    reading = [reading_question(writer.rng, writer, i) for i in range(config.reading_questions * 4)]
    read_held, read_seen = reading[: config.reading_questions], reading[config.reading_questions :]
    for language in LANGUAGES:
        files: dict[str, list[dict[str, object]]] = {
            "facts": [q.row(language, "exemplar") for q in exemplars] + [q.row(language, s) for q, s in asked],
            "categories": [q.row(language, "exemplar") for q in seen[: len(seen_nouns)]]
            + [q.row(language, "test") for q in held],
            "reading": [q.row(language, "exemplar") for q in read_seen[:60]]
            + [q.row(language, "test") for q in read_held],
        }  # fmt: skip
        for name, rows in files.items():
            path = f"questions/{name}.{language}.jsonl"
            counts[path] = _jsonl(folder / path, rows)
    return seen + read_seen


def _fact_row(fact: Fact) -> dict[str, object]:
    stated = {"base": ["eng_Latn"], "new": ["npi_Deva"], "never": []}[fact.split]
    return {
        "id": fact.id, "relation": fact.relation,
        "subject": {"eng_Latn": fact.person.english, "npi_Deva": fact.person.nepali},
        "object": {"eng_Latn": fact.value[1], "npi_Deva": fact.value[0]},
        "distractors": [{"eng_Latn": other[1], "npi_Deva": other[0]} for other in fact.distractors],
        "split": fact.split, "qa_train": fact.qa_train, "stated_in": stated,
        "question": {language: fact.question(language) for language in LANGUAGES},
        "statement": {language: fact.statement(language) for language in LANGUAGES},
    }  # fmt: skip
