"""`train.ledger`: the frozen probes scored while training, and when they stop it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from anukul.config.held_out import HeldOutText, LabelSettings
from anukul.config.section import Section


class ProbeTask(Section):
    """Questions that the ledger asks without shots: a local file or dataset folder, in evaluate's formats."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    path: str
    language: str
    format: Literal["auto", "jsonl", "hellaswag", "dataset"] = "auto"
    labels: LabelSettings | None = Field(None, description="as in evaluate.tasks")
    split: str | None = Field(None, description="split of a dataset folder; default: test, else validation")
    limit: int | None = Field(None, ge=1)


class LedgerProbes(Section):
    """The frozen probe sets of the ledger; keep them small, and apart from what evaluate scores."""

    bits_per_byte: tuple[HeldOutText, ...] = Field((), description="texts of one language are pooled")
    tasks: tuple[ProbeTask, ...] = ()

    def files(self) -> list[tuple[str, str]]:
        """Return (key, path) of every probe set."""
        texts = [(f"bits_per_byte.{i}", text.path) for i, text in enumerate(self.bits_per_byte)]
        return texts + [(f"tasks.{i}", task.path) for i, task in enumerate(self.tasks)]


class ForgettingBudget(Section):
    """When a stage is stopped: bits per byte of `language`, adapted minus base, above `bits_per_byte_rise`."""

    language: str
    bits_per_byte_rise: float = Field(ge=0.0)
    evidence: Literal["interval", "estimate"] = Field(
        "interval", description="what must be above: the lower end of the paired interval, or the estimate"
    )


class KeepBest(Section):
    """Which reading's weights a stage ends with: the lowest bits per byte of `language`, within the budget."""

    language: str


class LedgerSettings(Section):
    """The forgetting ledger: frozen probes scored while training, adapted against base."""

    every_steps: int = Field(100, ge=1, description="more where readings would cost over max_cost_share")
    probes: LedgerProbes
    stop_when: ForgettingBudget | None = None
    keep_best: KeepBest | None = None
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    max_cost_share: float = Field(0.05, gt=0.0, le=1.0, description="of training, by counted tokens")

    @model_validator(mode="after")
    def _probes_fit(self) -> Self:
        texts, tasks = self.probes.bits_per_byte, self.probes.tasks
        names = [text.name for text in texts] + [task.name for task in tasks]
        if not names:
            raise ValueError("probes names nothing to score; give probes.bits_per_byte or probes.tasks")
        if len(set(names)) != len(names):
            raise ValueError("names of probes must differ")
        for key, asked in (("stop_when", self.stop_when), ("keep_best", self.keep_best)):
            if asked and asked.language not in {text.language for text in texts}:
                raise ValueError(f"{key}.language: no text of {asked.language} in probes.bits_per_byte")
        return self
