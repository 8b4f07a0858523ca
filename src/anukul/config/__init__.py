"""The models of run.yaml: one frozen section per step, no field that its step ignores.

Loading, overrides and error messages live in `configfile`; this package only says what may be written.
"""

from anukul.config.corpus import (
    HUB,
    CorpusSettings,
    DecontaminateSettings,
    DedupSettings,
    QualitySettings,
    TextInput,
)
from anukul.config.endpoint import EndpointSettings
from anukul.config.evaluate import (
    CorpusProbeSettings,
    EvaluateSettings,
    GenerationSettings,
    JudgeSettings,
    TaskSettings,
    TranslationSettings,
)
from anukul.config.held_out import HeldOutText, LabelSettings
from anukul.config.ledger import ForgettingBudget, KeepBest, LedgerProbes, LedgerSettings, ProbeTask
from anukul.config.model import ModelSettings
from anukul.config.probe import CaseStudy, KnockoutSettings, PairSettings, ProbeSettings
from anukul.config.report import ExportSettings, ReportSettings
from anukul.config.run import RunConfig
from anukul.config.section import Section, matching, resolve
from anukul.config.synth import (
    ForcedScore,
    InstructionInput,
    PairInput,
    RoundTrip,
    SamplingSettings,
    SynthSettings,
    TranslateEndpoint,
    TranslateSettings,
)
from anukul.config.train import (
    DECAY_SHARE,
    LEAST_RATE_SHARE,
    STAGE_FILES,
    STAGE_OWN,
    Doses,
    LoraSettings,
    Schedule,
    Stage,
    TrainSettings,
    TranslationFormat,
    VocabularySettings,
)
from anukul.config.world import WorldSettings

__all__ = [
    "DECAY_SHARE",
    "HUB",
    "LEAST_RATE_SHARE",
    "STAGE_FILES",
    "STAGE_OWN",
    "CaseStudy",
    "CorpusProbeSettings",
    "CorpusSettings",
    "DecontaminateSettings",
    "DedupSettings",
    "Doses",
    "EndpointSettings",
    "EvaluateSettings",
    "ExportSettings",
    "ForcedScore",
    "ForgettingBudget",
    "GenerationSettings",
    "HeldOutText",
    "InstructionInput",
    "JudgeSettings",
    "KeepBest",
    "KnockoutSettings",
    "LabelSettings",
    "LedgerProbes",
    "LedgerSettings",
    "LoraSettings",
    "ModelSettings",
    "PairInput",
    "PairSettings",
    "ProbeSettings",
    "ProbeTask",
    "QualitySettings",
    "ReportSettings",
    "RoundTrip",
    "RunConfig",
    "SamplingSettings",
    "Schedule",
    "Section",
    "Stage",
    "SynthSettings",
    "TaskSettings",
    "TextInput",
    "TrainSettings",
    "TranslateEndpoint",
    "TranslateSettings",
    "TranslationFormat",
    "TranslationSettings",
    "VocabularySettings",
    "WorldSettings",
    "matching",
    "resolve",
]
