"""The train step: one stage at a time, the adapter of the stage before carried on."""

import zlib
from functools import partial
from pathlib import Path

import torch

from anukul.config import RunConfig, Stage, TrainSettings
from anukul.errors import UserError
from anukul.model.adapter import add_adapter, load_adapter, save_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.model.loaded import Loaded, pick_device
from anukul.model.sharded import gather_once, make_mesh, shard
from anukul.model.vocabulary import add_vocabulary
from anukul.progress import say
from anukul.rundir import Result, atomic_folder, write_json
from anukul.train.checkpoint import checkpoints, read_cursor
from anukul.train.data import language_texts, own_examples, replay_examples
from anukul.train.distributed import Processes, begin_stage
from anukul.train.formats import Formatter
from anukul.train.gauge import restart_peak
from anukul.train.heap import keep_little
from anukul.train.ledger import OUTPUTS, make_ledger
from anukul.train.limits import within_limits, writing
from anukul.train.loop import train_stage
from anukul.train.plan import StagePlan, plan_stage
from anukul.train.provenance import DATA, check_licenses, provenance
from anukul.train.trackers import Trackers, open_trackers


def run_stage(config: RunConfig, root: Path, index: int) -> Result:
    """Train stage `index` from the adapter of the stage before (or a new one) and save its adapter.

    Continues from the newest checkpoint of a run that was killed; the result is the same to the bit on the CPU. Under
    `accelerate launch` every process is in here: the first calls the others.
    """
    processes = begin_stage(config, root, index)
    assert config.train is not None
    with within_limits(root / "train" / config.train.stages[index].name):
        return _run_stage(config, root, index, processes)


def _run_stage(config: RunConfig, root: Path, index: int, processes: Processes) -> Result:
    settings = config.train
    assert settings is not None
    keep_little()
    restart_peak()  # what the process did before, such as a stage or an evaluation, is none of this stage's
    stage = settings.stages[index]
    folder = root / "train" / stage.name
    check_licenses(config, root, stage)
    load = partial(_load_sharded, processes=processes) if processes.sharded else _load
    loaded = load(config, root, index)

    if settings.context > loaded.max_positions:
        raise UserError(
            f"train.context: {settings.context} tokens are more than the {loaded.max_positions} that the base was made "
            "for; lower it"
        )
    # what a stage draws (dropout) hangs on nothing that the process did before
    torch.manual_seed(zlib.crc32(f"{config.seed} {stage.name}".encode()))

    # only now: the adapter may have brought pieces of its own
    share = settings.of(stage).replay_share
    formatter = Formatter(loaded.tokenizer, loaded.prefix_id, config.language, config.base_language)
    own = own_examples(root, stage, formatter)
    replay = replay_examples(root, formatter) if share > 0 else []
    plan = plan_stage(own, replay, settings, stage, config.seed)
    count = sum(parameter.numel() for parameter in trainable_parameters(loaded).values())
    _announce(stage, settings, plan, share, count)
    ledger = make_ledger(config, root, index, loaded, plan)
    main = processes.is_main
    with open_trackers(config, root, index, read_cursor(folder).step) if main else Trackers() as trackers:
        end = train_stage(loaded, plan, settings, stage, folder, save_adapter, ledger, processes, trackers)

    def save() -> None:
        with writing(folder / "adapter"), atomic_folder(folder / "adapter") as temporary:
            save_adapter(loaded, temporary)
            write_json(temporary / DATA, provenance(config, root, index, plan.used(end.steps)))

    processes.main_does(save)
    outputs = ["adapter", "metrics.jsonl", "audit.json"]
    rows = {**count_rows(plan, end.steps), "skipped_steps": end.skipped, "trainable_parameters": count}
    return Result([*outputs, *OUTPUTS] if ledger is not None else outputs, rows)


def _load(config: RunConfig, root: Path, index: int, device: torch.device | None = None) -> Loaded:
    """The base with the adapter that stage `index` goes on from: of its newest checkpoint, the stage before, or new."""
    settings = config.train
    assert settings is not None
    stage = settings.stages[index]
    loaded = load_base(config.model, device)
    kept = checkpoints(root / "train" / stage.name)
    if kept:
        load_adapter(loaded, kept[-1] / "adapter", trainable=True)
        say(f"  {stage.name}: going on from {kept[-1].name}")
    elif index > 0:
        load_adapter(loaded, root / "train" / settings.stages[index - 1].name / "adapter", trainable=True)
    else:
        add_adapter(loaded, settings.lora, settings.embeddings, config.seed)
        if settings.vocabulary:
            texts = language_texts(root)
            add_vocabulary(loaded, settings.vocabulary, texts, config.language, config.base_language)
    return loaded


def _load_sharded(config: RunConfig, root: Path, index: int, processes: Processes) -> Loaded:
    """The same, the base's frozen weights shared out over the processes.

    It is read into the memory of the machine, not of the GPU, and by one process of a machine at a time.
    """
    device = pick_device()
    mesh = make_mesh(device)
    if config.model.dequantize == "auto" and device.type == "cuda":
        # who shares a base out has no memory to spare
        config = config.model_copy(update={"model": config.model.model_copy(update={"dequantize": "never"})})

    def load() -> Loaded:
        loaded = _load(config, root, index, torch.device("cpu"))
        shard(loaded, mesh, device)
        return loaded

    loaded = processes.in_turns(load)
    gather_once(loaded)
    return loaded


def count_rows(plan: StagePlan, steps: int) -> dict[str, int]:
    """Steps, examples and tokens of the first `steps` steps of a plan, replay counted by itself.

    Tokens include BOS and end tokens.
    """
    used = plan.used(steps)
    return {
        "steps": steps,
        "examples": len(used),
        "tokens": sum(len(example.ids) for example in used),
        "loss_tokens": sum(int(example.learnt[1:].sum()) for example in used),
        "replay_tokens": sum(len(example.ids) for example in used if example.replay),
        "synthetic_tokens": sum(
            len(example.ids) for example in used if example.origin == "synthetic" and not example.replay
        ),
        "left_out": plan.left_out,
    }


def _announce(stage: Stage, settings: TrainSettings, plan: StagePlan, share: float, count: int) -> None:
    rows = count_rows(plan, plan.steps)
    cells = len(plan.rows[: plan.steps * plan.rows_per_step]) * settings.context
    say(
        f"  {stage.name} ({stage.format}): {rows['examples']:,} examples, {rows['tokens']:,} tokens "
        f"({rows['loss_tokens']:,} learnt, synthetic {rows['synthetic_tokens'] / max(1, rows['tokens']):.1%}, "
        f"replay {rows['replay_tokens'] / max(1, rows['tokens']):.1%} of {share:.0%} "
        f"asked, rows {rows['tokens'] / max(1, cells):.1%} full), {plan.steps:,} steps, {count:,} trainable parameters"
    )
    over = len(plan.rows) - plan.steps * plan.rows_per_step
    if over > 0 and stage.max_steps is None:
        say(
            f"  {stage.name}: {over:,} of {len(plan.rows):,} rows at the end make no full step and are left out"
        )
    if plan.left_out:
        say(
            f"  {stage.name}: {plan.left_out:,} examples left out, longer than the context of {settings.context}"
        )
