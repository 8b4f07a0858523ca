"""Tokens to words, with small tokenizers and with the real ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anukul.errors import UserError
from anukul.model.build import train_tokenizer
from anukul.probe.align import Aligned, align
from anukul.probe.treebank import Sentence, Word, read_treebank

PREFIX = 0
# For a few sentences of each treebank and tokenizer, by sentence id: the first and the last token of every word, token
# 0 being the prefix; null for a word without one. Worked out from bytes, not from offsets: the pieces' bytes put
# together are the text's, and a piece belongs to the word that has most of its bytes.
GOLDEN = Path(__file__).with_name("golden_align.json")
CROSSING = {("tokenizer/llama3/hf", "hi_pud"): (1466, 66)}


# The letters that byte-level BPE writes for bytes: those that can be seen are themselves, the others follow 256.
KEPT = [*range(33, 127), *range(161, 173), *range(174, 256)]
MOVED = [byte for byte in range(256) if byte not in KEPT]
BYTES = {chr(byte): byte for byte in KEPT} | {chr(256 + i): byte for i, byte in enumerate(MOVED)}


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
    return bytes(BYTES[c] for c in name)


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


def byte_fallback_tokenizer() -> Any:
    """As sentencepiece makes them: `▁` before words and text, and bytes for what is not in the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"acdotर",
        "▁a",
        "at",
        "cat",
    ]
    merges = [("▁", "a"), ("a", "t"), ("c", "at")]
    core = Tokenizer(
        models.BPE(
            {piece: number for number, piece in enumerate(pieces)},
            merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def test_bytes_that_stand_in_for_a_letter_go_to_its_word() -> None:
    tokenizer = byte_fallback_tokenizer()
    text = "राम a cat, गर्‍यो।"
    aligned = align(sentence(text, ["राम", "a", "cat", ",", "गर्‍यो", "।"]), tokenizer, PREFIX)
    assert tokenizer.convert_ids_to_tokens(aligned.ids[1:4].tolist()) == ["▁", "र", "<0xE0>"]
    # prefix, ▁, राम: र and two letters of three bytes, ▁a, ▁ cat, `,` as a byte, ▁, six letters, the danda
    runs = [(-1, 2), (0, 7), (1, 1), (-1, 1), (2, 1), (3, 1), (-1, 1), (4, 16), (5, 3)]
    assert aligned.word_of.tolist() == [word for word, count in runs for _ in range(count)]
    assert aligned.last.tolist() == [8, 9, 11, 12, 29, 32]
    assert check(aligned, tokenizer) == (0, 0)


def test_a_contraction_is_held_by_its_first_word_and_a_space_inside_by_its_word() -> None:
    tokenizer = byte_fallback_tokenizer()
    words = (Word("de", 0, 2, -1, ""), Word("le", 2, 2, -1, ""), Word("10 000", 3, 9, -1, ""))
    aligned = align(Sentence(0, "s", "du 10 000", words), tokenizer, PREFIX)
    assert aligned.word_of.tolist() == [-1, -1, 0, 0, -1, 2, 2, 2, 2, 2, 2]
    assert aligned.last.tolist() == [3, -1, 10]


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
    sentences = read_treebank(real_data / "treebank" / f"{treebank}-ud-test.conllu")
    assert len(sentences) >= 69
    found = [check(align(one, tokenizer, 1), tokenizer) for one in sentences]
    # Llama 3's split knows letters but not vowel signs: है। is ह + ै।, and the danda has no token of its own
    assert tuple(map(sum, zip(*found, strict=True))) == CROSSING.get((folder, treebank), (0, 0))


@pytest.mark.real
@pytest.mark.parametrize("folder", ["tokenizer/llama3/hf", "model/stories260K"])
def test_golden_spans(real_data: Path, folder: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(real_data / folder))
    for treebank, golden in json.loads(GOLDEN.read_text())[folder].items():
        held = {one.id: one for one in read_treebank(real_data / "treebank" / f"{treebank}-ud-test.conllu")}
        assert len(golden) >= 4
        for name, spans in golden.items():
            aligned = align(held[name], tokenizer, 1)
            assert len(spans) == len(held[name].words)
            for word, span in enumerate(spans):
                own = np.flatnonzero(aligned.word_of == word).tolist()
                assert own == ([] if span is None else list(range(span[0], span[1] + 1))), (name, word)
                assert aligned.last[word] == (-1 if span is None else span[1])


@pytest.mark.real
def test_a_real_sentence_whose_text_disagrees_is_named(real_data: Path, tmp_path: Path) -> None:
    text = (real_data / "treebank" / "ne_bk-ud-test.conllu").read_text(encoding="utf-8")
    blocks = text.split("\n\n")
    lines = blocks[3].split("\n")
    row = next(number for number, line in enumerate(lines) if line.startswith("4\t"))
    columns = lines[row].split("\t")
    columns[1] += "ले"
    lines[row] = "\t".join(columns)
    name = lines[0].removeprefix("# sent_id = ")
    path = tmp_path / "changed.conllu"
    path.write_text("\n\n".join([*blocks[:3], "\n".join(lines), *blocks[4:]]), encoding="utf-8")
    with pytest.raises(
        UserError, match=rf"sentence {name} \(line \d+\): text and forms disagree: .*{columns[1]}"
    ):
        read_treebank(path)
