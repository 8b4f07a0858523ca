"""The steps in their order: what decides each one's result, and whether it is skipped, resumed, run or refused.

Nothing here imports torch; a step's own module is imported when the step really runs.
"""

import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from anukul import __version__, launch
from anukul.config import (
    STAGE_OWN,
    EvaluateSettings,
    RunConfig,
    Section,
    Stage,
    resolve,
)
from anukul.disk import room_in
from anukul.errors import UserError
from anukul.inputs import (
    corpus_inputs,
    evaluate_inputs,
    probe_inputs,
    report_inputs,
    stage_inputs,
    synth_inputs,
)
from anukul.progress import say
from anukul.rundir import Result, StaleStepError, StepFolder, StepKey, lock, write_atomic, write_json

STEPS = ("corpus", "synth", "train", "evaluate", "probe", "report")
# Where and by how many processes text is read, and how much of it may be unreadable, decides no row that is kept.
NOT_OF_CORPUS = {"engine", "workers", "ray_address", "max_bad_files"}
# Nor does it matter to translations where they were made, how an endpoint was reached, or how many may fail.
PLACES = {"devices": True, "threads": True, "max_failed": True}
PATIENCE = dict.fromkeys(
    (
        "api_key_env",
        "requests_per_minute",
        "timeout_seconds",
        "max_retries",
        "retry_seconds",
        "usd_per_million_input",
        "usd_per_million_output",
        "max_cost_usd",
        "concurrent",
    ),
    True,
)
OF_NO_ROW: dict[str, Any] = {**PLACES, "endpoint": PATIENCE}
NOT_OF_SYNTH: dict[str, Any] = {
    "engine": True,
    "workers": True,
    "ray_address": True,
    "max_bad_files": True,
    "translate": OF_NO_ROW,
    "instructions": {"__all__": {"translate": OF_NO_ROW}},
    "forced_score": {"translator": OF_NO_ROW},
    "round_trip": {"translator": OF_NO_ROW},
}
# How the judge is reached and what it may cost decides no verdict: these may change between a stop and going on.
NOT_OF_EVALUATE = {"generation": {"judge": PATIENCE}}


@dataclass(frozen=True, slots=True)
class Unit:
    """A step, or one stage of `train`; inputs are hashed when its turn comes."""

    name: str  # also its folder inside the run folder
    settings: dict[str, Any]
    inputs: Callable[[], dict[str, str]]
    run: Callable[[], Result]

    @property
    def step(self) -> str:
        """The step it belongs to."""
        return self.name.partition("/")[0]


def run_steps(
    config: RunConfig,
    requested: str,
    root: Path,
    wanted: tuple[str, ...],
    redo: tuple[str, ...] = (),
    start: str | None = None,
) -> None:
    """Run the wanted steps of a config in order, skipping what stands.

    `requested` is the config as the user wrote it, kept beside the resolved one. `redo` names steps to discard first.
    `start` discards that step and all later ones, and needs the earlier ones done. Raises UserError where a step stands
    with other settings or inputs.
    """
    chosen = [unit for unit in units(config, root) if unit.step in wanted]
    if not chosen:
        asked = ", ".join(wanted)
        raise UserError(f"nothing to do: the config has no section for {asked}")
    _require_trackers(config, root, wanted, discards=bool(redo or start))
    last_trained = next((unit for unit in reversed(chosen) if unit.step == "train"), None)
    with lock(root):
        launch.share(root)
        record = partial(record_run, config, requested, root)
        earlier = True
        changed = False
        for unit in chosen:
            earlier = earlier and start is not None and unit.step != start
            discard = unit.step in redo or (start is not None and not earlier)
            changed |= bring_up(unit, root, discard, record, must_stand=earlier, upstream_changed=changed)
            if unit is last_trained:
                launch.release()  # what follows is work for one process


def bring_up(
    unit: Unit,
    root: Path,
    discard: bool,
    record: Callable[[], None],
    must_stand: bool,
    upstream_changed: bool,
) -> bool:
    """Make one unit's output stand; return whether it was made now.

    `record` notes config and versions; only a unit that really runs calls it: a refused command leaves no trace.
    Raises UserError where the disk is full, whatever was being written.
    """
    with room_in(root):
        folder = StepFolder(root, unit.name)
        if discard:
            folder.discard()
        key = StepKey({"anukul": __version__, **unit.settings}, unit.inputs())
        try:
            state = folder.state(key)
        except StaleStepError as stale:
            # new input made by this very command is no surprise to the user; a changed setting is. A report is seconds
            # of work over what stands, and is read after each step: it is made again whenever that changed
            new_input = all(line.startswith("inputs.") for line in stale.changes)
            if not (new_input and (upstream_changed or unit.step == "report")):
                raise
            folder.discard()
            state = "absent"
        if state == "done":
            say(f"{unit.name}: done before, kept")
            return False
        if must_stand:
            raise UserError(f"{root}: step '{unit.name}' is not done; --from needs every earlier step done")
        say(f"{unit.name}: going on where it stopped" if state == "partial" else f"{unit.name}")
        record()
        folder.start(key)
        started = time.monotonic()
        result = unit.run()
        seconds = time.monotonic() - started
        folder.finish(key, result.outputs, result.rows, seconds)
        counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in result.rows.items())
        say(f"{unit.name}: done in {seconds:.1f} s ({counts})")
        return True


def _require_trackers(config: RunConfig, root: Path, wanted: tuple[str, ...], discards: bool) -> None:
    """Raise UserError where a stage would be trained with a tracker that is not installed."""
    if config.train is None or "train" not in wanted:
        return
    done = [(root / "train" / stage.name / "done.json").exists() for stage in config.train.stages]
    if discards or not all(done):
        from anukul.train.trackers import require_installed

        require_installed(config.train.trackers)


def units(config: RunConfig, root: Path) -> list[Unit]:
    """The units of a config, in order."""
    common = {"language": config.language, "base_language": config.base_language, "seed": config.seed}
    found: list[Unit] = []

    def add(
        step: str,
        section: Section,
        inputs: Callable[[], dict[str, str]],
        exclude: "dict[str, Any] | set[str] | None" = None,
    ) -> None:
        settings = {**common, step: section.model_dump(mode="json", exclude=exclude)}
        found.append(Unit(step, settings, inputs, partial(_run, step, config, root)))

    if config.corpus:
        add("corpus", config.corpus, partial(corpus_inputs, config), NOT_OF_CORPUS)
    if config.synth:
        add("synth", config.synth, partial(synth_inputs, config, root), NOT_OF_SYNTH)
    if config.train:
        for index, stage in enumerate(config.train.stages):
            settings = {**common, "train": _stage_settings(config, stage)}
            inputs = partial(stage_inputs, config, root, index)
            found.append(
                Unit(f"train/{stage.name}", settings, inputs, partial(_run_stage, config, root, index))
            )
    if config.evaluate:
        _check_replay(config.evaluate, root)
        add("evaluate", config.evaluate, partial(evaluate_inputs, config, root), NOT_OF_EVALUATE)
    if config.probe:
        add("probe", config.probe, partial(probe_inputs, config, root))
    add("report", config.report, partial(report_inputs, config, root, [unit.name for unit in found]))
    return found


def _run(step: str, config: RunConfig, root: Path) -> Result:
    if step == "corpus":
        from anukul.corpus import step as corpus

        return corpus.run(config, root)
    if step == "synth":
        from anukul.synth import step as synth

        return synth.run(config, root)
    if step == "evaluate":
        from anukul.evaluate import step as evaluate

        return evaluate.run(config, root)
    if step == "probe":
        from anukul.probe import step as probe

        return probe.run(config, root)
    from anukul.report import step as report

    return report.run(config, root)


def _run_stage(config: RunConfig, root: Path, index: int) -> Result:
    from anukul.train.step import run_stage

    return run_stage(config, root, index)


def _stage_settings(config: RunConfig, stage: Stage) -> dict[str, Any]:
    """What of `train` decides this stage's weights: not the other stages, nor how often things are logged."""
    assert config.train is not None
    others = {"stages", "checkpoint_steps", "log_steps", "trackers"}
    settings = config.train.of(stage).model_dump(mode="json", exclude=others)
    return {**settings, "stage": stage.model_dump(mode="json", exclude=set(STAGE_OWN))}


def _check_replay(settings: EvaluateSettings, root: Path) -> None:
    """Raise UserError where a judge's answers would be read from the very folder that redoing the step deletes."""
    judge = settings.generation.judge if settings.generation else None
    if judge and judge.replay and resolve(judge.replay).is_relative_to(resolve(root) / "evaluate"):
        raise UserError(
            f"evaluate.generation.judge.replay: {judge.replay}: this file is deleted when evaluate is redone; copy it "
            "out of the run folder and name the copy"
        )


def record_run(config: RunConfig, requested: str, root: Path) -> None:
    """Write run.json (how and with what), config.requested.yaml and config.resolved.json."""
    names = ("torch", "transformers", "peft", "bitsandbytes", "lm-eval", "tokenizers", "numpy")
    packages = {}
    for name in names:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = "not installed"
    write_json(
        root / "run.json",
        {
            "command": ["anukul", *sys.argv[1:]],
            "anukul": __version__,
            **_git_state(),
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "processes": launch.place()[1],
            "packages": packages,
            "model_revision": config.model.revision,
        },
    )
    write_atomic(root / "config.requested.yaml", requested)
    write_json(root / "config.resolved.json", config.model_dump(mode="json"))


def _git_state() -> dict[str, Any]:
    """Commit and dirtiness of the checkout that the package runs from; None for an installed package."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10
        )
        status = subprocess.run(
            ["git", "status", "--porcelain", "--", str(here)],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {"git_commit": None, "git_dirty": None}
    if commit.returncode:
        return {"git_commit": None, "git_dirty": None}
    return {"git_commit": commit.stdout.strip(), "git_dirty": bool(status.stdout.strip())}
