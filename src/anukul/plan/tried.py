"""`anukul train --dry-run`: a few real steps, then what was predicted beside what was measured."""

from pathlib import Path

from anukul import launch, pipeline
from anukul.config import RunConfig
from anukul.errors import UserError
from anukul.plan.memory import Need, on_gpu
from anukul.plan.printed import Gathered, cpu_needs, gather, of_stage, print_stages
from anukul.plan.speed import find_speed
from anukul.plan.text import amount, line, table, unit_of
from anukul.progress import say
from anukul.rundir import lock
from anukul.train.dry_run import FILE, Measured, dry_run


def try_stage(config: RunConfig, root: Path, name: str | None) -> None:
    """Dry-run the first stage, or the one of that name, and print what it corrects.

    Raises UserError where training would: corpus or synth not done, an audit that fails.
    """
    settings = config.train
    if settings is None:
        raise UserError("train: the config has no train section, there is nothing to try")
    names = [stage.name for stage in settings.stages]
    if name is not None and name not in names:
        raise UserError(f"--stage {name}: the stages are {', '.join(names)}")
    index = names.index(name) if name is not None else 0
    # as the stage's turn would, were it the first: its data must be done; of an earlier stage nothing is needed
    alone = config.model_copy(
        update={"train": settings.model_copy(update={"stages": (settings.stages[index],)})}
    )
    next(unit for unit in pipeline.units(alone, root) if unit.step == "train").inputs()
    with lock(root):
        say(f"train/{names[index]}: dry run")
        measured = dry_run(config, root, index)
    found = gather(config, root)
    _print_memory(found, measured, index)
    speed = find_speed(config, root, None, found.costs, here=measured.device == "cpu")
    print_stages(found, speed, launch.place()[1])
    print(line("kept", f"{root / FILE}; `anukul plan` counts with it until the config changes"))


def _print_memory(found: Gathered, measured: Measured, index: int) -> None:
    need = _predicted(found, measured, index)
    unit = unit_of(measured.peak_bytes)
    print(f"peak memory of stage {measured.stage} in {unit}, on {measured.machine}")
    head = ("", "predicted", "measured", "difference")
    off = need.total / measured.peak_bytes - 1
    print(
        table(
            head,
            [
                (
                    need.what,
                    amount(need.total, unit),
                    amount(measured.peak_bytes, unit),
                    f"{off:+.1%}".replace("-", "−"),
                )
            ],
        )
    )
    if measured.reserved_bytes:
        print(
            f"  {amount(measured.reserved_bytes, unit)} {unit} were reserved by torch; CUDA's context comes on top."
        )


def _predicted(found: Gathered, measured: Measured, index: int) -> Need:
    cost = found.costs[index]
    config = of_stage(found.config, cost)
    if measured.device == "cpu":
        return cpu_needs(found, [cost])[0]
    # of what the memory of the GPU leaves open, the nearest; CUDA's context is no part of what was measured
    needs = on_gpu(config, found.shape, cost.batches.learnt)
    bare = [Need(n.what, n.weights, n.trained, n.working, n.data, 0.0) for n in needs]
    return min(bare, key=lambda need: abs(need.total - measured.peak_bytes))
