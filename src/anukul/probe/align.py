"""Words and tokens: which word each token belongs to, by the character offsets of the fast tokenizer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul.errors import UserError
from anukul.probe.treebank import Sentence


@dataclass(frozen=True, slots=True)
class Aligned:
    """A tokenised sentence; token 0 is the prefix (BOS).

    `word_of` is `[tokens]`: the word each token belongs to, -1 for the prefix and for white space.
    `last` is `[words]`: the last token of each word, -1 where the word has no token of its own.
    """

    sentence: Sentence
    ids: NDArray[np.int64]
    word_of: NDArray[np.int64]
    last: NDArray[np.int64]


def align(sentence: Sentence, tokenizer: Any, prefix_id: int) -> Aligned:
    """Tokenise a sentence's text as it stands and give each token to at most one word.

    A byte-level BPE may cut one letter into several tokens, whose spans are then equal: all go to the
    letter's word. A token over several words goes to the one it covers most of (the first of equals); a word
    that is left without a token has `last` -1. A space inside a word (`10 000`) belongs to it, one between words to
    none.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            "probe: the tokenizer gives no character offsets; put a tokenizer.json beside the base"
        )
    # verbose=False: sentences beyond the window are counted by the step, the tokenizer need not warn
    encoded = tokenizer(sentence.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids = [int(i) for i in encoded["input_ids"]]
    owner = _owners(sentence)
    word_of = [-1]
    for token, (start, end) in zip(ids, encoded["offset_mapping"], strict=True):
        covered = owner[start:end]
        covered = covered[covered >= 0]
        # sentencepiece puts a space of its own before the text and gives it the first letter's offsets
        added = bool(sentence.text[start:end].strip()) and not tokenizer.decode([token]).strip()
        if added or len(covered) == 0:
            word_of.append(-1)
        else:
            word_of.append(int(np.bincount(covered).argmax()))
    belongs = np.array(word_of)
    last = np.full(len(sentence.words), -1)
    held = np.flatnonzero(belongs >= 0)
    np.maximum.at(last, belongs[held], held)
    return Aligned(sentence, np.array([prefix_id, *ids]), belongs, last)


def _owners(sentence: Sentence) -> NDArray[np.int64]:
    """Return `[characters]`: the word that holds each character, -1 for none."""
    owner = np.full(len(sentence.text), -1)
    for index, word in enumerate(sentence.words):
        owner[word.start : word.end] = index
    return owner
