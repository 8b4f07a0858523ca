"""`model`: the base."""

from typing import Literal

from pydantic import Field

from anukul.config.section import Section


class ModelSettings(Section):
    """The base model: a Hugging Face folder or hub name, and how its frozen weights are held."""

    path: str
    revision: str | None = None
    license: str = Field("unknown", description="of the weights; known families are told by their name")
    tokenizer: str | None = Field(None, description="a tokenizer folder, when it is not in `path`")
    shape: str | None = Field(
        None, description="a shipped config.json by name, so that `plan` needs no weights"
    )
    quantization: Literal["nf4", "none"] = "nf4"
    compute_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    dequantize: Literal["auto", "cached", "never"] = Field(
        "auto",
        description="hold NF4-rounded weights in the compute dtype; auto: on a CPU, or with memory to spare",
    )
