"""Turn rows into training examples: token ids, and for each token whether it is learnt.

Segments are tokenised one by one, so that no token straddles the border between what is given and what is learnt,
also where a byte-level tokenizer splits a letter over several tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul.config import TranslationFormat
from anukul.languages import load as load_language
from anukul.records import Document, Instruction, Pair
from anukul.text.sentences import split_sentences

PLAIN = TranslationFormat()
PORTION = 4096  # rows tokenised at once: what the tokenizer says of each token beside its id is large


@dataclass(frozen=True, slots=True)
class Example:
    """One document as the model sees it."""

    ids: NDArray[np.int32]  # [tokens], the first is BOS
    learnt: NDArray[np.bool_]  # [tokens], True where predicting this token counts in the loss
    replay: bool = False
    splittable: bool = True  # plain text may be cut at the context length, a prompt with its answer may not
    origin: str = "organic"  # organic | synthetic: a side of it is machine-made
    source: str = ""  # the source of its row
    direction: str = ""  # of a translation: to_target | to_base


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text with one role."""

    text: str
    learnt: bool
    origin: str = "organic"  # organic | synthetic | mixed
    parts: tuple[
        tuple[str, str], ...
    ] = ()  # of a mixed one: (text, origin) in order, together the whole text
    closed: bool = False  # the end token stands after it, and is learnt


@dataclass(frozen=True, slots=True)
class Mark:
    """What an example carries beside its tokens."""

    source: str = ""
    direction: str = ""
    copies: int = 1  # how often it is read in an epoch


class Formatter:
    """Builds examples for one tokenizer and one pair of languages."""

    def __init__(self, tokenizer: Any, prefix_id: int, language: str, base_language: str) -> None:
        self.tokenizer = tokenizer
        self.prefix_id = prefix_id
        eos = tokenizer.eos_token_id
        self.end_id = int(eos if eos is not None else prefix_id)
        self.target = load_language(language)
        self.source = load_language(base_language)
        self.languages = {language: self.target, base_language: self.source}
        self.adds_space = _adds_space(tokenizer)

    def translation(
        self, pair: Pair, to_target: bool = True, asked: TranslationFormat = PLAIN
    ) -> list[Segment]:
        """One side is given, the other learnt; all that tags the example stands on the given side.

        `asked.tags` asks for more than the names of the languages: `direction` for the code that is translated into,
        `origin` for a word where a side is machine-made (tagged back-translation, arXiv 1906.06442).
        """
        ours = self.target, pair.target_text, "organic"
        theirs = self.source, pair.source_text, pair.source_origin
        (give, given, given_origin), (learn, learnt, origin) = (theirs, ours) if to_target else (ours, theirs)
        tag = asked.tag(learn.code, pair.source_origin == "synthetic")
        said = f"{tag}{give.name}: {given}\n{learn.name}:"
        return [Segment(said, False, given_origin), Segment(f" {learnt}", True, origin)]

    def bilingual(self, pair: Pair, start: int) -> list[Segment]:
        """Sentences alternate between the languages, all learnt (OpenHathi's second phase).

        `start` is 0 or 1: which side gives the first sentence. Where the sides split into different numbers of
        sentences they cannot alternate, and stand one after the other.
        """
        sides = [
            split_sentences(pair.source_text, self.source),
            split_sentences(pair.target_text, self.target),
        ]
        if len(sides[0]) != len(sides[1]):
            whole = (pair.source_text, pair.source_origin), (pair.target_text, "organic")
            return [_joined(whole[:: -1 if start else 1], "\n")]
        origins = pair.source_origin, "organic"
        turns = [(start + index) % 2 for index in range(len(sides[0]))]
        return [_joined([(sides[side][place], origins[side]) for place, side in enumerate(turns)], " ")]

    def instruct(self, row: Instruction) -> list[Segment]:
        """Question and answer in the row's language; of a conversation every turn; only answers are learnt."""
        language = self.languages.get(row.language, self.target)
        asked = f"{row.instruction}\n{row.input}" if row.input else row.instruction
        questions, answers = [asked, *row.turns[::2]], [row.output, *row.turns[1::2]]
        told = f"{row.system}\n" if row.system else ""
        segments = []
        for place, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            before = "\n" if place else told
            given = f"{before}{language.question_word}: {question}\n{language.answer_word}:"
            # an answer is over where the next question begins, and that is learnt too
            closed = place < len(answers) - 1
            segments += [
                Segment(given, False, row.origin),
                Segment(f" {answer}", True, row.origin, closed=closed),
            ]
        return segments

    def text(self, document: Document) -> list[Segment]:
        """Plain text, all learnt."""
        return [Segment(document.text, True)]

    def encode(
        self, rows: Sequence[list[Segment]], replay: bool = False, marks: Sequence[Mark] | None = None
    ) -> list[Example]:
        """Tokenise segment lists, many at once; BOS stands first, the end token last and is learnt.

        `marks` has one for each row; an example with several copies comes as often, one after the other.
        """
        examples: list[Example] = []
        for start in range(0, len(rows), PORTION):
            marked = marks[start : start + PORTION] if marks is not None else [Mark()] * PORTION
            made = self._encode(rows[start : start + PORTION], replay, marked)
            for example, mark in zip(made, marked, strict=False):
                examples += [example] * mark.copies
        return examples

    def _encode(self, rows: Sequence[list[Segment]], replay: bool, marks: Sequence[Mark]) -> list[Example]:
        flat = [self._cut(row, index) for row in rows for index in range(len(row))]
        encoded = self.tokenizer(flat, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        examples, position = [], 0
        for row, mark in zip(rows, marks, strict=False):
            ids, learnt = [self.prefix_id], [False]
            for segment in row:
                ids += encoded[position]
                learnt += [segment.learnt] * len(encoded[position])
                position += 1
                if segment.closed:
                    ids.append(self.end_id)
                    learnt.append(True)
            ids.append(self.end_id)
            learnt.append(True)
            whole = all(segment.learnt for segment in row)
            origin = "organic" if all(segment.origin == "organic" for segment in row) else "synthetic"
            tokens = np.array(ids, np.int32), np.array(learnt, np.bool_)
            examples.append(Example(*tokens, replay, whole, origin, mark.source, mark.direction))
        return examples

    def _cut(self, row: list[Segment], index: int) -> str:
        """The text of a segment as it must be given to the tokenizer to be cut as it is within the whole."""
        text = row[index].text
        return text.removeprefix(" ") if index and self.adds_space else text


def _joined(parts: Sequence[tuple[str, str]], between: str) -> Segment:
    """One learnt segment of texts by their origin, with something between them."""
    spans = [(text if place == 0 else between + text, origin) for place, (text, origin) in enumerate(parts)]
    origins = {origin for _, origin in spans}
    whole = "".join(text for text, _ in spans)
    if len(origins) == 1:
        return Segment(whole, True, origins.pop())
    return Segment(whole, True, "mixed", tuple(spans))


def _adds_space(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a space before every text (sentencepiece, as Llama 2 has it).

    A segment that begins with a space would get a second one, which the whole text does not have.
    """
    pieces = tokenizer.convert_ids_to_tokens(tokenizer(" a", add_special_tokens=False)["input_ids"])
    return "".join(pieces).startswith("▁▁")


def fit_to_context(examples: Iterable[Example], context: int) -> tuple[list[Example], int]:
    """Cut plain text that is longer than `context` tokens into pieces; leave out prompts that do not fit.

    Returns (examples, number left out). Every piece starts with the first token of the whole (BOS).
    """
    fitting: list[Example] = []
    left_out = 0
    for example in examples:
        if len(example.ids) <= context:
            fitting.append(example)
        elif example.splittable:
            step = context - 1
            for start in range(1, len(example.ids), step):
                ids = np.concatenate([example.ids[:1], example.ids[start : start + step]])
                learnt = np.concatenate([example.learnt[:1], example.learnt[start : start + step]])
                fitting.append(replace(example, ids=ids, learnt=learnt))
        else:
            left_out += 1
    return fitting, left_out
