"""`synth`: pairs, translation and instructions."""

from typing import Literal

from pydantic import Field

from anukul.config.section import Section


class PairInput(Section):
    """Parallel text: two line-aligned files, or one .jsonl/.csv/.parquet with a column for each side."""

    source: str = Field(description="file of the base language, or the one file that holds both sides")
    target: str | None = Field(None, description="file of the target language, line-aligned with `source`")
    source_column: str = "source"
    target_column: str = "target"
    origin: Literal["synthetic", "organic"] = Field("organic", description="what the base-language side is")
    name: str = "unknown"
    license: str = "unknown"
    limit: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)


class TranslateSettings(Section):
    """Machine translation of corpus documents that have no pair yet, target language to base language."""

    engine: Literal["ctranslate2"] = "ctranslate2"
    model: str = Field(description="a CTranslate2 model folder with its sentencepiece model")
    source_prefix: tuple[str, ...] = Field(
        (), description="tokens before the source, such as a language code"
    )
    target_prefix: tuple[str, ...] = ()
    source_suffix: tuple[str, ...] = ("</s>",)
    beam_size: int = Field(1, ge=1)
    max_output_tokens: int = Field(256, ge=1)
    batch_tokens: int = Field(2048, ge=1)
    shard_rows: int = Field(1000, ge=1)
    limit: int | None = Field(None, ge=1)
    license: str = "unknown"


class InstructionInput(Section):
    """Alpaca-shaped rows: instruction, input, output, language, in .jsonl or .json."""

    path: str
    source: str = "unknown"
    license: str = "unknown"
    limit: int | None = Field(None, ge=1)


class SynthSettings(Section):
    """`synth`: the bilingual pairs and the instruction rows that training reads."""

    pairs: tuple[PairInput, ...] = ()
    instructions: tuple[InstructionInput, ...] = ()
    translate: TranslateSettings | None = None
    max_length_ratio: float = Field(3.0, gt=1.0, description="characters of the longer side per shorter")
    max_copy_share: float = Field(0.5, gt=0.0, le=1.0, description="target words copied from the source")
