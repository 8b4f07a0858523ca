"""What both engines of `train_vs_trl.py` share: base, adapter, data, plan, clock, and the counting of FLOPs."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from anukul.config import ModelSettings, Stage, TrainSettings
from anukul.train.plan import StagePlan
from models import VOCABULARY, llama_58m

DOCUMENT = 12_000  # characters of a document, where text is trained on


@dataclass(frozen=True, slots=True)
class Job:
    """What a process of its own is to do; it travels as JSON."""

    task: str  # prepare | sample | run
    folder: str
    engine: str = "anukul"  # or trl
    base: str = "58m"  # 58m | llama-3-8b | tiny
    data: str = "pairs"  # or text
    context: int = 256
    batch_tokens: int = 4096
    steps: int = 30
    rank: int = 32
    learning_rate: float = 1e-3
    quantization: str = "nf4"
    optimizer: str = "adamw"  # or adamw_8bit
    # what was found fastest on a sample
    micro: int = 1  # packed: rows in one forward; otherwise: one in so many parts of a step
    layout: str = "packed"  # packed | padded | grouped (trl only)
    attention: str = "sdpa"  # trl only
    checkpointing: bool = False  # trl only
    loss: str = "own"  # trl only; transformers: by a subclass, the loss of transformers' Trainer
    lean: bool = False  # least memory: anukul told to recompute all and to hold nothing dequantised
    compile: bool = False  # torch.compile, tried on a GPU

    @property
    def warm_up(self) -> int:
        """First steps that are not timed; on a GPU kernels are chosen and compiled in them."""
        return 1 if self.base == "58m" else 3

    @property
    def base_folder(self) -> Path:
        """Where the base lies."""
        return Path(self.folder) / "base"

    @property
    def adapter_folder(self) -> Path:
        """Where the adapter lies that both engines start from."""
        return Path(self.folder) / f"adapter-{self.rank}"

    @property
    def model(self) -> ModelSettings:
        """The base as both engines load it."""
        given: dict[str, Any] = {"path": str(self.base_folder), "quantization": self.quantization}
        if self.lean:
            given["dequantize"] = "never"
        return ModelSettings.model_validate(given)

    @property
    def settings(self) -> TrainSettings:
        """The settings of the run, those of the optimizer and the schedule being the same for both."""
        given: dict[str, Any] = {
            "stages": [self.stage],
            "lora": {"rank": self.rank, "alpha": self.rank},
            "context": self.context,
            "batch_tokens": self.batch_tokens,
            "micro_batch_tokens": self.context * (self.micro if self.engine == "anukul" else 1),
            "learning_rate": self.learning_rate,
            "warmup_share": 0.1,
            "weight_decay": 0.01,
            "replay_share": 0.0,
            "checkpoint_steps": 1_000_000,
            "log_steps": 1,
        }
        if self.optimizer != "adamw":
            given["optimizer"] = self.optimizer
        if self.lean:
            given["activation_checkpointing"] = "full"
        if self.compile:
            given["compile"] = True
        return TrainSettings.model_validate(given)

    @property
    def stage(self) -> Stage:
        """The one stage: pairs as stage 1 has them, or plain text."""
        form = "translation" if self.data == "pairs" else "text"
        return Stage.model_validate(
            {"name": "benchmark", "format": form, "epochs": 1000, "max_steps": self.steps}
        )


def sentence_pairs(folder: Path) -> list[tuple[str, str]]:
    """English and Nepali: FLORES v1 and TICO-19 where ANUKUL_REAL_DATA is set, else the embedded world's pairs."""
    real = os.environ.get("ANUKUL_REAL_DATA")
    if real:
        parallel = Path(real) / "parallel"
        sides = [
            ("floresv1/wikipedia.dev.ne-en.en", "floresv1/wikipedia.dev.ne-en.ne"),
            ("tico19/tico19-test.eng", "tico19/tico19-test.nep"),
        ]
        files = [
            [(parallel / name).read_text(encoding="utf-8").split("\n") for name in pair] for pair in sides
        ]
        pairs = [pair for english, nepali in files for pair in zip(english, nepali, strict=True)]
        return [(english.strip(), nepali.strip()) for english, nepali in pairs if english and nepali]
    world = folder / "world"
    if not world.exists():
        from anukul.synth.world import WorldConfig, build

        build(WorldConfig(seed=0, people=150), world)
    rows = map(json.loads, (world / "pairs.jsonl").read_text(encoding="utf-8").splitlines())
    return [(row["source"], row["target"]) for row in rows]


def prepare(job: Job) -> dict[str, Any]:
    """Make the base with random weights in bf16, a tokenizer of the data's own text, and the adapter to start from."""
    from anukul.config import LoraSettings
    from anukul.model.adapter import add_adapter, save_adapter, trainable_parameters
    from anukul.model.base import load_base
    from anukul.model.build import save_base, train_tokenizer

    if not job.base_folder.exists():
        pairs = sentence_pairs(Path(job.folder))
        size = 2000 if job.base == "tiny" else VOCABULARY
        tokenizer = train_tokenizer((text for pair in pairs for text in pair), size, 8192)
        save_base(_random_model(job.base), tokenizer, job.base_folder)
    loaded = load_base(job.model)
    add_adapter(loaded, LoraSettings(rank=job.rank, alpha=job.rank), "frozen", 0)
    if not job.adapter_folder.exists():
        save_adapter(loaded, job.adapter_folder)
    plan = make_plan(job, loaded.tokenizer)
    lengths = [len(plan.examples[i].ids) for row in plan.rows for i in row]
    return {
        "base_parameters": _shape(job).parameters,
        "trainable": sum(p.numel() for p in trainable_parameters(loaded).values()),
        "tokenizer": len(loaded.tokenizer),
        "steps": plan.steps,
        "examples": len(lengths),
        "tokens": sum(lengths),
        "learnt": sum(learnt_tokens(plan)),
        "full": sum(lengths) / (len(plan.rows) * job.context),
        "cuda": torch.cuda.is_available(),
        "bf16_rate": matrix_rate(),
        "flops": necessary_flops(job, plan),
    }


def _random_model(base: str) -> Any:
    """The base by name: 58 M parameters, the 8B shape, or that shape made tiny."""
    if base == "58m":
        return llama_58m(8192).to(torch.bfloat16)
    from importlib import resources

    from transformers import AutoConfig, AutoModelForCausalLM

    shapes = resources.files("anukul").joinpath("configs", "shapes")
    data = json.loads(shapes.joinpath("llama-3-8b.json").read_text())
    if base == "tiny":
        small = {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "vocab_size": 2000,
        }
        data |= small | {"num_attention_heads": 4, "num_key_value_heads": 2}
    # the tokenizer is trained on the data, so its special tokens are not those of the shape
    config = AutoConfig.for_model(data.pop("model_type"), **data | {"bos_token_id": 0, "eos_token_id": 1})
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def make_plan(job: Job, tokenizer: Any) -> StagePlan:
    """The plan that anukul makes of the data; every engine trains its steps, each on the same examples."""
    from anukul.records import Pair
    from anukul.train.formats import Formatter, Segment
    from anukul.train.plan import plan_stage

    pairs = sentence_pairs(Path(job.folder))
    formatter = Formatter(tokenizer, int(tokenizer.bos_token_id), "npi_Deva", "eng_Latn")
    if job.data == "pairs":
        codes = ("eng_Latn", "npi_Deva", "organic", "", "", "")
        segments = [formatter.translation(Pair(str(i), "", *pair, *codes)) for i, pair in enumerate(pairs)]
    else:
        text = "\n".join(nepali for _, nepali in pairs)
        starts = range(0, len(text), DOCUMENT)
        segments = [[Segment(text[start : start + DOCUMENT], True)] for start in starts]
    examples = formatter.encode(segments)
    needed = job.steps * job.batch_tokens / sum(len(example.ids) for example in examples)
    # a little more than needed: rows are not quite full, and pairs longer than the context are left out
    stage = job.stage.model_copy(update={"epochs": 1.2 * needed + 0.1})
    return plan_stage(examples, [], job.settings, stage, seed=0)


def learnt_tokens(plan: StagePlan) -> list[int]:
    """Tokens that count in the loss, for every step."""
    return [
        sum(int(plan.examples[i].learnt[1:].sum()) for row in plan.step_rows(step) for i in row)
        for step in range(plan.steps)
    ]


def _shape(job: Job) -> Any:
    from anukul.model.shape import read_shape

    return read_shape(job.model)


def necessary_flops(job: Job, plan: StagePlan) -> list[float]:
    """FLOPs of every step that no trainer can leave out; those of the adapter, a few per cent, are not counted.

    The frozen base takes 2 per weight and token forward and 2 backward (to the activations, none for weights), its
    head so for learnt tokens only; causal attention 4 x hidden per pair of tokens of a document and layer forward,
    and twice that backward. Nothing is counted for computing anything twice.
    """
    shape = _shape(job)
    head = shape.hidden * shape.vocabulary
    steps = []
    for step, learnt in enumerate(learnt_tokens(plan)):
        lengths = [len(plan.examples[i].ids) for row in plan.step_rows(step) for i in row]
        pairs = sum(length * (length + 1) / 2 for length in lengths)
        attention = 12 * shape.hidden * shape.layers * pairs
        steps.append(4.0 * shape.linear_parameters * sum(lengths) + 4.0 * head * learnt + attention)
    return steps


def matrix_rate() -> float:
    """Measured FLOPs per second of a large bf16 matrix product on this device."""
    cuda = torch.cuda.is_available()
    size, repeats = (8192, 50) if cuda else (2048, 10)
    device = torch.device("cuda" if cuda else "cpu")
    left, right = (torch.randn(size, size, device=device).to(torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(4):
        started = _now(cuda)
        for _ in range(repeats):
            left @ right
        best = max(best, 2 * size**3 * repeats / (_now(cuda) - started))
    return best


def _now(cuda: bool) -> float:
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


class Clock:
    """The time of every optimizer step, whoever takes it: a hook that torch runs after each `optimizer.step`."""

    def __init__(self) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        self.cuda = torch.cuda.is_available()
        self.marks: list[Any] = []
        self.used: list[float] = []  # processor time, which other work on the machine does not change much
        self.handle = register_optimizer_step_post_hook(self._mark)

    def _mark(self, *_: object) -> None:
        self.used.append(time.process_time())
        if self.cuda:  # noted in the stream of the device, which is not made to wait
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def seconds(self, steps: int) -> tuple[list[float], list[float]]:
        """Seconds from each of the last `steps` steps to the next, and of all cores in them; the clock stops.

        What came before, such as the updates by which anukul audits a model, is no step of the training.
        """
        self.handle.remove()
        if len(self.marks) < steps:
            raise SystemExit(f"{len(self.marks)} optimizer steps were taken, {steps} were asked for")
        used = [later - earlier for earlier, later in pairwise(self.used[-steps:])]
        pairs = list(pairwise(self.marks[-steps:]))
        if not self.cuda:
            return [later - earlier for earlier, later in pairs], used
        torch.cuda.synchronize()
        return [earlier.elapsed_time(later) / 1000 for earlier, later in pairs], used


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Mean over the steps at most `window // 2` away."""
    half = window // 2
    parts = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in parts]
