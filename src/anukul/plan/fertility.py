"""How the base's tokenizer cuts the two languages, measured on the held-out lines of the config."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.config import RunConfig, resolve
from anukul.errors import UserError

SAMPLE_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Fertility:
    """How a tokenizer cuts one language's text."""

    language: str
    name: str  # of the text it was measured on
    lines: int
    words: int  # whitespace words
    tokens: int

    @property
    def tokens_per_word(self) -> float:
        """Tokens per whitespace word."""
        return self.tokens / self.words

    @property
    def tokens_per_line(self) -> float:
        """Tokens per line."""
        return self.tokens / self.lines


def measure_fertility(tokenizer: Any, path: Path, language: str, name: str) -> Fertility:
    """Tokenise the lines of a file (its first 4 MB); raise UserError when it holds no words."""
    with path.open("rb") as file:
        text = file.read(SAMPLE_BYTES).decode("utf-8", errors="ignore")
    lines = [line for line in text.splitlines() if line.strip()]
    words = sum(len(line.split()) for line in lines)
    if not words:
        raise UserError(f"{path}: no words in it to measure the tokenizer on")
    tokens = sum(len(ids) for ids in tokenizer(lines, add_special_tokens=False)["input_ids"])
    return Fertility(language, name, len(lines), words, tokens)


def measure_held_out(config: RunConfig, tokenizer: Any) -> dict[str, Fertility]:
    """Return fertility by language, on the first held-out text of each that is there."""
    found: dict[str, Fertility] = {}
    for text in config.evaluate.bits_per_byte if config.evaluate else ():
        path = resolve(text.path)
        if path.exists() and text.language not in found:
            found[text.language] = measure_fertility(tokenizer, path, text.language, text.name)
    return found
