"""What `anukul plan` prints: parameters, tokenizer, memory, stages, hours, disk, and what is still missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.config import RunConfig, TrainSettings, resolve
from anukul.configfile import input_files, prompts_path
from anukul.errors import UserError
from anukul.model.shape import Shape, read_shape
from anukul.plan.disk import predict_disk
from anukul.plan.fertility import Fertility, measure_held_out
from anukul.plan.memory import Need, on_gpu, trained_parameters
from anukul.plan.memory_cpu import count_batches, on_cpu, start_process
from anukul.plan.process import finish
from anukul.plan.speed import Speed, find_speed, memory_of_machine, runs_here
from anukul.plan.stages import Probes, StageCost, cost_of, count_probes
from anukul.plan.text import amount, hours, line, number, operations, percent, size, table, unit_of
from anukul.train.formats import Formatter


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that is counted before anything is printed."""

    config: RunConfig
    settings: TrainSettings
    root: Path
    shape: Shape
    tokenizer: Any  # None where it is not there
    fertility: dict[str, Fertility]
    probes: Probes | None
    costs: list[StageCost]

    @property
    def fullest(self) -> StageCost:
        """The stage whose micro-batch decides the memory."""
        return max(self.costs, key=lambda cost: (len(cost.batches.learnt.targets), cost.data.reading))


def gather(config: RunConfig, root: Path) -> Gathered:
    """Count everything; raise UserError where the config trains nothing or the base's shape is unknown."""
    settings = config.train
    if settings is None:
        raise UserError("plan: the config has no train section, there is nothing to plan")
    shape = read_shape(config.model)
    tokenizer, formatter, probes = None, None, None
    fertility: dict[str, Fertility] = {}
    if Path(config.model.tokenizer or config.model.path).expanduser().is_dir():
        from anukul.model.base import load_tokenizer

        tokenizer = load_tokenizer(config.model)
        bos = tokenizer.bos_token_id
        prefix = int(bos if bos is not None else tokenizer.eos_token_id)
        formatter = Formatter(tokenizer, prefix, config.language, config.base_language)
        fertility = measure_held_out(config, tokenizer)
        if settings.ledger and not _missing(settings.ledger.probes.files()):
            probes = count_probes(config, tokenizer)
    costs = [cost_of(config, shape, stage, root, formatter, fertility, probes) for stage in settings.stages]
    return Gathered(config, settings, root, shape, tokenizer, fertility, probes, costs)


def print_plan(config: RunConfig, throughput: float | None, root: Path | None = None, gpus: int = 1) -> None:
    """Print parameters, fertility, memory, tokens, hours and disk; raise UserError where the shape is unknown."""
    root = root or resolve(Path("runs") / config.name)
    found = gather(config, root)
    here = runs_here(found.shape)
    speed = find_speed(config, root, throughput, found.costs, here)
    _print_base(found)
    print_memory(found, speed, here, gpus)
    print_stages(found, speed, gpus)
    _print_disk(found)
    print_judge(config)
    missing = _missing(input_files(config))
    if missing:
        print(line("not there yet", "\n".join(f"{key}: {name}" for key, name in missing)))


def _missing(files: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(key, name) for key, name in files if not _exists(name)]


def _exists(name: str) -> bool:
    path = resolve(name)
    return any(path.parent.glob(path.name)) if "*" in path.name else path.exists()


def _print_base(found: Gathered) -> None:
    shape, settings = found.shape, found.settings
    trained = trained_parameters(settings, shape)
    held = found.config.model.quantization
    print(
        line(
            "base",
            f"{shape.name}, {shape.parameters:,} parameters, {held if held != 'none' else 'not quantised'}",
        )
    )
    print(line("trainable parameters", f"{trained:,} ({trained / shape.parameters:.1%} of the base)"))
    if found.tokenizer is None:
        print(line("tokenizer", "not measured: give its folder with -s model.tokenizer=FOLDER"))
    elif not found.fertility:
        print(line("tokenizer", "not measured: no file of evaluate.bits_per_byte is there to measure it on"))
    for one in found.fertility.values():
        text = f"{one.tokens_per_word:.2f} tokens per whitespace word ({one.lines:,} lines of {one.name})"
        print(line(f"tokenizer, {one.language}", text))


def print_memory(found: Gathered, speed: Speed, here: bool, gpus: int) -> None:
    """Print what the fullest micro-batch needs on a GPU, and on this machine's CPU where it would run there."""
    cost = found.fullest
    batch, config = cost.batches.learnt, of_stage(found.config, cost)
    of = f"a micro-batch of {batch.ids.numel():,} tokens, {len(batch.targets):,} of them learnt"
    if cost.how and not cost.tokens:
        of += ", the most there can be"
    needs = on_gpu(config, found.shape, batch, gpus)
    unit = unit_of(max(need.total for need in needs))
    print(f"\npredicted peak memory in {unit}, with {of}")
    head = ("on a GPU", "total", "weights", "trained", "working", "CUDA")
    print(table(head, [_need(need, unit) for need in needs]))
    print("  trained: with moments of the optimizer; working: gradients, activations, logits.")
    print("  No GPU has confirmed the GPU's figures yet.")
    if here:
        on_this = cpu_needs(found, found.costs)
        columns = ("on this machine's CPU", "total", "weights", "trained", "working", "data", "process")
        rows = [(each.stage.name, need) for each, need in zip(found.costs, on_this, strict=True)]
        print(table(columns, [_cpu_need(name, need, unit) for name, need in rows]))
        if max(need.total for need in on_this) > memory_of_machine():
            print(f"  This machine has {amount(memory_of_machine(), unit)} {unit}.")
    if speed.measured is not None:
        seen = speed.measured
        reserved = f" ({amount(seen.reserved_bytes, unit)} reserved)" if seen.reserved_bytes else ""
        print(
            f"  measured: {amount(seen.peak_bytes, unit)} {unit}{reserved}, {seen.device}, dry run of {seen.date}"
        )
    if speed.stale:
        print(f"  dry run: {speed.stale}")


def cpu_needs(found: Gathered, costs: list[StageCost]) -> list[Need]:
    """Predict the peak of resident memory in each of these stages, each in a process of its own; takes some seconds.

    Raises UserError where the process that is tried fails.
    """
    most = max(costs, key=lambda cost: cost.data.reading)
    configs = [of_stage(found.config, cost) for cost in costs]
    with start_process(found.config, found.root, most.stage) as process:
        counted = [
            count_batches(config, found.shape, cost.batches)
            for config, cost in zip(configs, costs, strict=True)
        ]
        held = finish(process)
    return [
        on_cpu(config, found.shape, passes, cost.data, held)
        for config, passes, cost in zip(configs, counted, costs, strict=True)
    ]


def of_stage(config: RunConfig, cost: StageCost) -> RunConfig:
    """The config with the settings that hold for a stage."""
    assert config.train is not None
    return config.model_copy(update={"train": config.train.of(cost.stage)})


def _need(need: Need, unit: str) -> tuple[str, ...]:
    parts = (need.total, need.weights, need.trained, need.working, need.process)
    return (need.what, *(amount(part, unit) for part in parts))


def _cpu_need(stage: str, need: Need, unit: str) -> tuple[str, ...]:
    _, *cells = _need(need, unit)
    return (f"{stage}, at its peak: {need.what}", *cells[:4], amount(need.data, unit), cells[-1])


def print_stages(found: Gathered, speed: Speed, gpus: int) -> None:
    """Print tokens, steps, operations and hours of every stage, and how they were counted."""
    print("\nstages, replay included")
    head = ("", "tokens", "learnt", "replay", "rows full", "steps", "operations", "time", "ledger")
    print(table(head, [_stage(cost, speed, gpus) for cost in found.costs]))
    for cost in found.costs:
        rows = "rows unknown" if cost.rows is None else f"{cost.rows:,} rows, {cost.source}"
        left = f"; {cost.left_out:,.0f} longer than the context are left out" if cost.left_out >= 1 else ""
        print(f"  {cost.stage.name}: {rows}; tokens: {cost.how}{left}")
    if found.settings.vocabulary:
        print("  Counted as the base cuts text; the new pieces make it fewer tokens.")
    tokens = sum(cost.tokens for cost in found.costs)
    every = {cost.ledger_every for cost in found.costs if cost.ledger_every}
    if found.probes and every:
        text = (
            f"{found.probes.requests:,} requests of {found.probes.tokens:,} tokens in a reading, every "
            f"{' / '.join(f'{one:,}' for one in sorted(every))} steps and at the end"
        )
        print(line("ledger", text))
    if tokens and speed.tokens_per_second:
        whole = sum(stage_seconds(cost, speed, gpus) for cost in found.costs)
        over = f" on {gpus} GPUs, if they share the work evenly" if gpus > 1 else ""
        rate = f"{speed.tokens_per_second * gpus:,.0f} tokens/s"
        print(line("time", f"{hours(whole)} for {tokens:,.0f} tokens at {rate}{over},\n{speed.why}"))
    elif tokens:
        print(line("time", f"not known: {speed.why}"))
    fewest = min(found.settings.of(cost.stage).batch_tokens for cost in found.costs) // found.settings.context
    if fewest < gpus:
        print(line("processes", f"a step has fewer rows than {gpus}: some processes would only wait"))


def _stage(cost: StageCost, speed: Speed, gpus: int) -> tuple[str, ...]:
    if not cost.tokens:
        return (cost.stage.name, *["?"] * 8)
    about = "" if cost.exact else "~"
    time = hours(stage_seconds(cost, speed, gpus)) if speed.tokens_per_second else "?"
    return (
        cost.stage.name,
        about + number(cost.tokens),
        percent(cost.learnt / cost.tokens),
        percent(cost.replay / cost.tokens),
        percent(cost.full),
        f"{about}{cost.steps:,}",
        operations(cost.flops),
        time,
        percent(ledger_share(cost, speed)) if cost.ledger_every else "-",
    )


def ledger_share(cost: StageCost, speed: Speed) -> float:
    """Seconds of the ledger per second of training: by a reading that was timed, else by counted tokens."""
    seen = speed.measured
    if seen is None or seen.reading_seconds is None or not cost.ledger_every or not speed.tokens_per_second:
        return cost.ledger_share
    readings = -(-cost.steps // cost.ledger_every) + 1
    return readings * seen.reading_seconds * speed.tokens_per_second / cost.tokens


def stage_seconds(cost: StageCost, speed: Speed, gpus: int) -> float:
    """Seconds of a stage, its ledger included, which every process scores by itself."""
    if not speed.tokens_per_second:
        return 0.0
    training = cost.tokens / speed.tokens_per_second
    return training / gpus + training * ledger_share(cost, speed)


def _print_disk(found: Gathered) -> None:
    trained = trained_parameters(found.settings, found.shape)
    lora = found.settings.lora
    start = found.shape.lora_parameters(lora.rank) if lora.init == "pissa" else 0
    disk = predict_disk(found.settings, trained, [cost.steps for cost in found.costs], start)
    text = (
        f"{size(disk.kept)} of adapters and checkpoints when done, {size(disk.peak)} at most on the way\n"
        f"(an adapter {size(disk.adapter)}, a checkpoint {size(disk.checkpoint)}); text and evaluation apart"
    )
    print(line("disk", text))


def print_judge(config: RunConfig) -> None:
    """Print what the judge of generated texts will cost, where there is one and its prompts are there."""
    settings = config.evaluate.generation if config.evaluate else None
    if settings is None or settings.judge is None or not prompts_path(settings, config.language).exists():
        return
    from anukul.evaluate.generation.prompt_set import load_prompts
    from anukul.evaluate.judge.compare import expected_cost

    beginnings = [prompt.text for prompt in load_prompts(settings, config.language)]
    requests, cost = expected_cost(settings, beginnings, config.language)
    text = f"{requests:,} requests to {settings.judge.model}, about {cost:.2f} USD"
    print(line("judge", f"{text} if every text and answer is as long as allowed"))
