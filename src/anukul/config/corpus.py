"""`corpus`: the text that is read."""

from typing import Literal

from pydantic import Field

from anukul.config.section import Section


class TextInput(Section):
    """One input of text: a file, or a glob; rows are documents."""

    path: str
    format: Literal["auto", "txt", "jsonl", "csv", "parquet"] = "auto"
    text_column: str = "text"
    source: str = "unknown"
    license: str = "unknown"
    limit: int | None = Field(None, ge=1, description="read at most this many documents")
    skip: int = Field(0, ge=0, description="leave out this many documents first, such as held-out lines")


class CorpusSettings(Section):
    """`corpus`: read, normalise, check the language, drop exact duplicates."""

    inputs: tuple[TextInput, ...] = Field(min_length=1)
    replay: tuple[TextInput, ...] = Field((), description="text of the base language, to be replayed")
    min_characters: int = Field(10, ge=0)
    max_characters: int = Field(20_000, ge=1)
    min_script_share: float = Field(0.5, ge=0.0, le=1.0, description="letters in the language's script")
    language_check: bool = True
