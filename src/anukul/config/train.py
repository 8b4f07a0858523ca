"""`train`: the stages, and how they are trained."""

from typing import Literal, Self

from pydantic import Field, model_validator

from anukul.config.ledger import LedgerSettings
from anukul.config.section import Section

# what a stage's format reads from the run folder
STAGE_FILES = {
    "translation": ("synth/pairs.parquet",),
    "bilingual": ("synth/pairs.parquet", "corpus/documents.parquet"),
    "instruct": ("synth/instructions.parquet",),
    "text": ("corpus/documents.parquet",),
}


class LoraSettings(Section):
    """Low-rank adaptation of every linear layer of the decoder: beside the base stands B A alpha / rank."""

    rank: int = Field(128, ge=1)
    alpha: float = Field(128.0, gt=0.0)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    rank_stabilized: bool = Field(
        False, description="rsLoRA (arXiv 2312.03732): alpha over the square root of the rank"
    )
    dora: bool = Field(
        False, description="DoRA (arXiv 2402.09353): a trained length for every row of the changed weights"
    )
    init: Literal["default", "pissa"] = Field(
        "default",
        description="pissa (arXiv 2404.02948): A and B start at the base's principal components; the base stays",
    )
    learning_rate_ratio: float | None = Field(
        None, ge=1.0, description="LoRA+ (arXiv 2402.12354): learning rate of B as a multiple of A's"
    )

    @property
    def variant(self) -> str:
        """What sets it apart from plain LoRA, for a reader; empty where nothing does."""
        held = {"rank-stabilized": self.rank_stabilized, "DoRA": self.dora, "PiSSA": self.init == "pissa"}
        ratio = self.learning_rate_ratio
        held[f"LoRA+ with ratio {ratio or 0:g}"] = ratio is not None
        return ", ".join(name for name, holds in held.items() if holds)


Schedule = Literal["cosine", "wsd", "constant"]
LEAST_RATE_SHARE = 0.1
DECAY_SHARE = 0.2  # as much as it takes to match cosine (arXiv 2405.18392, section 3)
# what a stage may say in place of `train`
STAGE_OWN = (
    "learning_rate", "schedule", "warmup_share", "decay_share", "min_learning_rate_share", "weight_decay",
    "batch_tokens", "replay_share",
)  # fmt: skip


class TranslationFormat(Section):
    """How a pair is written in a stage of format `translation`."""

    to_target_share: float = Field(
        1.0,
        ge=0.0,
        le=1.0,
        description="share of the pairs written into the language to learn, the others out of it",
    )
    tags: tuple[Literal["direction", "origin"], ...] = Field(
        (),
        description="what else stands before the given side: its direction, whether a side is machine-made",
    )

    def tag(self, code: str, synthetic: bool = False) -> str:
        """Return what stands before a given side that is to be translated into the language `code`."""
        direction = f"<2{code}> " if "direction" in self.tags else ""
        return direction + ("<synthetic> " if synthetic and "origin" in self.tags else "")


class Doses(Section):
    """Shares of a stage's tokens by where they come from; they make 1."""

    synthetic: float = Field(0.0, ge=0.0, le=1.0, description="examples with a machine-made side")
    organic: float = Field(0.0, ge=0.0, le=1.0, description="examples that people wrote")
    replay: float = Field(0.0, ge=0.0, lt=1.0, description="text of the base language")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.synthetic + self.organic + self.replay
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"synthetic, organic and replay must make 1 together, they make {total:g}")
        return self


class Stage(Section):
    """One training stage; the adapter is carried from the stage before."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    format: Literal["translation", "bilingual", "instruct", "text"]
    epochs: float = Field(1.0, gt=0.0)
    max_examples: int | None = Field(None, ge=1, description="train on this many of the rows, drawn by seed")
    max_steps: int | None = Field(None, ge=1)
    translation: TranslationFormat = TranslationFormat()
    rehydrate: int = Field(
        1,
        ge=1,
        description="read a document as often as the corpus held it before duplicates went, at most so often",
    )
    repeat: dict[str, int] = Field({}, description="read the rows of a source so often, by its name")
    shares: dict[str, float] = Field({}, description="mix sources by these shares, by name; they make 1")
    shares_by: Literal["tokens", "rows"] = "tokens"
    doses: Doses | None = Field(None, description="shares of synthetic, organic and replay tokens")
    # in place of what train says for all stages; None: as there
    learning_rate: float | None = Field(None, gt=0.0, description="that of embeddings keeps its proportion")
    schedule: Schedule | None = None
    warmup_share: float | None = Field(None, ge=0.0, lt=1.0)
    decay_share: float | None = Field(None, gt=0.0, lt=1.0)
    min_learning_rate_share: float | None = Field(None, ge=0.0, le=1.0)
    weight_decay: float | None = Field(None, ge=0.0)
    batch_tokens: int | None = Field(None, ge=16)
    replay_share: float | None = Field(None, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _mix_fits(self) -> Self:
        if self.shares and (min(self.shares.values()) < 0 or abs(sum(self.shares.values()) - 1.0) > 1e-6):
            raise ValueError(
                f"shares must be 0 or more and make 1 together, they make {sum(self.shares.values()):g}"
            )
        if self.repeat and min(self.repeat.values()) < 1:
            raise ValueError("repeat: a source is read once or more; to leave it out give it a share of 0")
        if self.doses and self.replay_share is not None:
            raise ValueError("doses says how much is replay; leave replay_share of this stage out")
        if self.doses and self.shares:
            raise ValueError("doses and shares both say how rows are mixed; give one of them")
        if self.format != "translation" and self.translation != TranslationFormat():
            raise ValueError(f"translation goes with `format: translation`, not with {self.format}")
        return self


class VocabularySettings(Section):
    """More pieces for the language's script, learnt from the corpus; the base language's text is cut as before."""

    extend: int = Field(ge=1, description="new pieces, at most")
    min_count: int = Field(
        10, ge=1, description="a pair of pieces that is rarer in the corpus is not made one"
    )
    whole_words: bool = Field(
        True, description="keep words of the script whole that the base's pre-tokenizer cuts at vowel signs"
    )


class TrainSettings(Section):
    """`train`: the stages in order, one adapter carried through."""

    stages: tuple[Stage, ...] = Field(min_length=1)
    lora: LoraSettings = LoraSettings()
    embeddings: Literal["frozen", "lora", "full"] = Field(
        "frozen",
        description="of input embeddings and output head: nothing, low-rank changes or all is trained",
    )
    vocabulary: VocabularySettings | None = Field(
        None, description="more pieces for the tokenizer; see `anukul tokenizer report`"
    )
    context: int = Field(2048, ge=16, description="tokens in one packed row")
    batch_tokens: int = Field(16_384, ge=16, description="tokens in one optimizer step")
    micro_batch_tokens: int | None = Field(None, ge=16, description="tokens in one forward; default: context")
    learning_rate: float = Field(2e-4, gt=0.0)
    embedding_learning_rate: float | None = Field(None, gt=0.0, description="default: learning_rate / 10")
    schedule: Schedule = Field(
        "cosine",
        description="after the warm-up: cosine falls, constant stays, wsd stays and then falls (arXiv 2404.06395)",
    )
    warmup_share: float = Field(0.03, ge=0.0, lt=1.0, description="of a stage's steps, each stage anew")
    decay_share: float | None = Field(
        None, gt=0.0, lt=1.0, description="with wsd: of a stage's steps, the last ones; default: 0.2"
    )
    min_learning_rate_share: float | None = Field(
        None, ge=0.0, le=1.0, description="of the learning rate, at the last step; default: 0.1"
    )
    weight_decay: float = Field(0.0, ge=0.0)
    betas: tuple[float, float] = (0.9, 0.95)
    max_gradient_norm: float = Field(1.0, gt=0.0)
    replay_share: float = Field(0.1, ge=0.0, lt=1.0, description="share of training tokens that is replay")
    checkpoint_steps: int = Field(200, ge=1)
    log_steps: int = Field(10, ge=1)
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        ("tensorboard",), description="where else the logged figures are shown; metrics.jsonl has them always"
    )
    ledger: LedgerSettings | None = None
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    compile: bool = Field(False, description="torch.compile the parts of every layer; pays on long GPU runs")
    activation_checkpointing: Literal["auto", "none", "full"] = Field(
        "auto", description="auto: on a GPU as few layers as its memory asks for, on a CPU none"
    )
    max_skipped_steps: int = Field(
        10,
        ge=0,
        description="steps of a stage that may be skipped for a loss spike or a loss that is no number",
    )

    def of(self, stage: Stage) -> Self:
        """The settings that hold for a stage: its own where it has some, else those of all stages.

        Nothing is left open: of what had a default that depends on others, the value is there. Settings that are of
        the stage already stay as they are.
        """
        own = {name: getattr(stage, name) for name in STAGE_OWN if getattr(stage, name) is not None}
        if stage.doses is not None:
            own["replay_share"] = stage.doses.replay
        peak = own.get("learning_rate", self.learning_rate)
        embedding = self.embedding_learning_rate or self.learning_rate / 10
        if peak != self.learning_rate:
            embedding = peak * (embedding / self.learning_rate)
        schedule = own.get("schedule", self.schedule)
        decay, least = self.decay_share or DECAY_SHARE, self.min_learning_rate_share
        open_still: dict[str, float | None] = {
            "embedding_learning_rate": embedding,
            "decay_share": decay if schedule == "wsd" else None,
            "min_learning_rate_share": LEAST_RATE_SHARE if least is None else least,
        }
        return self.model_copy(update={**open_still, **own})

    @property
    def rows_per_micro_batch(self) -> int:
        """Packed rows in one forward."""
        return (self.micro_batch_tokens or self.context) // self.context

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stage names must differ, got {', '.join(names)}")
        micro = self.micro_batch_tokens or self.context
        for stage in self.stages:
            tokens = self.of(stage).batch_tokens
            if micro % self.context or tokens % micro:
                whose = "" if stage.batch_tokens is None else f" of stage '{stage.name}'"
                raise ValueError(
                    f"context ({self.context}) must divide micro_batch_tokens ({micro}), "
                    f"and that must divide batch_tokens{whose} ({tokens})"
                )
        return self

    @model_validator(mode="after")
    def _schedules_fit(self) -> Self:
        """Refuse what no schedule reads."""
        held = {stage.name: self.of(stage) for stage in self.stages}
        kinds = {name: settings.schedule for name, settings in held.items()}
        asked: list[tuple[str, Stage | TrainSettings, set[str]]] = [("", self, set(kinds.values()))]
        asked += [(f" of stage '{stage.name}'", stage, {kinds[stage.name]}) for stage in self.stages]
        for whose, part, used in asked:
            if part.decay_share is not None and "wsd" not in used:
                kind = " or ".join(sorted(used))
                raise ValueError(f"decay_share{whose} goes with `schedule: wsd`, not with {kind}")
            if part.min_learning_rate_share is not None and used == {"constant"}:
                raise ValueError(
                    f"min_learning_rate_share{whose}: `schedule: constant` never falls; leave it out"
                )
        for name, settings in held.items():
            decay = settings.decay_share or 0.0
            if settings.warmup_share + decay > 1:
                raise ValueError(
                    f"stage '{name}': warmup_share ({settings.warmup_share:g}) and decay_share ({decay:g}) "
                    "are more than the whole stage"
                )
        return self

    @model_validator(mode="after")
    def _variant_fits(self) -> Self:
        """Refuse what a variant of LoRA cannot do."""
        pissa = self.lora.init == "pissa"
        if self.embeddings == "lora" and (pissa or self.lora.dora):
            what = "lora.init: pissa" if pissa else "lora.dora"
            raise ValueError(f"{what} is for linear layers; with it, embeddings must be frozen or full")
        if pissa and any(self.of(stage).weight_decay for stage in self.stages):
            raise ValueError(
                "lora.init: pissa trains principal components of the base, which weight_decay would shrink; "
                "leave it at 0"
            )
        return self
