"""run.yaml as a whole."""

from typing import Literal

from pydantic import Field

from anukul.config.corpus import CorpusSettings
from anukul.config.evaluate import EvaluateSettings
from anukul.config.model import ModelSettings
from anukul.config.probe import ProbeSettings
from anukul.config.report import ExportSettings, ReportSettings
from anukul.config.section import Section
from anukul.config.synth import SynthSettings
from anukul.config.train import TrainSettings
from anukul.config.world import WorldSettings


class RunConfig(Section):
    """run.yaml as a whole."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    language: str = Field(description="FLORES-200 code of the language to learn, such as npi_Deva")
    base_language: str = Field("eng_Latn", description="FLORES-200 code of the language the base knows")
    seed: int = 0
    license: Literal["any", "commercial"] = Field(
        "any",
        description="commercial: refuse text and models that may not be used so, by name, before any is read",
    )
    licenses: dict[str, Literal["commercial", "noncommercial"]] = Field(
        {}, description="what you know of licenses that are not on the list, by name"
    )
    model: ModelSettings
    world: WorldSettings | None = None
    corpus: CorpusSettings | None = None
    synth: SynthSettings | None = None
    train: TrainSettings | None = None
    evaluate: EvaluateSettings | None = None
    probe: ProbeSettings | None = None
    report: ReportSettings = ReportSettings()
    export: ExportSettings = ExportSettings()
