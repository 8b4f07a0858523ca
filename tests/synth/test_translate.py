import sys
from pathlib import Path

import pytest

from anukul.config import TranslateSettings
from anukul.errors import UserError
from anukul.languages import load
from anukul.synth.translate import CTranslate2Translator

NEPALI = load("npi_Deva")
TEXTS = [
    "रामले भात खायो।",
    "सीता विद्यालय गइन्।",
    "किताब पढिन्।",
    "किसानले मकै रोप्यो।",
    "केटाकेटीहरू खोलामा खेल्छन्।",
    "म घर जान्छु।",
]


def make(
    model: Path, max_output_tokens: int = 40, target_prefix: tuple[str, ...] = ()
) -> CTranslate2Translator:
    settings = TranslateSettings(
        model=str(model),
        max_output_tokens=max_output_tokens,
        source_prefix=("npi_Deva",),
        target_prefix=target_prefix,
        batch_tokens=64,
    )
    return CTranslate2Translator(settings, NEPALI)


def test_what_ends_is_known_from_what_is_cut(
    ending_model: Path, cutting_model: Path, endless_model: Path
) -> None:
    assert all(item.ended and item.text for item in make(ending_model).translate(TEXTS))
    assert {item.ended for item in make(cutting_model).translate(TEXTS)} == {True, False}
    cut = make(endless_model).translate(TEXTS)
    assert not any(item.ended for item in cut)
    assert {item.tokens for item in cut} == {40}


def test_the_order_is_kept_and_batches_change_nothing(cutting_model: Path) -> None:
    translator = make(cutting_model)
    together = translator.translate(TEXTS)
    assert together == [translator.translate([text])[0] for text in TEXTS]
    assert len({item.text for item in together}) > 2


def test_the_target_prefix_is_not_part_of_the_text(ending_model: Path) -> None:
    for item in make(ending_model, target_prefix=("eng_Latn",)).translate(TEXTS):
        assert item.ended
        assert "eng_Latn" not in item.text


def test_lines_stay_lines(ending_model: Path) -> None:
    translator = make(ending_model)
    first, second = translator.translate(TEXTS[:2])
    both = translator.translate([f"{TEXTS[0]}\n{TEXTS[1]}"])[0]
    assert both.text == f"{first.text}\n{second.text}"
    assert both.tokens == first.tokens + second.tokens


def test_a_long_text_is_cut_at_its_sentences(ending_model: Path) -> None:
    translator = make(ending_model, max_output_tokens=40)
    pieces = translator._cut(" ".join(TEXTS))
    assert len(pieces) > 1
    assert all(len(tokens) <= 20 or tokens[-1] == "।" for tokens in pieces)
    decoded = [translator.source_pieces.decode(tokens) for tokens in pieces]
    assert " ".join(decoded) == " ".join(TEXTS)
    assert all(piece.endswith("।") for piece in decoded)
    alone = translator.translate(decoded)
    whole = translator.translate([" ".join(TEXTS)])[0]
    assert whole.text == " ".join(item.text for item in alone)
    assert whole.ended == all(item.ended for item in alone)


def test_a_sentence_beyond_the_limit_is_not_sent_and_not_ended(ending_model: Path) -> None:
    long = "केटाकेटीहरू खोलामा " * 40 + "खेल्छन्।"
    first, second = make(ending_model).translate([f"{TEXTS[0]} {long}", TEXTS[0]])
    assert not first.ended
    assert second.ended
    assert first.text == second.text


def test_no_text_is_no_translation(ending_model: Path) -> None:
    (item,) = make(ending_model).translate([""])
    assert (item.text, item.ended, item.tokens) == ("", True, 0)
    assert make(ending_model).translate([]) == []


def test_what_is_missing_is_named(
    ending_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no CTranslate2 model"):
        make(tmp_path)
    (tmp_path / "model.bin").write_bytes((ending_model / "model.bin").read_bytes())
    with pytest.raises(UserError, match="no sentencepiece model"):
        make(tmp_path)
    (tmp_path / "own.model").write_bytes((ending_model / "sentencepiece.bpe.model").read_bytes())
    for name in ("config.json", "shared_vocabulary.json"):
        (tmp_path / name).write_bytes((ending_model / name).read_bytes())
    assert make(tmp_path).translate(TEXTS) == make(ending_model).translate(TEXTS)
    (tmp_path / "model.bin").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot load it"):
        make(tmp_path)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(UserError, match=r"ctranslate2: pip install anukul\[mt\]"):
        make(ending_model)


def test_the_engine_cuts_no_input(cutting_model: Path) -> None:
    endings = [TEXTS[0], TEXTS[4], "उनले किताब पढिन्।", TEXTS[5], "मकै।"]
    translations = make(cutting_model, max_output_tokens=120).translate(
        [f"घर घर घर {text}" for text in endings]
    )
    assert len({item.text for item in translations}) == len(endings)
