"""anukul: adapt an open causal LLM to a low-resource language, and measure honestly what it cost."""

__version__ = "0.1.0"
