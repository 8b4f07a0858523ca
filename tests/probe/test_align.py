"""Tokens to words, with small tokenizers and with the real ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anukul.errors import UserError
from anukul.model.build import train_tokenizer
from anukul.probe.align import Aligned, align
from anukul.probe.treebank import Sentence, Word, read_treebank

PREFIX = 0
CROSSING = {("tokenizer/llama3/hf", "hi_pud"): (418, 10)}


def sentence(text: str, forms: list[str]) -> Sentence:
    words, position = [], 0
    for form in forms:
        start = text.index(form, position)
        position = start + len(form)
        words.append(Word(form, start, position, -1, ""))
    return Sentence(0, "s", text, tuple(words))


def bytes_of(tokenizer: Any, token: int) -> bytes:
    """The bytes a token stands for, read from its name: an independent way from words to tokens."""
    name = tokenizer.convert_ids_to_tokens(token)
    if name.startswith("<0x"):
        return bytes([int(name[3:5], 16)])
    if tokenizer.convert_tokens_to_ids("<0x0A>") != tokenizer.unk_token_id:
        return str(name).replace("▁", " ").encode()
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [b for b in range(256) if b not in kept]
    table = {chr(b): b for b in kept} | {chr(256 + i): b for i, b in enumerate(moved)}
    return bytes(table[c] for c in name)


def check(aligned: Aligned, tokenizer: Any) -> tuple[int, int]:
    """Check that words are spelled by their tokens, byte for byte.

    Returns how many marks share a token of the word before, and how many words lose or gain a letter because a
    token crosses a border inside a run without spaces (`-स` in 10-सप्ताह).
    """
    crossed = 0
    assert aligned.word_of[0] == -1
    words = aligned.sentence.words
    shared = np.flatnonzero(aligned.last < 0)
    assert all(words[i].relation == "punct" and words[i].start == words[i - 1].end for i in shared)
    assert (np.diff(aligned.word_of[aligned.word_of >= 0]) >= 0).all()
    for index, word in enumerate(words):
        if index in shared:
            continue
        spelled, after = word.form, index + 1
        while after in shared:
            spelled, after = spelled + words[after].form, after + 1
        own = np.flatnonzero(aligned.word_of == index)
        assert aligned.last[index] == own[-1]
        found = b"".join(bytes_of(tokenizer, int(aligned.ids[t])) for t in own).strip()
        if found != spelled.encode():
            text, before = aligned.sentence.text, word.start > 0
            attached = (before and not text[word.start - 1].isspace()) or not text[word.end].isspace()
            assert attached, (word, found)
            crossed += 1
    none = [bytes_of(tokenizer, int(t)) for t in aligned.ids[1:][aligned.word_of[1:] < 0]]
    assert b"".join(none).strip() == b""
    return len(shared), crossed


def test_letters_cut_into_bytes_go_to_their_word() -> None:
    tokenizer = train_tokenizer(["plain english text only"], 270)
    aligned = align(sentence("राम  घर गयो।", ["राम", "घर", "गयो", "।"]), tokenizer, PREFIX)
    assert len(aligned.ids) > 30  # three bytes a letter, hardly a merge
    assert check(aligned, tokenizer) == (0, 0)


def test_a_token_over_two_words_goes_to_one_and_the_other_has_none() -> None:
    tokenizer = train_tokenizer(['he said ." and she said ." then ."'] * 5, 300)
    text = 'he said ."'
    shared = sentence(text, ["he", "said", ".", '"'])
    aligned = align(shared, tokenizer, PREFIX)
    assert tokenizer.convert_ids_to_tokens(int(aligned.ids[-1])) == 'Ġ."'
    assert aligned.word_of[-1] == 2
    assert aligned.last[3] == -1


def test_a_tokenizer_without_offsets_is_refused() -> None:
    with pytest.raises(UserError, match="no character offsets"):
        align(sentence("a", ["a"]), object(), PREFIX)


@pytest.mark.real
@pytest.mark.parametrize("treebank", ["ne_bk", "hi_pud"])
@pytest.mark.parametrize("folder", ["tokenizer/llama3/hf", "model/stories260K"])
def test_real_tokenizers_on_real_treebanks(real_data: Path, folder: str, treebank: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(real_data / folder))
    sentences = read_treebank(real_data / "treebank" / f"{treebank}-ud-test.conllu", 300)
    assert len(sentences) >= 69
    found = [check(align(one, tokenizer, 1), tokenizer) for one in sentences]
    # Llama 3's split knows letters but not vowel signs: है। is ह + ै।, and the danda has no token of its own
    assert tuple(map(sum, zip(*found, strict=True))) == CROSSING.get((folder, treebank), (0, 0))
