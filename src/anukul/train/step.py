"""The train step: one stage at a time, the adapter of the stage before carried on."""

from pathlib import Path

from anukul.config import RunConfig, Stage, TrainSettings
from anukul.model.adapter import add_adapter, load_adapter, save_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.progress import say
from anukul.rundir import Result, atomic_folder
from anukul.train.checkpoint import checkpoints
from anukul.train.data import own_examples, replay_examples
from anukul.train.formats import Formatter
from anukul.train.loop import train_stage
from anukul.train.plan import StagePlan, plan_stage


def run_stage(config: RunConfig, root: Path, index: int) -> Result:
    """Train stage `index` from the adapter of the stage before (or a new one) and save its adapter.

    Continues from the newest checkpoint of a run that was killed; the result is the same to the bit on the CPU.
    """
    settings = config.train
    assert settings is not None
    stage = settings.stages[index]
    folder = root / "train" / stage.name
    loaded = load_base(config.model)
    share = settings.replay_share_of(stage)
    formatter = Formatter(loaded.tokenizer, loaded.prefix_id, config.language, config.base_language)
    own = own_examples(root, stage, formatter)
    replay = replay_examples(root, formatter) if share > 0 else []
    plan = plan_stage(own, replay, settings, stage, config.seed)

    kept = checkpoints(folder)
    if kept:
        load_adapter(loaded, kept[-1] / "adapter", trainable=True)
        say(f"  {stage.name}: going on from {kept[-1].name}")
    elif index > 0:
        load_adapter(loaded, root / "train" / settings.stages[index - 1].name / "adapter", trainable=True)
    else:
        add_adapter(loaded, settings.lora, settings.embeddings, config.seed)
    count = sum(parameter.numel() for parameter in trainable_parameters(loaded).values())
    _announce(stage, settings, plan, share, count)
    if settings.gradient_checkpointing:
        loaded.model.gradient_checkpointing_enable()
        loaded.model.enable_input_require_grads()

    train_stage(loaded, plan, settings, stage, folder, save_adapter)
    with atomic_folder(folder / "adapter") as temporary:
        save_adapter(loaded, temporary)
    return Result(["adapter", "metrics.jsonl"], {**count_rows(plan), "trainable_parameters": count})


def count_rows(plan: StagePlan) -> dict[str, int]:
    """Steps, examples and tokens of a plan, replay counted by itself; tokens include BOS and end tokens."""
    used = [plan.examples[i] for step in range(plan.steps) for row in plan.step_rows(step) for i in row]
    return {
        "steps": plan.steps,
        "examples": len(used),
        "tokens": sum(len(example.ids) for example in used),
        "loss_tokens": sum(int(example.learnt[1:].sum()) for example in used),
        "replay_tokens": sum(len(example.ids) for example in used if example.replay),
        "left_out": plan.left_out,
    }


def _announce(stage: Stage, settings: TrainSettings, plan: StagePlan, share: float, count: int) -> None:
    rows = count_rows(plan)
    cells = len(plan.rows[: plan.steps * plan.rows_per_step]) * settings.context
    say(
        f"  {stage.name} ({stage.format}): {rows['examples']:,} examples, {rows['tokens']:,} tokens "
        f"({rows['loss_tokens']:,} learnt, replay {rows['replay_tokens'] / max(1, rows['tokens']):.1%} of {share:.0%} "
        f"asked, rows {rows['tokens'] / max(1, cells):.1%} full), {plan.steps:,} steps, {count:,} trainable parameters"
    )
    if plan.left_out:
        say(
            f"  {stage.name}: {plan.left_out:,} examples left out, longer than the context of {settings.context}"
        )
