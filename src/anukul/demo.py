"""`anukul demo`: the whole road on the embedded world, twice, so that the report can say what replay bought."""

from importlib import resources
from pathlib import Path

from anukul import configfile, pipeline
from anukul.config import RunConfig, resolve
from anukul.progress import say
from anukul.worldbase import build_world

# The variant is there to show forgetting, so only that is measured on it.
WITHOUT_REPLAY = (
    "train.replay_share=0",
    "probe=null",
    "evaluate.knowledge=null",
    "evaluate.agreement=null",
    "evaluate.translation=null",
    "evaluate.generation=null",
)


def demo_config() -> Path:
    """The demo's run.yaml, as shipped."""
    return Path(str(resources.files("anukul").joinpath("configs", "demo.yaml")))


def run_demo(run: Path) -> Path:
    """Run the demo with replay in `run` and without in a sibling folder; return the path of the report.

    What stands from an earlier demo is kept; what was killed goes on.
    """
    config_file = demo_config()
    root = resolve(run)
    variant = root.with_name(f"{root.name}-no-replay")
    config = configfile.load(config_file)
    assert config.world is not None
    world = str(build_world(config.world))

    say(f"without replay, in {variant}")
    without = configfile.load(config_file, [*WITHOUT_REPLAY, f"name={variant.name}"], world=world)
    assert without.evaluate is not None
    forgetting = tuple(task for task in without.evaluate.tasks if task.role == "forgetting")
    less = without.evaluate.model_copy(update={"tasks": forgetting})
    _run(
        without.model_copy(update={"evaluate": less}),
        variant,
        config_file,
        ("corpus", "synth", "train", "evaluate"),
    )
    say(f"with replay, in {root}")
    compare = f"report.compare=[{variant}]"
    _run(configfile.load(config_file, [compare], world=world), root, config_file, pipeline.STEPS)
    return root / "report" / "index.html"


def _run(config: RunConfig, root: Path, config_file: Path, steps: tuple[str, ...]) -> None:
    configfile.check_files(config_file, config)
    pipeline.run_steps(config, config_file.read_text(encoding="utf-8"), root, steps)
