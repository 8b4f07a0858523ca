"""Make small bases from nothing: a byte-level BPE tokenizer and a Llama with random weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

BOS, EOS, PAD = "<|begin_of_text|>", "<|end_of_text|>", "<|pad|>"


def train_tokenizer(texts: Iterable[str], vocabulary: int, max_positions: int = 1024) -> Any:
    """Train a byte-level BPE tokenizer (as Llama 3's kind) of `vocabulary` tokens; the same texts give the same one."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # Words with their leading space, single digits, runs of punctuation, white space: Llama 3's split in short.
    pattern = Regex(r"[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    bos_id = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, bos_id)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=max_positions,
        clean_up_tokenization_spaces=False,
    )


def build_llama(
    vocabulary: int,
    hidden: int,
    layers: int,
    heads: int,
    seed: int,
    key_value_heads: int | None = None,
    intermediate: int | None = None,
    max_positions: int = 1024,
    tied: bool = True,
    attention: str = "sdpa",
) -> Any:
    """Build a Llama in fp32 with random weights drawn from `seed`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate or (hidden * 8 // 3 + 31) // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads or heads,
        max_position_embeddings=max_positions,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        attn_implementation=attention,
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config)


def save_base(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save model and tokenizer as an ordinary Hugging Face folder."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    model.save_pretrained(str(folder), safe_serialization=True)
    tokenizer.save_pretrained(str(folder))
