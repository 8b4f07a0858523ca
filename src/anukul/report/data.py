"""What the report knows of a run, as frozen values; `load` reads them from the run folder."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anukul.config import RunConfig
from anukul.records import Dropped, Flip

if TYPE_CHECKING:
    from anukul.report.loadgeneration import GenerationData
    from anukul.report.probedata import Case, Probe

STEPS = ("corpus", "synth", "train", "evaluate", "probe")


@dataclass(frozen=True, slots=True)
class Measure:
    """A value and its confidence interval; None where the file holds null, NaN or nothing."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def bounded(self) -> bool:
        """Whether value and both ends are known."""
        return None not in (self.value, self.low, self.high)

    def holds(self, point: float | None) -> bool:
        """Return whether `point` lies within the interval, ends included."""
        return (
            point is not None
            and self.low is not None
            and self.high is not None
            and self.low <= point <= self.high
        )


@dataclass(frozen=True, slots=True)
class Score:
    """One comparison of base and adapted from evaluate/scores.json; `where` names file and key."""

    where: str
    kind: str
    task: str
    language: str
    role: str
    split: str
    phenomenon: str
    shots: int
    metric: str
    n: int | None
    chance: float | None
    base: Measure
    adapted: Measure
    difference: Measure
    p: float | None
    q: float | None
    lost: int | None
    gained: int | None
    increase_base: float | None
    increase_adapted: float | None
    gain: Measure = Measure()  # difference in differences against 0 shots, of chance-corrected accuracy
    gain_where: str = ""
    gain_q: float | None = None
    clusters: int | None = None  # passages or subjects that the items belong to
    seed: int | None = None  # of a row of one seed; None where the seeds are pooled
    one_answer: tuple[str, ...] = ()  # models that give the same choice to every item

    @property
    def lower_is_better(self) -> bool:
        """Bits per byte fall when a model improves."""
        return self.metric == "bits_per_byte"

    @property
    def pooled(self) -> bool:
        """Whether the row is a whole task and not one of its splits or phenomena."""
        return self.split in ("all", "") and not self.phenomenon


@dataclass(frozen=True, slots=True)
class Transfer:
    """Backward transfer: the mean over the forgetting tasks of adapted minus base, at one shot count."""

    where: str
    shots: int
    corrected: bool  # for chance
    tasks: tuple[str, ...]
    n: int | None
    value: Measure
    q: float | None


@dataclass(frozen=True, slots=True)
class Family:
    """The tests that a q was adjusted over: how many, and which, in the words of evaluate/scores.json."""

    comparisons: int
    rows: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """evaluate/scores.json as a whole."""

    confidence: float
    scores: tuple[Score, ...]
    signature: str
    by_seed: tuple[Score, ...] = ()  # rows of one seed each, where there are several
    transfers: tuple[Transfer, ...] = ()
    families: dict[str, Family] = field(default_factory=dict)  # by table


@dataclass(frozen=True, slots=True)
class Point:
    """One line of train/<stage>/metrics.jsonl; `tokens` counts from the start of the first stage."""

    step: int
    tokens: float
    loss: float | None
    learning_rate: float | None
    gradient_norm: float | None
    tokens_per_second: float | None
    replay_loss_share: float | None


@dataclass(frozen=True, slots=True)
class StageLog:
    """One training stage: what was asked, what was logged, and the rows of its done.json if it is done."""

    name: str
    format: str
    replay_asked: float
    points: tuple[Point, ...]
    rows: dict[str, Any]
    seconds: float | None
    done: bool
    bad_lines: int = 0
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def replay_reached(self) -> float | None:
        """Share of the training tokens that were replay; None where the counts are not known."""
        tokens, replay = self.rows.get("tokens"), self.rows.get("replay_tokens")
        return replay / tokens if isinstance(replay, (int, float)) and tokens else None


@dataclass(frozen=True, slots=True)
class StepState:
    """What <step>/done.json says; `done` is False when there is none."""

    name: str
    done: bool
    seconds: float | None = None
    finished: str = ""
    rows: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DropRule:
    """How many rows a rule dropped in a step, and a few of them."""

    step: str
    rule: str
    count: int
    sample: tuple[Dropped, ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """How many kept rows of a file come from one source under one licence; `origin` synthetic: a machine's words."""

    file: str
    source: str
    license: str
    origin: str
    rows: int


@dataclass(frozen=True, slots=True)
class Variant:
    """Another run whose scores are shown beside this one's; `problem` says why it cannot be."""

    name: str
    path: str
    replay: str
    evaluation: Evaluation | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RunData:
    """Everything that the report is made from."""

    root: Path
    config: RunConfig
    run: dict[str, Any]
    steps: dict[str, StepState]
    corpus: dict[str, Any] | None
    synth: dict[str, Any] | None
    dropped: tuple[DropRule, ...]
    holdings: tuple[Holding, ...]
    stages: tuple[StageLog, ...]
    evaluation: Evaluation | None
    probe: "Probe | None"
    variants: tuple[Variant, ...]
    names: dict[str, str]
    flips: tuple[Flip, ...] = ()  # by plain accuracy, seeds pooled; the clearest of a task first

    generation: "GenerationData | None" = None
    cases: "tuple[Case, ...]" = ()  # asked for by `anukul probe --sentence`, of the adapter as it is now
    old_cases: int = 0  # those of another adapter, which are not shown

    def language(self, code: str) -> str:
        """Return a language's name, or its code where no name is known."""
        return self.names.get(code, code)
