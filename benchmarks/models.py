"""The random models that benchmarks run."""

from typing import Any

# 58 M parameters, input and output embeddings of their own
HIDDEN, LAYERS, HEADS, VOCABULARY = 512, 8, 8, 32_000


def llama_58m(max_positions: int = 2048) -> Any:
    """A random Llama in fp32."""
    from anukul.model.build import build_llama

    return build_llama(VOCABULARY, HIDDEN, LAYERS, HEADS, 0, max_positions=max_positions, tied=False)
