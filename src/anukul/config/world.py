"""`world`: the embedded bilingual world of the demo."""

from pydantic import Field

from anukul.config.section import Section


class WorldSettings(Section):
    """The embedded English-Nepali world; `${world}` in paths names the folder it is built in."""

    seed: int = 0
    people: int = Field(150, ge=20)
    base_steps: int = Field(1400, ge=1, description="optimizer steps that pre-train the tiny base")
    base_hidden: int = Field(160, ge=32)
    base_layers: int = Field(3, ge=1)
    base_heads: int = Field(5, ge=1)
    base_vocabulary: int = Field(3072, ge=300)
