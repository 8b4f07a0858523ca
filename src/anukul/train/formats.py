"""Turn rows into training examples: token ids, and for each token whether it is learnt.

Segments are tokenised one by one, so that no token straddles the border between what is given and what is learnt,
also where a byte-level tokenizer splits a letter over several tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul.languages import load as load_language
from anukul.records import Document, Instruction, Pair
from anukul.text.sentences import split_sentences

PORTION = 4096  # rows tokenised at once: what the tokenizer says of each token beside its id is large


@dataclass(frozen=True, slots=True)
class Example:
    """One document as the model sees it."""

    ids: NDArray[np.int32]  # [tokens], the first is BOS
    learnt: NDArray[np.bool_]  # [tokens], True where predicting this token counts in the loss
    replay: bool = False
    splittable: bool = True  # plain text may be cut at the context length, a prompt with its answer may not


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text with one role."""

    text: str
    learnt: bool


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

    def translation(self, pair: Pair) -> list[Segment]:
        """The base-language side is given, the target side is learnt; the tag stands on the given side."""
        given = f"{self.source.name}: {pair.source_text}\n{self.target.name}:"
        return [Segment(given, False), Segment(f" {pair.target_text}", True)]

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
            first, second = (pair.source_text, pair.target_text)[:: -1 if start else 1]
            return [Segment(f"{first}\n{second}", True)]
        mixed = [sides[(start + index) % 2][index] for index in range(len(sides[0]))]
        return [Segment(" ".join(mixed), True)]

    def instruct(self, row: Instruction) -> list[Segment]:
        """Question and answer in the row's language; only the answer is learnt."""
        language = self.languages.get(row.language, self.target)
        asked = f"{row.instruction}\n{row.input}" if row.input else row.instruction
        given = f"{language.question_word}: {asked}\n{language.answer_word}:"
        return [Segment(given, False), Segment(f" {row.output}", True)]

    def text(self, document: Document) -> list[Segment]:
        """Plain text, all learnt."""
        return [Segment(document.text, True)]

    def encode(self, rows: Sequence[list[Segment]], replay: bool = False) -> list[Example]:
        """Tokenise segment lists, many at once; BOS stands first, the end token last and is learnt."""
        examples = []
        for start in range(0, len(rows), PORTION):
            examples += self._encode(rows[start : start + PORTION], replay)
        return examples

    def _encode(self, rows: Sequence[list[Segment]], replay: bool) -> list[Example]:
        flat = [self._cut(row, index) for row in rows for index in range(len(row))]
        encoded = self.tokenizer(flat, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        examples, position = [], 0
        for row in rows:
            ids, learnt = [self.prefix_id], [False]
            for segment in row:
                ids += encoded[position]
                learnt += [segment.learnt] * len(encoded[position])
                position += 1
            ids.append(self.end_id)
            learnt.append(True)
            whole = all(segment.learnt for segment in row)
            examples.append(Example(np.array(ids, np.int32), np.array(learnt, np.bool_), replay, whole))
        return examples

    def _cut(self, row: list[Segment], index: int) -> str:
        """The text of a segment as it must be given to the tokenizer to be cut as it is within the whole."""
        text = row[index].text
        return text.removeprefix(" ") if index and self.adds_space else text


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
                fitting.append(Example(ids, learnt, example.replay))
        else:
            left_out += 1
    return fitting, left_out
