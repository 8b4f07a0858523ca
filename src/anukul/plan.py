"""`anukul plan`: what a run will cost, said before anything is paid for. No weights and no network are used."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anukul.config import RunConfig, Stage, TrainSettings, resolve
from anukul.configfile import input_files, prompts_path
from anukul.errors import UserError

if TYPE_CHECKING:
    from anukul.model.shape import Shape

# Bits of an NF4 weight with double quantisation: 4, an 8-bit scale per block of 64, and an fp32 scale and offset
# per 256 of those (arXiv 2305.14314, section 3).
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
TRAINED_BYTES = 4 + 4 + 8  # fp32 weight, gradient, two Adam moments
CUDA_CONTEXT = 0.6e9  # bytes that the driver, cuBLAS and kernels hold before the first tensor
LOGIT_BYTES = (1 << 25) * (4 + 4 + 2)  # one slice of logits in fp32, its gradient, and in the compute dtype
DEFAULT_THROUGHPUT = (
    2400.0  # tokens/s; torchtune publishes 2,413 for an 8B QLoRA on one RTX 4090, context 2048
)
SAMPLE_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Memory:
    """Predicted peak bytes while training, by what holds them."""

    frozen: float
    trained: float
    activations: float
    loss: float
    context: float

    @property
    def total(self) -> float:
        """The predicted peak."""
        return self.frozen + self.trained + self.activations + self.loss + self.context


def trained_parameters(settings: TrainSettings, shape: "Shape") -> int:
    """Return how many parameters training changes: LoRA, and what of the embeddings, with the rows of new pieces."""
    once = 1 if shape.tied else 2
    trained = shape.lora_parameters(settings.lora.rank)
    if settings.embeddings == "full":
        trained += shape.embedding_parameters
    elif settings.embeddings == "lora":
        trained += once * settings.lora.rank * (shape.vocabulary + shape.hidden)
    if settings.vocabulary:
        trained += once * settings.vocabulary.extend * shape.hidden
    return trained


def predict_memory(config: RunConfig, shape: "Shape") -> Memory:
    """Predict peak memory of training on a GPU.

    Activations: with activation checkpointing one hidden state per layer is kept (2 bytes) plus one layer's inner
    tensors; without it every layer's. A Llama layer keeps about 8 hidden states and 4 intermediate ones, and LoRA
    keeps its inputs in fp32 once more.
    """
    settings = config.train
    assert settings is not None
    wide = 2 if config.model.compute_dtype == "bfloat16" else 4
    bits = NF4_BITS if config.model.quantization == "nf4" else 8 * wide
    trained = trained_parameters(settings, shape)
    held = shape.embedding_parameters + shape.other_parameters
    tokens = settings.micro_batch_tokens or settings.context
    layer = tokens * (8 * shape.hidden + 4 * shape.intermediate) * wide
    lora_inputs = (
        tokens * (6 * shape.hidden + shape.intermediate) * 4 / 4
    )  # peft casts its input, one at a time
    # auto computes again what does not fit: what a run needs at least is what it needs with every layer recomputed
    kept = shape.layers if settings.activation_checkpointing == "none" else 1
    activations = shape.layers * tokens * shape.hidden * wide + kept * layer + lora_inputs
    largest = max(rows * columns for rows, columns in shape.linear_shapes) * wide  # one dequantised weight
    frozen = shape.linear_parameters * bits / 8 + held * wide + largest
    slice_bytes = min(LOGIT_BYTES, tokens * shape.vocabulary * 10)
    return Memory(frozen, trained * TRAINED_BYTES, activations, slice_bytes, CUDA_CONTEXT)


def print_plan(config: RunConfig, throughput: float | None) -> None:
    """Print parameters, fertility, memory, tokens, hours and disk; raise UserError where the shape is unknown."""
    from anukul.model.shape import read_shape

    settings = config.train
    if settings is None:
        raise UserError("plan: the config has no train section, there is nothing to plan")
    shape = read_shape(config.model)
    write = _writer()
    trained = trained_parameters(settings, shape)
    write("base", f"{shape.name}, {shape.parameters:,} parameters, held in {config.model.quantization}")
    write("trainable parameters", f"{trained:,} ({trained / shape.parameters:.1%} of the base)")
    fertility = _print_fertility(config, write)
    _print_memory(config, shape, write)
    _print_tokens(config, settings, fertility, throughput or DEFAULT_THROUGHPUT, throughput is None, write)
    adapter = trained * 4
    disk = adapter * (len(settings.stages) + 2 * 3)
    write(
        "disk",
        f"{disk / 1e9:.2f} GB for adapters and checkpoints (an adapter {adapter / 1e9:.2f} GB), text apart",
    )
    _print_judge(config, write)
    missing = [f"{key}: {name}" for key, name in input_files(config) if not _exists(name)]
    if missing:
        write("not there yet", "; ".join(missing))


def _writer() -> Callable[[str, str], None]:
    def write(name: str, text: str) -> None:
        print(f"{name + ':':<24}{text}")

    return write


def _exists(name: str) -> bool:
    path = resolve(name)
    return any(path.parent.glob(path.name)) if "*" in path.name else path.exists()


def _print_judge(config: RunConfig, write: Callable[[str, str], None]) -> None:
    """Print what the judge of generated texts will cost, where there is one and its prompts are there."""
    settings = config.evaluate.generation if config.evaluate else None
    if settings is None or settings.judge is None:
        return
    path = prompts_path(settings, config.language)
    if not path.exists():
        return
    from anukul.evaluate.generation.prompt_set import load_prompts
    from anukul.evaluate.judge.compare import expected_cost

    beginnings = [prompt.text for prompt in load_prompts(settings, config.language)]
    requests, cost = expected_cost(settings, beginnings, config.language)
    write(
        "judge",
        f"{requests:,} requests to {settings.judge.model}, about {cost:.2f} USD if every text and answer is as long as "
        "allowed",
    )


def _print_memory(config: RunConfig, shape: "Shape", write: Callable[[str, str], None]) -> None:
    memory = predict_memory(config, shape)
    parts = ", ".join(
        f"{name} {getattr(memory, name) / 2**30:.1f}"
        for name in ("frozen", "trained", "activations", "loss", "context")
    )
    write("predicted peak memory", f"{memory.total / 2**30:.1f} GiB on a GPU ({parts})")


@dataclass(frozen=True, slots=True)
class Fertility:
    """How a tokenizer cuts one language's text."""

    language: str
    lines: int
    words: int  # whitespace words
    tokens: int

    @property
    def tokens_per_word(self) -> float:
        """Tokens per whitespace word."""
        return self.tokens / self.words

    @property
    def tokens_per_line(self) -> float:
        """Tokens per line."""
        return self.tokens / self.lines


def measure_fertility(tokenizer: Any, path: Path, language: str) -> Fertility:
    """Tokenise the lines of a file (its first 4 MB); raise UserError when it holds no words."""
    text = path.read_bytes()[:SAMPLE_BYTES].decode("utf-8", errors="ignore")
    lines = [line for line in text.splitlines() if line.strip()]
    words = sum(len(line.split()) for line in lines)
    if not words:
        raise UserError(f"{path}: no words in it to measure the tokenizer on")
    tokens = sum(len(ids) for ids in tokenizer(lines, add_special_tokens=False)["input_ids"])
    return Fertility(language, len(lines), words, tokens)


def _print_fertility(config: RunConfig, write: Callable[[str, str], None]) -> dict[str, Fertility]:
    """Print and return fertility per language, measured on the held-out lines that exist."""
    folder = Path(config.model.tokenizer or config.model.path).expanduser()
    texts = [t for t in (config.evaluate.bits_per_byte if config.evaluate else ()) if _exists(t.path)]
    if not folder.is_dir():
        write("tokenizer", "not measured: give its folder with -s model.tokenizer=FOLDER")
        return {}
    if not texts:
        write("tokenizer", "not measured: no file of evaluate.bits_per_byte is there to measure it on")
        return {}
    from anukul.model.base import load_tokenizer

    tokenizer = load_tokenizer(config.model)
    found: dict[str, Fertility] = {}
    for text in texts:
        measured = measure_fertility(tokenizer, resolve(text.path), text.language)
        found.setdefault(text.language, measured)
        write(
            f"tokenizer, {text.language}",
            f"{measured.tokens_per_word:.2f} tokens per whitespace word ({measured.lines:,} lines of {text.name})",
        )
    return found


def _print_tokens(
    config: RunConfig,
    settings: TrainSettings,
    fertility: dict[str, Fertility],
    throughput: float,
    assumed: bool,
    write: Callable[[str, str], None],
) -> None:
    total = 0.0
    for stage in settings.stages:
        rows, source = _count_rows(config, stage)
        if rows is None or not fertility:
            write(f"stage {stage.name}", f"tokens not counted: {source if rows is None else 'no tokenizer'}")
            continue
        rows = min(rows, stage.max_examples or rows)
        tokens = rows * _tokens_per_row(config, stage, fertility) * stage.epochs
        share = settings.replay_share_of(stage)
        tokens /= 1 - share
        if stage.max_steps is not None:
            tokens = min(tokens, stage.max_steps * settings.batch_tokens)
        total += tokens
        steps = max(1, int(tokens // settings.batch_tokens))
        write(
            f"stage {stage.name}",
            f"about {tokens:,.0f} tokens in {steps:,} steps ({rows:,} rows, {source}; replay {share:.0%})",
        )
    note = (
        " (assumed: 8B QLoRA on one RTX 4090 as torchtune publishes it; set --throughput)" if assumed else ""
    )
    if total:
        write(
            "hours",
            f"{total / throughput / 3600:.1f} for {total:,.0f} tokens at {throughput:,.0f} tokens/s{note}",
        )


def _tokens_per_row(config: RunConfig, stage: Stage, fertility: dict[str, Fertility]) -> float:
    """Tokens of one row if its sides are as long as the held-out lines."""
    target = fertility.get(config.language)
    source = fertility.get(config.base_language, target)
    target = target or source
    assert target is not None and source is not None
    both = target.tokens_per_line + source.tokens_per_line
    return {"translation": both, "bilingual": both / 2, "instruct": target.tokens_per_line}.get(
        stage.format, target.tokens_per_line
    )


def _count_rows(config: RunConfig, stage: Stage) -> tuple[int | None, str]:
    """Return (rows of a stage's data, where the count is from): lines of its files, or `max_examples`."""
    names: list[str] = []
    if stage.format in ("translation", "bilingual") and config.synth:
        names = [pair.target or pair.source for pair in config.synth.pairs]
        if config.synth.translate and config.corpus:
            names += [item.path for item in config.corpus.inputs]
    elif stage.format == "instruct" and config.synth:
        names = [item.path for item in config.synth.instructions]
    elif config.corpus:
        names = [item.path for item in config.corpus.inputs]
    files = [file for name in names for file in sorted(resolve(name).parent.glob(resolve(name).name))]
    if files:
        return sum(_count_lines(file) for file in files), "lines of its files"
    if stage.max_examples is not None:
        return stage.max_examples, "max_examples, the files are not there yet"
    return None, "its files are not there and max_examples is not set"


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
