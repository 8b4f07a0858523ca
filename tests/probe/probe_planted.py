"""A tiny Llama with heads set by hand, and a treebank of which those heads know the grammar.

The language: `d` stands before every noun, a noun `n3` is the subject of the verb `v3` at any distance before it,
`a` to `f` are fillers that hang on the verb without pattern.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anukul.model.build import BOS, EOS, PAD, build_llama, save_base

PAIRS = 8
FILLERS = "abcdef"
WORDS = [BOS, EOS, PAD, "d", *FILLERS, *(f"n{i}" for i in range(PAIRS)), *(f"v{i}" for i in range(PAIRS))]
SPARE = [f"x{i}" for i in range(100 - len(WORDS))]  # never written: a scorer tries itself on a hundred tokens
HIDDEN, HEADS, SIZE = 64, 4, 16
SUBJECT = (1, 2)  # layer, head that finds the subject of a verb
PREVIOUS = (0, 3)  # layer, head that looks one token back
THIRD = (0, 1)  # layer, head that looks three tokens back, where a test plants it


def word_tokenizer() -> Any:
    """One token per word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS + SPARE)}, unk_token=PAD))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=BOS, eos_token=EOS, pad_token=PAD)


def plain_model() -> Any:
    """Random weights, but dimension 0 of every embedding is 1 and each noun and verb has a dimension of its own."""
    model = build_llama(
        len(WORDS + SPARE), HIDDEN, layers=2, heads=HEADS, key_value_heads=HEADS, seed=5, max_positions=64
    )
    # so slow a rotation in half of the frequencies that content is compared over any distance
    model.config.rope_parameters["rope_theta"] = 1e9
    embeddings = model.get_input_embeddings().weight.data
    embeddings.mul_(0.5)
    embeddings[:, 0] = 1.0
    embeddings[:, 1 : 1 + 2 * PAIRS] = 0.0
    for i in range(PAIRS):
        embeddings[WORDS.index(f"n{i}"), 1 + i] = 1.0
        embeddings[WORDS.index(f"v{i}"), 1 + PAIRS + i] = 1.0
    return model


def subject_weights() -> tuple[torch.Tensor, torch.Tensor]:
    """Query and key weights `[hidden, hidden]` to add in layer SUBJECT[0]: verb i asks for noun i."""
    query, key = torch.zeros(HIDDEN, HIDDEN), torch.zeros(HIDDEN, HIDDEN)
    # the slow half of each half of a head's dimensions, as rotated in pairs (k, k + SIZE / 2)
    slow = [k for k in range(SIZE) if k % (SIZE // 2) >= SIZE // 4]
    for i, k in enumerate(slow):
        query[SUBJECT[1] * SIZE + k, 1 + PAIRS + i] = 4.0
        key[SUBJECT[1] * SIZE + k, 1 + i] = 4.0
    return query, key


def plant_offset(model: Any, layer: int, head: int, back: int) -> None:
    """Make a head attend to the token `back` before, by the phase between query and key in the rotation."""
    attention = model.model.layers[layer].self_attn
    rows = slice(head * SIZE, (head + 1) * SIZE)
    query, key = attention.q_proj.weight.data[rows], attention.k_proj.weight.data[rows]
    query.zero_()
    key.zero_()
    half = SIZE // 2
    frequencies = 1e9 ** (-torch.arange(half) / half)
    # q at i is turned by i·f, k at j by j·f: their product is largest where i - j - back = 0
    query[:half, 0] = 6.0 * torch.cos(-back * frequencies)
    query[half:, 0] = 6.0 * torch.sin(-back * frequencies)
    key[:half, 0] = 6.0


def plant_copy(model: Any) -> None:
    """Make head SUBJECT say which noun it looks at, so loudly that the model would write it next."""
    attention = model.model.layers[SUBJECT[0]].self_attn
    rows = slice(SUBJECT[1] * SIZE, (SUBJECT[1] + 1) * SIZE)
    attention.v_proj.weight.data[rows] = 0.0
    attention.o_proj.weight.data[:, rows] = 0.0
    for i in range(PAIRS):
        attention.v_proj.weight.data[SUBJECT[1] * SIZE + i, 1 + i] = 1.0
        attention.o_proj.weight.data[1 + i, SUBJECT[1] * SIZE + i] = 4.0


def pairs_jsonl(count: int, seed: int) -> str:
    """Minimal pairs: after a verb its subject is named again, and not the other noun; two pairs share a frame."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        subject, other = (int(i) for i in rng.permutation(PAIRS)[:2])
        nouns = [subject, other] if number % 2 else [other, subject]
        start = (
            f"d n{nouns[0]} {rng.choice(list(FILLERS))} d n{nouns[1]} {rng.choice(list(FILLERS))} v{subject}"
        )
        row = {
            "id": f"p{number}",
            "good": f"{start} n{subject}",
            "bad": f"{start} n{other}",
            "phenomenon": "near" if number % 4 < 2 else "far",
            "cluster": f"f{number // 2}",
        }
        rows.append(json.dumps(row))
    return "\n".join(rows) + "\n"


def save_planted(folder: Path) -> None:
    """Save the base with the previous-token head; nothing in it knows subjects, but one head could name them."""
    model = plain_model()
    plant_offset(model, *PREVIOUS, back=1)
    plant_copy(model)
    save_base(model, word_tokenizer(), folder)


def conllu(count: int, seed: int) -> str:
    """The treebank: `d n_i … fillers … v_i …` with two other nouns about, in an order drawn at random."""
    rng = np.random.default_rng(seed)
    blocks = []
    for number in range(count):
        nouns = [int(i) for i in rng.permutation(PAIRS)[:3]]
        before = [*(f"n{i}" for i in nouns), *rng.choice(list(FILLERS), int(rng.integers(1, 4)))]
        rng.shuffle(before)
        words = [w for word in before for w in (["d", word] if word[0] == "n" else [word])]
        verb = len(words) + 1
        words.append(f"v{nouns[0]}")
        rows = []
        for i, word in enumerate(words, start=1):
            head, relation = verb, "advmod"
            if word == "d":
                head, relation = i + 1, "det"
            elif i == verb:
                head, relation = 0, "root"
            elif word[0] == "n":
                relation = "nsubj" if word == f"n{nouns[0]}" else "obl"
            rows.append("\t".join([str(i), word, "_", "X", "_", "_", str(head), relation, "_", "_"]))
        blocks.append("\n".join([f"# sent_id = s{number}", f"# text = {' '.join(words)}", *rows]) + "\n\n")
    return "".join(blocks)
