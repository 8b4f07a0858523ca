"""Bases, tokenizers, adapters and 4 bits: the only package that imports transformers, peft or bitsandbytes."""
