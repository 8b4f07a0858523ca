"""`evaluate`: what base and adapted model are asked."""

from typing import Literal, Self

from pydantic import Field, model_validator

from anukul.config.endpoint import EndpointSettings
from anukul.config.held_out import HeldOutText, LabelSettings
from anukul.config.section import Section


class TaskSettings(Section):
    """A multiple-choice, cloze or minimal-pair task: a local file or dataset folder, or a task of lm-eval by name."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    path: str | None = Field(None, description="a local file or a Hugging Face dataset folder")
    harness: str | None = Field(None, description="name of an lm-eval task, whose data comes from the hub")
    language: str
    format: Literal["auto", "jsonl", "hellaswag", "dataset"] = "auto"
    labels: LabelSettings | None = Field(
        None, description="the file is a table of labelled texts: .tsv, .csv or .jsonl"
    )
    split: str | None = Field(None, description="split of a dataset folder; default: test, else validation")
    shots: tuple[int, ...] | Literal["lm-eval"] | None = Field(
        None, description="default: evaluate.shots; lm-eval: its own prompts, count and exemplar draw"
    )
    num_fewshot: int | None = Field(
        None, ge=0, description="with `shots: lm-eval`: its count of exemplars; default: the task's own"
    )
    exemplars: Literal["shared", "per_item"] | None = Field(None, description="default: evaluate.exemplars")
    limit: int | None = Field(None, ge=1)
    role: Literal["target", "forgetting"] = Field("target", description="what the task is there to show")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.harness is None):
            raise ValueError(f"task '{self.name}' needs either path or harness")
        if self.labels is not None and (self.path is None or self.format != "auto"):
            raise ValueError(f"task '{self.name}': labels go with a path and no format")
        if self.num_fewshot is not None and self.shots != "lm-eval":
            raise ValueError(
                f"task '{self.name}': num_fewshot goes with `shots: lm-eval`; otherwise give shots"
            )
        if self.shots == () or (isinstance(self.shots, tuple) and min(self.shots) < 0):
            raise ValueError(f"task '{self.name}': shots must be counts of 0 or more")
        return self


class TranslationSettings(Section):
    """Translation between the two languages, generated greedily and scored with chrF++."""

    source: str = Field(description="held-out lines of the base language")
    target: str = Field(description="the same lines in the target language")
    directions: tuple[Literal["to_target", "to_base"], ...] = ("to_target", "to_base")
    shots: tuple[int, ...] = (0, 4)
    limit: int = Field(100, ge=1, description="lines translated; exemplars come from those after them")
    skip: int = Field(0, ge=0)
    max_new_tokens: int = Field(256, ge=1)

    @model_validator(mode="after")
    def _shots_are_counts(self) -> Self:
        if not self.shots or min(self.shots) < 0 or len(set(self.shots)) != len(self.shots):
            raise ValueError("translation.shots must be distinct counts of 0 or more")
        return self


class CorpusProbeSettings(Section):
    """Cloze questions made from the corpus itself, by hiding numbers and names."""

    text: str = Field(description="held-out text of the target language, .txt or .jsonl, not trained on")
    skip: int = Field(0, ge=0, description="leave out this many lines first, such as those trained on")
    limit: int = Field(200, ge=1, description="questions kept")
    choices: int = Field(4, ge=2)
    min_overlap: int = Field(2, ge=1, description="content words that a training sentence must share")


class JudgeSettings(EndpointSettings):
    """A judge of generated texts: any endpoint that speaks OpenAI's chat protocol."""

    model: str
    criteria: tuple[Literal["fluency", "adequacy", "language", "repetition"], ...] = Field(
        ("fluency", "adequacy", "language", "repetition"), min_length=1
    )
    modes: tuple[Literal["greedy", "sampled"], ...] = Field(("greedy",), min_length=1)
    max_output_tokens: int = Field(300, ge=1)
    replay: str | None = Field(
        None, description="verdicts.jsonl of an earlier run to answer from, instead of the endpoint"
    )


class GenerationSettings(Section):
    """Free generation in the target language, base and adapted on the same prompts."""

    prompts: str | None = Field(
        None, description=".jsonl of id, prompt, topic, length; default: the shipped set"
    )
    limit: int | None = Field(None, ge=1)
    max_new_tokens: int = Field(128, ge=1)
    seeds: tuple[int, ...] = Field((0,), description="one sampled text for each, beside the greedy one")
    temperature: float = Field(0.8, gt=0.0)
    top_p: float = Field(0.95, gt=0.0, le=1.0)
    batch_rows: int = Field(32, ge=1, description="texts made at once")
    judge: JudgeSettings | None = None

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must differ")
        if self.judge and "sampled" in self.judge.modes and not self.seeds:
            raise ValueError("judge.modes names sampled texts but seeds is empty")
        return self


class EvaluateSettings(Section):
    """`evaluate`: base and adapted on the same items, adapter off and on."""

    shots: tuple[int, ...] = (0, 1, 2, 4)
    seeds: tuple[int, ...] = (0,)
    exemplars: Literal["shared", "per_item"] = Field(
        "shared", description="one draw for all items, or one each"
    )
    presets: tuple[Literal["nepali", "english-general"], ...] = Field(
        (), description="lists of lm-eval tasks"
    )
    tasks: tuple[TaskSettings, ...] = ()
    translation: TranslationSettings | None = None
    generation: GenerationSettings | None = None
    corpus_probe: CorpusProbeSettings | None = None
    bits_per_byte: tuple[HeldOutText, ...] = ()
    knowledge: str | None = Field(None, description="facts.jsonl, scored as full statements and as clozes")
    agreement: str | None = Field(None, description="minimal pairs, .jsonl of good, bad, phenomenon")
    bootstrap: int = Field(2000, ge=100, description="resamples behind every interval")
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    token_budget: int | None = Field(
        None, ge=64, description="tokens in one scoring forward; default: by trial on a GPU, 4096 on a CPU"
    )

    @model_validator(mode="after")
    def _shots_are_counts(self) -> Self:
        if any(k < 0 for k in self.shots) or len(set(self.shots)) != len(self.shots):
            raise ValueError("shots must be distinct counts of 0 or more")
        names = [task.name for task in self.tasks] + [text.name for text in self.bits_per_byte]
        if len(set(names)) != len(names):
            raise ValueError("names of tasks and held-out texts must differ")
        return self
