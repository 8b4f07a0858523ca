"""Translation models of transformers, on tiny ones with random weights: Marian, M2M100 and NLLB's tokenizer."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    NllbTokenizer,
)

from anukul.config import TranslateSettings
from anukul.errors import UserError
from anukul.languages import load
from anukul.model.seq2seq import Draw, Seq2Seq
from anukul.synth.translate import make_translator

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")

SENTENCES = [
    "रामले भात खायो। सीता विद्यालय गइन् र किताब पढिन्।",
    "Ram ate rice. Sita went to school and read a book.",
] * 10
TEXTS = ["रामले भात खायो।", "सीता विद्यालय गइन् र किताब पढिन्।", "किताब"]
SMALL: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 128,
}


@pytest.fixture(scope="module")
def pieces() -> tuple[bytes, list[str]]:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=90,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    names = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    return model.getvalue(), [name for name in names if name not in ("<unk>", "<s>", "</s>")]


def settle(model: Any, end: int, bias: float) -> None:
    """Make a model end early, or never."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(torch.randn_like(weights) * 0.3)
        if model.final_logits_bias is not None:
            model.final_logits_bias[0, end] = bias


def marian(folder: Path, pieces: tuple[bytes, list[str]], bias: float, tags: tuple[str, ...] = ()) -> Path:
    folder.mkdir()
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(pieces[0])
    names = ["</s>", "<unk>", *pieces[1], *tags, "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    MarianTokenizer(
        source_spm=str(folder / "source.spm"),
        target_spm=str(folder / "target.spm"),
        vocab=str(folder / "vocab.json"),
    ).save_pretrained(folder)
    pad = len(names) - 1
    config = MarianConfig(
        vocab_size=len(names),
        pad_token_id=pad,
        eos_token_id=0,
        decoder_start_token_id=pad,
        forced_eos_token_id=0,
        **SMALL,
    )
    model = MarianMTModel(config)
    settle(model, 0, bias)
    model.generation_config.forced_eos_token_id = 0
    model.save_pretrained(folder)
    return folder


def translator(folder: Path, limit: int = 12, **more: Any) -> Any:
    settings = TranslateSettings(
        engine="transformers", model=str(folder), max_output_tokens=limit, batch_tokens=32, **more
    )
    return make_translator(settings, load("npi_Deva"), load("eng_Latn"), 0)


def test_a_forced_end_is_not_taken_for_one(tmp_path: Path, pieces: tuple[bytes, list[str]]) -> None:
    """Marian ships a forced end token: at the limit it would be written and the cut look like an end."""
    endless = translator(marian(tmp_path / "endless", pieces, -1000.0), 40)
    made = endless.translate(TEXTS[:1])
    assert [one.rule for one in made] == ["not_ended"] and made[0].tokens == 40
    # an end that the model chose is an end, even where it says nothing before
    ending = translator(marian(tmp_path / "ending", pieces, 4.0), 40)
    assert all(one.ended and one.tokens == 1 for one in ending.model.translate(TEXTS, 40))
    assert {one.rule for one in ending.translate(TEXTS)} == {"empty_translation"}


def test_batches_change_nothing_and_sampling_is_seeded(
    tmp_path: Path, pieces: tuple[bytes, list[str]]
) -> None:
    folder = str(marian(tmp_path / "m", pieces, 1.0))
    model = Seq2Seq(folder, ["ne"], ["en"])
    together = model.translate(TEXTS, 12)
    assert together == [model.translate([text], 12)[0] for text in TEXTS]
    wide = model.translate(TEXTS, 12, beam_size=3)
    assert wide == [model.translate([text], 12, beam_size=3)[0] for text in TEXTS]
    draw = Draw(2.0, 0, 1.0, 7)
    drawn = model.translate(TEXTS, 12, draw=draw)
    assert drawn == [model.translate([text], 12, draw=draw)[0] for text in TEXTS]
    assert drawn != model.translate(TEXTS, 12, draw=Draw(2.0, 0, 1.0, 8))


def test_tags_of_marian(tmp_path: Path, pieces: tuple[bytes, list[str]]) -> None:
    folder = str(marian(tmp_path / "m", pieces, 4.0, (">>eng<<", ">>hin<<")))
    assert Seq2Seq(folder, ["npi"], ["eng_Latn", "en", "eng"]).tag == ">>eng<< "
    with pytest.raises(UserError, match="translates into >>eng<< >>hin<<, not into deu_Latn"):
        Seq2Seq(folder, ["npi"], ["deu_Latn", "de"])


def test_languages_of_m2m100(tmp_path: Path, pieces: tuple[bytes, list[str]]) -> None:
    folder = tmp_path / "m2m"
    folder.mkdir()
    (folder / "sentencepiece.bpe.model").write_bytes(pieces[0])
    names = ["<s>", "<pad>", "</s>", "<unk>", *pieces[1]]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    tokenizer = M2M100Tokenizer(
        vocab_file=str(folder / "vocab.json"),
        spm_file=str(folder / "sentencepiece.bpe.model"),
        src_lang="en",
        tgt_lang="en",
    )
    tokenizer.save_pretrained(folder)
    model = M2M100ForConditionalGeneration(
        M2M100Config(vocab_size=max(tokenizer.lang_token_to_id.values()) + 9, **SMALL)
    )
    torch.manual_seed(0)
    model.save_pretrained(folder)
    made = translator(folder, 60)
    assert made.model.tokenizer.src_lang == "ne"
    assert made.model.forced == tokenizer.get_lang_id("en")
    (row,) = made.translate(TEXTS[:1])
    assert row.tokens and row.rule in ("", "not_ended")
    with pytest.raises(UserError, match="no language token for mai_Deva"):
        Seq2Seq(str(folder), ["mai_Deva"], ["en"])


def test_languages_of_nllb(tmp_path: Path) -> None:
    folder = tmp_path / "nllb"
    folder.mkdir()
    letters = sorted({letter for text in SENTENCES for letter in text} | {"▁"})
    names = ["<s>", "<pad>", "</s>", "<unk>", *letters]
    NllbTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[]).save_pretrained(folder)
    model = M2M100ForConditionalGeneration(M2M100Config(vocab_size=len(names) + 210, **SMALL))
    model.save_pretrained(folder)
    made = Seq2Seq(str(folder), ["npi_Deva", "ne"], ["eng_Latn", "en"])
    vocabulary = made.tokenizer.get_vocab()
    ids = made.tokenizer(TEXTS[0])["input_ids"]
    assert ids[0] == vocabulary["npi_Deva"] and ids[-1] == made.tokenizer.eos_token_id
    assert made.forced == vocabulary["eng_Latn"]
    (one,) = made.translate([TEXTS[0]], 5)
    assert one.tokens == 5 or one.ended
    assert "eng_Latn" not in one.text


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be loaded as a translation model"):
        translator(folder)
    with pytest.raises(UserError, match="no transformers model"):
        translator(tmp_path)
    with pytest.raises(UserError, match="runs code from its folder"):
        translator(folder, family="indictrans2")
