"""More pieces: other text is cut as before, the script's text in fewer pieces, and the files agree."""

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tokenizers import ENGLISH, NEPALI, make_sentencepiece
from tokenizers import Tokenizer

from anukul.errors import UserError
from anukul.model.build import train_tokenizer
from anukul.tokenizer.files import read_tokenizer
from anukul.tokenizer.grow import grow
from anukul.tokenizer.learn import Extension, Learner, check_scripts, write_files
from anukul.tokenizer.script import Script, bytes_of

FLORES = "parallel/flores200/{}.devtest"


def tokenizer(data: Any) -> Any:
    return Tokenizer.from_str(json.dumps(data))


def ids(one: Any, text: str) -> list[int]:
    found: list[int] = one.encode(text, add_special_tokens=False).ids
    return found


def byte_level() -> dict[str, Any]:
    """Byte-level BPE that has seen English only: three tokens for every letter of Devanagari."""
    data: dict[str, Any] = json.loads(train_tokenizer(ENGLISH, 420).backend_tokenizer.to_str())
    return data


BYTE_LEVEL = byte_level()
FIRST = 430  # rows of the embeddings: a few more than there are tokens, as in many bases


def extend(
    data: Any, texts: list[str], script: str, count: int, min_count: int, first_id: int, whole_words: bool
) -> Extension:
    return Learner(data, texts, script, whole_words).extend(count, min_count, first_id)


def more(data: dict[str, Any], count: int = 120, **kwargs: Any) -> Extension:
    asked = {"min_count": 2, "first_id": FIRST, "whole_words": True, **kwargs}
    return extend(data, NEPALI, "Devanagari", count, **asked)


EXTENDED = more(BYTE_LEVEL)
OLD, NEW = tokenizer(BYTE_LEVEL), tokenizer(EXTENDED.data)


def test_new_pieces_shorten_the_language_and_decode_to_the_same_text() -> None:
    assert len(EXTENDED.growth.pieces) == 120
    for text in NEPALI[:3]:
        assert len(ids(NEW, text)) < len(ids(OLD, text)) / 3
        assert NEW.decode(ids(NEW, text)) == text
    used = {token for text in NEPALI for token in ids(NEW, text) if token >= FIRST}
    assert used and max(used) < FIRST + 120


# the danda, of no script of its own, begins with the bytes that begin Devanagari's vowel signs
OTHER = st.characters(codec="utf-8").filter(
    lambda letter: not Script("Devanagari").within(letter) and letter not in "।॥"
)


@given(st.text(OTHER, max_size=60))
@settings(max_examples=300, deadline=None)
def test_text_without_the_script_is_cut_as_before(text: str) -> None:
    assert ids(NEW, text) == ids(OLD, text)


def test_english_beside_the_script_is_cut_as_before() -> None:
    for text in ENGLISH[:4]:
        assert ids(NEW, text) == ids(OLD, text)
        both = ids(NEW, f"{text} {NEPALI[0]}")
        assert both[: len(ids(OLD, text))] == ids(OLD, text)


def test_special_tokens_keep_their_ids_and_holes_are_filled() -> None:
    assert NEW.token_to_id("<|begin_of_text|>") == OLD.token_to_id("<|begin_of_text|>")
    assert ids(NEW, "<|end_of_text|>") == [OLD.token_to_id("<|end_of_text|>")]
    assert NEW.get_vocab_size() == FIRST + 120
    assert sorted(NEW.get_vocab().values()) == list(range(FIRST + 120))


def test_the_counts_of_the_trainer_are_those_of_the_library() -> None:
    # the danda belongs to many scripts: alone it is no word that pieces are learnt from
    found = [token for text in NEPALI for token in ids(NEW, text.replace("।", ""))]
    assert [found.count(FIRST + index) for index in range(120)] == list(EXTENDED.growth.uses)


def test_a_new_piece_begins_with_a_letter_and_is_made_of_its_old_pieces() -> None:
    for piece, old in zip(EXTENDED.growth.pieces, EXTENDED.made_of, strict=True):
        data = bytes_of(piece) or b""
        assert Script("Devanagari").owns(data)
        joined = b"".join(bytes_of(OLD.id_to_token(token)) or b"" for token in old)
        assert joined == data and len(old) > 1


def test_words_stay_whole_only_when_asked() -> None:
    data = json.loads(json.dumps(BYTE_LEVEL))
    # Llama 3's split: a run of letters ends before a vowel sign
    split = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+"
    data["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": split}
    apart, whole = more(data, whole_words=False), more(data)
    assert whole.whole_words and not apart.whole_words
    assert apart.data["pre_tokenizer"] == data["pre_tokenizer"]
    sizes = [sum(len(ids(tokenizer(one.data), text)) for text in NEPALI) for one in (apart, whole)]
    assert sizes[1] < 0.8 * sizes[0]
    for text in ENGLISH[:4]:
        assert ids(tokenizer(whole.data), text) == ids(tokenizer(data), text)


def test_the_split_of_gpt2_that_is_built_in_is_written_out() -> None:
    data = json.loads(json.dumps(BYTE_LEVEL))
    data["pre_tokenizer"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    made = more(data)
    assert made.whole_words
    for text in [*ENGLISH[:4], "it's 25% of 3.14;\n\n  tabs\tand 'quotes'  "]:
        assert ids(tokenizer(made.data), text) == ids(tokenizer(data), text)
    assert tokenizer(made.data).decode(ids(tokenizer(made.data), NEPALI[0])) == NEPALI[0]


def test_the_same_text_gives_the_same_pieces_whatever_its_order() -> None:
    again = extend(BYTE_LEVEL, NEPALI[::-1], "Devanagari", 120, 2, FIRST, True)
    assert again.growth == EXTENDED.growth and again.data == EXTENDED.data


def test_a_pair_that_is_rare_is_not_made() -> None:
    words = {("a", "b", "c"): 5, ("a", "b"): 2, ("x", "y"): 1}
    grown = grow(words, {"a", "b", "c", "x", "y"}, lambda piece: True, 10, 2)
    assert grown.pieces == ("ab", "abc") and grown.merges == (("a", "b"), ("ab", "c"))
    assert grown.uses == (2, 5)
    assert grow(words, {"a", "b", "c"}, lambda piece: piece != "ab", 1, 2).pieces == ("bc",)


def test_what_cannot_be_extended_is_refused() -> None:
    with pytest.raises(UserError, match="both written in Devanagari"):
        check_scripts("npi_Deva", "hin_Deva")
    with pytest.raises(UserError, match="no new piece of the script Devanagari"):
        extend(BYTE_LEVEL, ENGLISH, "Devanagari", 10, 2, FIRST, True)


def test_beginnings_of_letters_that_scripts_share_are_not_owned() -> None:
    script = Script("Devanagari")
    assert script.owns("क".encode()[:2]) and script.owns(" कि".encode())
    assert not script.owns("का".encode()[:5])  # a piece that ends inside a letter would tear it
    assert not script.owns("क".encode()[:1])  # E0 begins Bengali too
    assert not script.owns("क".encode()[1:]) and not script.owns("।".encode()) and not script.owns(b"the")
    assert Script("Latin").owns("é".encode())


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_sentencepiece_models_are_extended_in_both_files(tmp_path: Path, kind: str) -> None:
    old = make_sentencepiece(tmp_path / "old", kind)
    data = read_tokenizer(old)
    before = tokenizer(data)
    first = before.get_vocab_size() + 3
    made = extend(data, NEPALI, "Devanagari", 150, 2, first, True)
    new = tmp_path / "new"
    new.mkdir()
    write_files(made, old, new)
    after = Tokenizer.from_file(str(new / "tokenizer.json"))
    own = sentencepiece.SentencePieceProcessor(model_file=str(new / "tokenizer.model"))
    reference = sentencepiece.SentencePieceProcessor(model_file=str(old / "tokenizer.model"))
    for text in ENGLISH[:4]:
        assert ids(after, text) == ids(before, text) == reference.encode(text) == own.encode(text)
    for text in NEPALI[:3]:
        assert len(ids(after, text)) < len(ids(before, text)) / 5
        assert after.decode(ids(after, text)) == text
        assert own.encode(text) == ids(after, text)
    assert (new / "tokenizer.model").read_bytes().startswith((old / "tokenizer.model").read_bytes())
    assert own.get_piece_size() == first + len(made.growth.pieces)
    assert all(len(old_ids) > 1 for old_ids in made.made_of)


@pytest.mark.real
def test_llama_3_cuts_real_english_as_before(real_data: Path) -> None:
    data = read_tokenizer(real_data / "tokenizer/llama3/hf")
    texts = (real_data / "parallel/tico19/tico19-test.nep").read_text(encoding="utf-8").splitlines()
    made = extend(data, texts, "Devanagari", 1000, 5, 128_256, True)
    before, after = tokenizer(data), tokenizer(made.data)
    english = (real_data / FLORES.format("eng_Latn")).read_text(encoding="utf-8").splitlines()
    nepali = (real_data / FLORES.format("npi_Deva")).read_text(encoding="utf-8").splitlines()
    assert len(english) == len(nepali) == 1012
    old, new = (one.encode_batch(english, add_special_tokens=False) for one in (before, after))
    assert all(left.ids == right.ids for left, right in zip(old, new, strict=True))
    words = sum(len(line.split()) for line in nepali)
    tokens = [
        sum(len(item.ids) for item in one.encode_batch(nepali, add_special_tokens=False))
        for one in (before, after)
    ]
    assert 3.7 < tokens[0] / words < 3.8 and tokens[1] / words < 2.8
    assert all(
        after.decode(item.ids) == line
        for line, item in zip(
            nepali[:200], after.encode_batch(nepali[:200], add_special_tokens=False), strict=True
        )
    )
    assert after.token_to_id("<|begin_of_text|>") == 128_000 and after.get_vocab_size() == 129_256


@pytest.mark.real
def test_a_real_sentencepiece_model_cuts_real_english_as_before(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "model/stories260K"
    data = read_tokenizer(folder)
    texts = (real_data / "parallel/tico19/tico19-test.nep").read_text(encoding="utf-8").splitlines()
    made = extend(data, texts, "Devanagari", 1000, 5, 512, True)
    write_files(made, folder, tmp_path)
    before, after = tokenizer(data), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    own = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    for name in ("eng_Latn", "npi_Deva"):
        lines = (real_data / FLORES.format(name)).read_text(encoding="utf-8").splitlines()
        new = after.encode_batch(lines, add_special_tokens=False)
        if name == "eng_Latn":
            old = before.encode_batch(lines, add_special_tokens=False)
            assert all(left.ids == right.ids for left, right in zip(old, new, strict=True))
        else:
            same = sum(own.encode(line) == item.ids for line, item in zip(lines, new, strict=True))
            assert same > 0.98 * len(lines)
