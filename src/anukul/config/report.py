"""`report` and `export`: what leaves the run."""

from typing import Literal

from pydantic import Field

from anukul.config.section import Section


class ReportSettings(Section):
    """`report`: one HTML file and the model card."""

    title: str | None = None
    compare: tuple[str, ...] = Field((), description="run folders of variants, such as one without replay")


class ExportSettings(Section):
    """`anukul export`: how the adapter is merged and written, and how far what comes back may differ.

    The tolerances are those of rounding to bf16: it keeps 8 significant bits, in the merged weights and again at every
    layer; correct merges were measured at a tenth of them (docs/decisions/0007).
    """

    dtype: Literal["bfloat16", "float16", "float32"] | None = Field(
        None, description="of the merged weights; default: model.compute_dtype"
    )
    gguf: Literal["bf16", "f16", "q8_0"] = Field("bf16", description="how a GGUF file holds its matrices")
    shard_gb: float = Field(4.0, gt=0.0, description="size of a merged model's weight file, 10^9 bytes")
    texts: int = Field(64, ge=1, description="texts of each set of evaluate.bits_per_byte to check on")
    max_divergence: float = Field(
        0.005, gt=0.0, description="mean divergence of the logits allowed, nats per token"
    )
    max_bits_per_byte: float = Field(0.01, gt=0.0, description="difference of bits per byte allowed")
