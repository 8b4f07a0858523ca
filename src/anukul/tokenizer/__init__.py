"""How a tokenizer cuts a language, what more pieces would change, and the files of a tokenizer with more pieces."""
