"""The models of run.yaml: one frozen section per step, no field that its step ignores.

Loading, overrides and error messages live in `configfile`; this module only says what may be written.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Field(ge=0.0, lt=1.0)
# what a stage's format reads from the run folder
STAGE_FILES = {
    "translation": ("synth/pairs.parquet",),
    "bilingual": ("synth/pairs.parquet", "corpus/documents.parquet"),
    "instruct": ("synth/instructions.parquet",),
    "text": ("corpus/documents.parquet",),
}


class Section(BaseModel):
    """A part of run.yaml: unknown keys are errors, values cannot change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WorldSettings(Section):
    """The embedded English-Nepali world; `${world}` in paths names the folder it is built in."""

    seed: int = 0
    people: int = Field(150, ge=20)
    base_steps: int = Field(1400, ge=1, description="optimizer steps that pre-train the tiny base")
    base_hidden: int = Field(160, ge=32)
    base_layers: int = Field(3, ge=1)
    base_heads: int = Field(5, ge=1)
    base_vocabulary: int = Field(3072, ge=300)


class ModelSettings(Section):
    """The base model: a Hugging Face folder or hub name, and how its frozen weights are held."""

    path: str
    revision: str | None = None
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


class TextInput(Section):
    """One input of text: a file, or a glob; rows are documents."""

    path: str
    format: Literal["auto", "txt", "jsonl", "csv", "parquet"] = "auto"
    text_column: str = "text"
    source: str = "unknown"
    license: str = "unknown"
    limit: int | None = Field(None, ge=1, description="read at most this many documents")
    skip: int = Field(0, ge=0, description="leave out this many documents first, such as held-out lines")


class CorpusSettings(Section):
    """`corpus`: read, normalise, check the language, drop exact duplicates."""

    inputs: tuple[TextInput, ...] = Field(min_length=1)
    replay: tuple[TextInput, ...] = Field((), description="text of the base language, to be replayed")
    min_characters: int = Field(10, ge=0)
    max_characters: int = Field(20_000, ge=1)
    min_script_share: float = Field(0.5, ge=0.0, le=1.0, description="letters in the language's script")
    language_check: bool = True


class PairInput(Section):
    """Parallel text: two line-aligned files, or one .jsonl/.csv/.parquet with a column for each side."""

    source: str = Field(description="file of the base language, or the one file that holds both sides")
    target: str | None = Field(None, description="file of the target language, line-aligned with `source`")
    source_column: str = "source"
    target_column: str = "target"
    origin: Literal["synthetic", "organic"] = Field("organic", description="what the base-language side is")
    name: str = "unknown"
    license: str = "unknown"
    limit: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)


class TranslateSettings(Section):
    """Machine translation of corpus documents that have no pair yet, target language to base language."""

    engine: Literal["ctranslate2"] = "ctranslate2"
    model: str = Field(description="a CTranslate2 model folder with its sentencepiece model")
    source_prefix: tuple[str, ...] = Field(
        (), description="tokens before the source, such as a language code"
    )
    target_prefix: tuple[str, ...] = ()
    source_suffix: tuple[str, ...] = ("</s>",)
    beam_size: int = Field(1, ge=1)
    max_output_tokens: int = Field(256, ge=1)
    batch_tokens: int = Field(2048, ge=1)
    shard_rows: int = Field(1000, ge=1)
    limit: int | None = Field(None, ge=1)
    license: str = "unknown"


class InstructionInput(Section):
    """Alpaca-shaped rows: instruction, input, output, language, in .jsonl or .json."""

    path: str
    source: str = "unknown"
    license: str = "unknown"
    limit: int | None = Field(None, ge=1)


class SynthSettings(Section):
    """`synth`: the bilingual pairs and the instruction rows that training reads."""

    pairs: tuple[PairInput, ...] = ()
    instructions: tuple[InstructionInput, ...] = ()
    translate: TranslateSettings | None = None
    max_length_ratio: float = Field(3.0, gt=1.0, description="characters of the longer side per shorter")
    max_copy_share: float = Field(0.5, gt=0.0, le=1.0, description="target words copied from the source")


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


class Stage(Section):
    """One training stage; the adapter is carried from the stage before."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    format: Literal["translation", "bilingual", "instruct", "text"]
    epochs: float = Field(1.0, gt=0.0)
    max_examples: int | None = Field(None, ge=1, description="train on this many of the rows, drawn by seed")
    max_steps: int | None = Field(None, ge=1)
    # in place of what train says for all stages; None: as there
    learning_rate: float | None = Field(None, gt=0.0, description="that of embeddings keeps its proportion")
    schedule: Schedule | None = None
    warmup_share: float | None = Field(None, ge=0.0, lt=1.0)
    decay_share: float | None = Field(None, gt=0.0, lt=1.0)
    min_learning_rate_share: float | None = Field(None, ge=0.0, le=1.0)
    weight_decay: float | None = Field(None, ge=0.0)
    batch_tokens: int | None = Field(None, ge=16)
    replay_share: float | None = Field(None, ge=0.0, lt=1.0)


class LabelSettings(Section):
    """How a table of labelled texts becomes a task: every label is a choice after the text and the question."""

    text: str = Field("text", description="column of the text")
    label: str = Field("label", description="column of the label")
    question: str = Field("", description="a line after the text, such as `Topic:` in the task's language")
    names: dict[str, str] = Field({}, description="what each label is called in the prompt; default: itself")


class HeldOutText(Section):
    """Held-out lines whose bits per byte are measured."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    path: str
    language: str
    limit: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)


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


class JudgeSettings(Section):
    """A judge of generated texts: any endpoint that speaks OpenAI's chat protocol."""

    base_url: str
    model: str
    api_key_env: str | None = Field(
        "OPENAI_API_KEY", description="environment variable that holds the key; null: the endpoint wants none"
    )
    criteria: tuple[Literal["fluency", "adequacy", "language", "repetition"], ...] = Field(
        ("fluency", "adequacy", "language", "repetition"), min_length=1
    )
    modes: tuple[Literal["greedy", "sampled"], ...] = Field(("greedy",), min_length=1)
    requests_per_minute: float = Field(60.0, gt=0.0)
    timeout_seconds: float = Field(60.0, gt=0.0)
    max_retries: int = Field(6, ge=0)
    retry_seconds: float = Field(
        1.0, gt=0.0, description="first wait, doubled each time; Retry-After may be longer"
    )
    max_output_tokens: int = Field(300, ge=1)
    output_limit_name: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="what the endpoint calls the limit of output tokens"
    )
    temperature: float | None = Field(0.0, ge=0.0, description="null: not sent, for models that refuse it")
    usd_per_million_input: float = Field(2.5, ge=0.0, description="for the estimate before the first call")
    usd_per_million_output: float = Field(10.0, ge=0.0)
    max_cost_usd: float | None = Field(
        None, gt=0.0, description="stop before the first call where it costs more"
    )
    replay: str | None = Field(
        None, description="verdicts.jsonl of an earlier run to answer from, instead of the endpoint"
    )

    @model_validator(mode="after")
    def _no_secrets(self) -> Self:
        plain = self.base_url.startswith(("http://", "https://"))
        if not plain or "@" in self.base_url or "?" in self.base_url:
            raise ValueError(
                "base_url must be a plain http(s) address; the key goes into the variable named by api_key_env"
            )
        return self


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


class CaseStudy(Section):
    """One sentence whose attention is shown; the words are named as written in the sentence."""

    sentence: str
    query: str
    key: str


class PairSettings(Section):
    """A set of minimal pairs: a .jsonl of good and bad, BLiMP's .jsonl, MultiBLiMP's .tsv; a file, folder or glob."""

    name: str = Field(min_length=1)
    path: str
    language: str | None = Field(None, description="default: the language of the run")


class KnockoutSettings(Section):
    """Heads that know a relation, silenced: what agreement and held-out text lose, against random sets of heads.

    The cost is bounded by what is said here: 2 models x (2 + ways x sets) times the pairs and texts are scored.
    """

    pairs: int = Field(280, ge=1, description="minimal pairs of probe.pairs scored, spread over phenomena")
    texts: int = Field(40, ge=1, description="held-out lines scored")
    held_out: HeldOutText | None = Field(
        None, description="the held-out lines; default: those of evaluate.bits_per_byte in probe.language"
    )
    how: tuple[Literal["uniform", "zero", "mean"], ...] = Field(
        ("uniform", "zero", "mean"),
        min_length=1,
        description="what a silenced head does: look at all alike, say nothing, say what it says on average",
    )
    sets: int = Field(50, ge=1, description="random sets of as many heads of the same layers")
    max_heads: int = Field(
        8,
        ge=1,
        description="heads silenced at most, the largest leads first, and no more than half of a layer's",
    )
    other_heads: int = Field(
        4, ge=0, description="heads of the same layer that each single head is compared with"
    )
    relations: tuple[str, ...] = Field((), description="heads that know one of these; empty: any")

    @model_validator(mode="after")
    def _ways_differ(self) -> Self:
        if len(set(self.how)) != len(self.how):
            raise ValueError("knockout.how names a way twice")
        return self


class ProbeSettings(Section):
    """`probe`: which attention heads resolve which dependency relations."""

    treebank: str
    language: str
    relations: tuple[str, ...] = Field((), description="empty: every relation with at least `min_arcs` arcs")
    min_arcs: int = Field(20, ge=2)
    max_sentences: int | None = Field(None, ge=2)
    batch_sentences: int = Field(32, ge=1)
    alpha: float = Field(
        0.05,
        gt=0.0,
        lt=0.5,
        description="false discovery rate at which heads know a relation, are gained or lost",
    )
    random_models: int = Field(
        1,
        ge=0,
        description="models with random weights, a baseline: each costs one pass and the memory of a base",
    )
    pairs: tuple[PairSettings, ...] = Field((), description="minimal pairs, scored with base and adapted")
    knockout: KnockoutSettings | None = None
    case_study: CaseStudy | None = None

    def held_out(self, evaluate: EvaluateSettings | None) -> tuple[HeldOutText, ...]:
        """The held-out lines that the knock-out scores."""
        if self.knockout is None:
            return ()
        if self.knockout.held_out is not None:
            return (self.knockout.held_out,)
        texts = evaluate.bits_per_byte if evaluate else ()
        return tuple(text for text in texts if text.language == self.language)

    @model_validator(mode="after")
    def _names_of_pairs_differ(self) -> Self:
        if len({found.name for found in self.pairs}) != len(self.pairs):
            raise ValueError("names of sets of pairs must differ")
        return self


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


class RunConfig(Section):
    """run.yaml as a whole."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    language: str = Field(description="FLORES-200 code of the language to learn, such as npi_Deva")
    base_language: str = Field("eng_Latn", description="FLORES-200 code of the language the base knows")
    seed: int = 0
    model: ModelSettings
    world: WorldSettings | None = None
    corpus: CorpusSettings | None = None
    synth: SynthSettings | None = None
    train: TrainSettings | None = None
    evaluate: EvaluateSettings | None = None
    probe: ProbeSettings | None = None
    report: ReportSettings = ReportSettings()
    export: ExportSettings = ExportSettings()


def resolve(path: str | Path) -> Path:
    """Return `path` as an absolute path, `~` expanded; relative paths count from the working directory."""
    return Path(path).expanduser().absolute()
