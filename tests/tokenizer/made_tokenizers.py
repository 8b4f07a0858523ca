"""Sentencepiece tokenizers made from nothing, as tokenizer.json and tokenizer.model."""

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece

from anukul.tokenizer.files import read_sentencepiece

ENGLISH = [
    "Ram eats rice in the village. Sita went to school and read a book.",
    "The farmer planted maize near the river. Do you drink tea?",
    "The children play in the rain; nobody else is there to see them.",
    "A teacher from the mountains bought 25 books at the market yesterday.",
] * 8
NEPALI = [
    "रामले गाउँमा भात खायो। सीता विद्यालय गई र किताब पढी।",
    "किसानले मकै रोप्यो। के तपाईं चिया पिउनुहुन्छ? केटाकेटीहरू खोलामा खेल्छन्।",
    "क्षेत्रको विद्यालयमा धेरै विद्यार्थी छन्, शिक्षकले किताब किन्यो।",
] * 12


def make_sentencepiece(folder: Path, kind: str) -> Path:
    """Train a model that knows English only and spells the rest in bytes; write both of its files."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH),
        model_writer=made,
        model_type=kind,
        vocab_size=330,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    pieces = read_sentencepiece(made.getvalue())
    (folder / "tokenizer.json").write_text(json.dumps(_as_json(pieces, kind)), encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _as_json(pieces: list[tuple[str, float]], kind: str) -> dict[str, Any]:
    """The tokenizer.json of a sentencepiece model, as transformers converts one."""
    names = [piece for piece, _ in pieces]
    if kind == "unigram":
        model = {
            "type": "Unigram",
            "unk_id": 0,
            "vocab": [list(item) for item in pieces],
            "byte_fallback": True,
        }
    else:
        known = set(names)
        merges = [
            [name[:place], name[place:]]
            for name in names
            for place in range(1, len(name))
            if not name.startswith("<") and name[:place] in known and name[place:] in known
        ]
        model = {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {name: index for index, name in enumerate(names)},
            "merges": merges,
        }
    special = [
        {
            "id": index,
            "content": names[index],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for index in range(3)
    ]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": model,
    }
