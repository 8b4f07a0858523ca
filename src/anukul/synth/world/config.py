"""The configuration of an embedded world."""

from __future__ import annotations

from dataclasses import dataclass

VERSION = "1.1"


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """What `build` makes. Sizes in bytes are of UTF-8 document text; facts and questions
    come first, and general paragraphs fill up to the size, which is passed by less than a paragraph.

    Shares are of facts: `base_share` stated only in English before adaptation, `new_share` only in the Nepali corpus,
    the rest nowhere. `qa_share` of the base facts have their question asked in English, in the base's text and the
    instructions; the same share of the new facts is asked in Nepali, in the corpus and the instructions. Facts that are
    asked in training are no evaluation items.
    """

    seed: int = 17
    people: int = 150
    base_share: float = 0.5
    new_share: float = 0.3
    qa_share: float = 0.5
    statements_per_fact_english: int = 24
    statements_per_fact_replay: int = 4
    statements_per_fact_nepali: int = 36
    questions_per_fact: int = 12
    questions_per_new_fact: int = 8
    base_bytes: int = 1_800_000
    base_nepali_share: float = 0.01
    replay_bytes: int = 600_000
    nepali_bytes: int = 2_400_000
    pairs_share: float = 0.33
    instructions: int = 3000
    heldout_sentences: int = 400
    treebank_sentences: int = 400
    agreement_per_phenomenon: int = 240
    category_questions: int = 120
    reading_questions: int = 200
