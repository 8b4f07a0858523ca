"""`synth`: pairs, translation and instructions."""

from typing import Literal, Self

from pydantic import Field, model_validator

from anukul.config.endpoint import EndpointSettings
from anukul.config.section import Section


class PairInput(Section):
    """Parallel text: two line-aligned files, or one .jsonl/.csv/.parquet with a column for each side."""

    source: str = Field(description="file of the base language, or the one file that holds both sides")
    target: str | None = Field(None, description="file of the target language, line-aligned with `source`")
    source_column: str = "source"
    target_column: str = "target"
    origin: Literal["synthetic", "organic"] = Field("organic", description="what the base-language side is")
    translator: str = Field("", description="with origin: synthetic, what translated that side")
    translator_license: str = Field("unknown", description="of `translator`; its name may tell it")
    name: str = "unknown"
    license: str = "unknown"
    limit: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _translated_by(self) -> Self:
        if self.origin == "organic" and (self.translator or self.translator_license != "unknown"):
            raise ValueError("`translator` goes with `origin: synthetic`: people are none")
        return self

    @property
    def unknown(self) -> list[str]:
        """Which of name, license and translator nobody has named."""
        names = ["name", "license", *(["translator"] if self.origin == "synthetic" else [])]
        return [name for name in names if getattr(self, name) in ("", "unknown")]


class SamplingSettings(Section):
    """Draw translations instead of searching for the likeliest: `softmax(logits / temperature)`, cut as asked."""

    temperature: float = Field(1.0, gt=0.0)
    top_k: int = Field(0, ge=0, description="of the likeliest tokens; 0: all")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="of the mass of the likeliest tokens")


class TranslateEndpoint(EndpointSettings):
    """`translate.endpoint`: where a model that translates by being told to is served."""

    prompt: str = Field(
        "Translate this {source} text into {target}. Answer with the translation alone, whole, in {target}; keep "
        "numbers, names and line breaks, add nothing.\n\n{text}",
        description="holds {text}; {source} and {target} stand for the names of the languages",
    )
    concurrent: int = Field(4, ge=1, description="requests at once")
    max_cost_usd: float | None = Field(
        None, gt=0.0, description="stop there; all workers count, and earlier runs of the step"
    )

    @model_validator(mode="after")
    def _holds_the_text(self) -> Self:
        try:
            asked = self.prompt.format(text="#text", source="", target="")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"prompt may hold {{text}}, {{source}} and {{target}}, and braces twice: {error!r}"
            ) from None
        if "#text" not in asked:
            raise ValueError("prompt must hold {text}")
        return self


class TranslateSettings(Section):
    """Machine translation of corpus documents that have no pair yet, target language to base language."""

    engine: Literal["ctranslate2", "transformers", "endpoint"] = "ctranslate2"
    model: str = Field(
        description="a model folder with its tokenizer; for an endpoint the model's name there"
    )
    family: Literal["nllb", "opus", "indictrans2", "plain"] = Field(
        "plain", description="what the model wants around a text; plain: source_prefix and the like say it"
    )
    source_prefix: tuple[str, ...] = Field(
        (), description="tokens before the source, such as a language code"
    )
    target_prefix: tuple[str, ...] = ()
    source_suffix: tuple[str, ...] = ("</s>",)
    beam_size: int = Field(1, ge=1)
    sampling: SamplingSettings | None = Field(
        None, description="seeded by the run's seed; beam_size must be 1"
    )
    max_output_tokens: int = Field(256, ge=1)
    batch_tokens: int = Field(2048, ge=1)
    devices: tuple[int, ...] | None = Field(
        None, description="GPUs by number; default: all there are; on Ray as many, for each worker"
    )
    threads: int = Field(1, ge=1, description="copies of a CTranslate2 model that work at once on the CPU")
    compute_type: str = Field("default", description="of CTranslate2, such as int8 or int8_float16")
    shard_rows: int | None = Field(
        None, ge=1, description="rows that a kill can cost; default: 1000, of an endpoint, which is paid, 100"
    )
    limit: int | None = Field(None, ge=1)
    max_failed: float = Field(
        0.01,
        ge=0.0,
        le=1.0,
        description="share of documents whose translation may fail; 10 may",
    )
    license: str = "unknown"
    endpoint: TranslateEndpoint | None = None

    @property
    def rows_per_shard(self) -> int:
        """How many rows are translated before they are written."""
        return self.shard_rows or (100 if self.engine == "endpoint" else 1000)

    @model_validator(mode="after")
    def _fits_its_engine(self) -> Self:
        if (self.engine == "endpoint") != (self.endpoint is not None):
            raise ValueError("`engine: endpoint` and the section `endpoint` go together")
        given = self.source_prefix or self.target_prefix or self.source_suffix != ("</s>",)
        if given and self.family != "plain":
            raise ValueError(
                f"family {self.family} says which tokens stand around a text; leave prefixes out"
            )
        if given and self.engine != "ctranslate2":
            raise ValueError(f"prefixes and suffixes are for ctranslate2; engine {self.engine} has none")
        if self.sampling and self.beam_size > 1:
            raise ValueError("sampling draws one translation; leave beam_size at 1")
        if self.sampling and self.engine == "endpoint":
            raise ValueError("an endpoint samples by its own temperature; leave sampling out")
        return self


class ForcedScore(Section):
    """How likely a model finds the pair: mean log-probability per token, one side given the other."""

    translator: TranslateSettings = Field(description="a CTranslate2 model")
    direction: Literal["to_base", "to_target"] = Field("to_base", description="which side is scored")
    min_score: float | None = Field(None, le=0.0, description="nats per token; default: record, drop nothing")

    @model_validator(mode="after")
    def _can_score(self) -> Self:
        if self.translator.engine != "ctranslate2":
            raise ValueError("forced scores come from a CTranslate2 model")
        return self


class RoundTrip(Section):
    """How much of the target side comes back when the base side is translated: chrF, 0 to 100."""

    translator: TranslateSettings = Field(description="base language to target language")
    min_chrf: float | None = Field(None, ge=0.0, le=100.0, description="default: record, drop nothing")


class InstructionInput(Section):
    """Instructions: Alpaca-shaped rows or ShareGPT-shaped conversations, in .jsonl, .json, .csv or .parquet."""

    path: str
    shape: Literal["auto", "alpaca", "sharegpt"] = Field(
        "auto", description="auto: sharegpt where the first row has `conversation_column`"
    )
    instruction_column: str = "instruction"
    input_column: str = "input"
    output_column: str = "output"
    system_column: str = "system"
    language_column: str = Field(
        "language", description="the row's own, as npi_Deva, ne, ne-NP or Nepali; empty: no row says it"
    )
    conversation_column: str = Field("", description="empty: conversations, messages or conversation")
    language: str | None = Field(None, description="of rows that do not say; none: told by their letters")
    source: str = "unknown"
    license: str = "unknown"
    limit: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)
    check_answers: bool = Field(True, description="drop rows answered in another language than they ask for")
    translate: TranslateSettings | None = Field(
        None, description="translate rows of the base language into the language to learn"
    )
    keep_original: bool = Field(
        False, description="with translate: keep the row as it was beside its translation"
    )

    @property
    def unknown(self) -> list[str]:
        """Which of source and license nobody has named."""
        return [name for name in ("source", "license") if getattr(self, name) in ("", "unknown")]


class SynthSettings(Section):
    """`synth`: the bilingual pairs and the instruction rows that training reads."""

    pairs: tuple[PairInput, ...] = ()
    instructions: tuple[InstructionInput, ...] = ()
    translate: TranslateSettings | None = None
    max_length_ratio: float = Field(3.0, gt=1.0, description="characters of the longer side per shorter")
    max_copy_share: float = Field(0.5, gt=0.0, le=1.0, description="target words copied from the source")
    max_untranslated_words: int = Field(
        5, ge=1, description="words in a row that are not in the side's script and stand in the other side"
    )
    min_number_agreement: float = Field(
        0.8,
        ge=0.0,
        le=1.0,
        description="share of the numbers of the side with fewer that the other side has too",
    )
    source_language_check: bool = True
    unique_side: Literal["organic", "target", "source", "both", "none"] = Field(
        "organic",
        description="a text of this side stands in one pair, the first; organic: the target where the source is "
        "machine-made, while two translations by people may stand side by side",
    )
    forced_score: ForcedScore | None = None
    round_trip: RoundTrip | None = None
    max_bad_files: float = Field(
        0.01, ge=0.0, le=1.0, description="share of files that may be unreadable; of several, one may be"
    )
    samples: int = Field(20, ge=0, description="rows per rule in samples.parquet, for reading")
    engine: Literal["local", "ray"] = Field("local", description="where translation runs; ray: on Ray Data")
    workers: int = Field(1, ge=1, description="of Ray, each with a model of its own")
    ray_address: str | None = Field(None, description="of a Ray cluster; default: one on this machine")

    def translators(self) -> list[tuple[str, TranslateSettings]]:
        """Return (key path, settings) of every model that translates or scores for the step."""
        found = [("translate", self.translate)] if self.translate else []
        found += [
            (f"instructions.{i}.translate", item.translate)
            for i, item in enumerate(self.instructions)
            if item.translate
        ]
        if self.forced_score:
            found.append(("forced_score.translator", self.forced_score.translator))
        if self.round_trip:
            found.append(("round_trip.translator", self.round_trip.translator))
        return found
