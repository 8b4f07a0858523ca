"""How an adapter leaves the run folder: merged, as GGUF, by itself, on the hub; checked before it is called done."""
