"""`corpus`: the text that is read, and what of it is kept."""

from typing import Literal, Self

from pydantic import Field, model_validator

from anukul.config.section import Section

HUB = "hub:"  # before the name of a Hugging Face dataset, or the folder of one, in `path`


class TextInput(Section):
    """One input of text: a file, a folder, a glob, or a dataset `hub:owner/name`; rows are documents."""

    path: str
    format: Literal["auto", "txt", "jsonl", "json", "csv", "tsv", "parquet"] = "auto"
    text_column: str = "text"
    id_column: str = Field("id", description="the row's own id, where a row has this column")
    source_column: str | None = Field(None, description="where each row names its source; else `source`")
    license_column: str | None = Field(None, description="where each row names its license; else `license`")
    source: str = "unknown"
    license: str = "unknown"
    limit: int | None = Field(None, ge=1, description="read at most this many documents")
    skip: int = Field(0, ge=0, description="leave out this many documents first, such as held-out lines")
    subset: str | None = Field(None, description="the configuration of a dataset")
    split: str | None = Field(None, description="of a dataset; default: train")
    revision: str | None = Field(None, description="commit, tag or branch of a dataset on the hub")

    @model_validator(mode="after")
    def _dataset_only(self) -> Self:
        if self.path.startswith(HUB):
            if self.format != "auto":
                raise ValueError(f"a dataset has no format; leave `format` out of {self.path}")
            return self
        given = [name for name in ("subset", "split", "revision") if getattr(self, name) is not None]
        if given:
            names = ", ".join(f"`{name}`" for name in given)
            raise ValueError(f"{names}: only a dataset has that; write path: {HUB}{self.path}")
        return self

    @property
    def dataset(self) -> str | None:
        """The name or folder of the dataset, None for files."""
        return self.path.removeprefix(HUB) if self.path.startswith(HUB) else None

    @property
    def unknown(self) -> list[str]:
        """Which of source and license nobody has named."""
        columns = {"source": self.source_column, "license": self.license_column}
        return [
            name for name, column in columns.items() if not column and getattr(self, name) in ("", "unknown")
        ]


class QualitySettings(Section):
    """`corpus.quality`: filters of quality; None is what the language's YAML says, with its source."""

    from_words: int = Field(
        100, ge=1, description="words from which the rules about words, lines and repetition mean anything"
    )
    min_stop_words: int | None = Field(None, ge=0, description="in a document")
    min_word_length: float | None = Field(None, ge=0.0, description="mean, in code points")
    max_word_length: float | None = Field(None, ge=0.0)
    min_alphabetic_words: float | None = Field(None, ge=0.0, le=1.0, description="share of the words")
    max_duplicate_lines: float | None = Field(None, ge=0.0, le=1.0, description="share of the lines")
    max_top_ngrams: tuple[float, float, float] | None = Field(
        None, description="share of the characters that the most frequent 2-, 3- and 4-gram takes"
    )
    max_duplicate_ngrams: tuple[float, float, float, float, float, float] | None = Field(
        None, description="share of the characters in repeated 5- to 10-grams"
    )
    max_mojibake: float = Field(
        0.01, ge=0.0, le=1.0, description="signs of broken encoding for each character, after repair"
    )
    min_language_score: float | None = Field(
        None, ge=0.0, le=1.0, description="probability that `corpus.glotlid` gives the language"
    )
    paragraphs: bool = Field(True, description="cut paragraphs of another language or script; keep the rest")
    boilerplate: bool = Field(True, description="cut lines of cookie notices, menus and share buttons")
    skip: tuple[str, ...] = Field((), description="names of rules that are left out")


class DedupSettings(Section):
    """`corpus.dedup`: which documents are one and the same."""

    near: bool = Field(True, description="near duplicates too, by MinHash; else exact ones only")
    level: Literal["document", "paragraph"] = "document"
    ngram: int = Field(5, ge=1, description="words of a shingle")
    bands: int = Field(14, ge=1)
    rows: int = Field(8, ge=1, description="of a band; bands x rows hashes are a signature")
    min_similarity: float = Field(
        0.6, ge=0.0, le=1.0, description="share of equal hashes in two signatures, below which they differ"
    )


class DecontaminateSettings(Section):
    """`corpus.decontaminate`: documents that hold an item which the run evaluates on are dropped."""

    ngram: int = Field(3, ge=1, description="words of a run that a text and an item have in common")
    share: float = Field(0.6, gt=0.0, le=1.0, description="of an item's words, in such runs, that betray it")
    min_words: int = Field(8, ge=1, description="in such runs, where the text is not the item itself")


class CorpusSettings(Section):
    """`corpus`: read, normalise, check language and quality, drop duplicates and what is evaluated on."""

    inputs: tuple[TextInput, ...] = Field(min_length=1)
    replay: tuple[TextInput, ...] = Field((), description="text of the base language, to be replayed")
    min_characters: int = Field(10, ge=0)
    max_characters: int = Field(20_000, ge=1)
    min_script_share: float = Field(0.5, ge=0.0, le=1.0, description="letters in the language's script")
    language_check: bool = True
    glotlid: str | None = Field(None, description="GlotLID model file, a further witness to the language")
    mask_pii: bool = Field(True, description="e-mail addresses and phone numbers")
    quality: QualitySettings | None = QualitySettings()
    dedup: DedupSettings = DedupSettings()
    decontaminate: DecontaminateSettings | None = DecontaminateSettings()
    engine: Literal["local", "ray"] = Field("local", description="where the work is done; ray: on Ray Data")
    workers: int | None = Field(None, ge=1, description="processes; default: the machine's cores")
    ray_address: str | None = Field(None, description="of a Ray cluster; default: one on this machine")
    max_bad_files: float = Field(
        0.01, ge=0.0, le=1.0, description="share of files that may be unreadable; of several, one may be"
    )
