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
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import yaml

from anukul import __version__, launch
from anukul.config import (
    STAGE_FILES,
    STAGE_OWN,
    EvaluateSettings,
    RunConfig,
    Section,
    Stage,
    TextInput,
    resolve,
)
from anukul.configfile import input_files, prompts_path
from anukul.errors import UserError
from anukul.languages import load as load_language
from anukul.progress import say
from anukul.rundir import (
    Result,
    StaleStepError,
    StepFolder,
    StepKey,
    digest,
    hash_file,
    hash_model,
    hash_path,
    lock,
    write_atomic,
    write_json,
)

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
NOT_OF_SYNTH: dict[str, Any] = {
    "engine": True,
    "workers": True,
    "ray_address": True,
    "translate": {**PLACES, "endpoint": PATIENCE},
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
    """
    folder = StepFolder(root, unit.name)
    if discard:
        folder.discard()
    key = StepKey({"anukul": __version__, **unit.settings}, unit.inputs())
    try:
        state = folder.state(key)
    except StaleStepError as stale:
        # new input made by this very command is no surprise to the user; a changed setting is
        if not (upstream_changed and all(line.startswith("inputs.") for line in stale.changes)):
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
        add("corpus", config.corpus, partial(_corpus_inputs, config), NOT_OF_CORPUS)
    if config.synth:
        add("synth", config.synth, partial(_synth_inputs, config, root), NOT_OF_SYNTH)
    if config.train:
        for index, stage in enumerate(config.train.stages):
            settings = {**common, "train": _stage_settings(config, stage)}
            inputs = partial(_stage_inputs, config, root, index)
            found.append(
                Unit(f"train/{stage.name}", settings, inputs, partial(_run_stage, config, root, index))
            )
    if config.evaluate:
        _check_replay(config.evaluate, root)
        add("evaluate", config.evaluate, partial(_evaluate_inputs, config, root), NOT_OF_EVALUATE)
    if config.probe:
        add("probe", config.probe, partial(_probe_inputs, config, root))
    add("report", config.report, partial(_report_inputs, config, root))
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


def _texts(inputs: tuple[TextInput, ...], name: str) -> dict[str, str]:
    return {f"{name}.{i}": _hash_input(item) for i, item in enumerate(inputs)}


def _hash_input(item: TextInput) -> str:
    """Digest of an input's files, by their names and contents; of a dataset on the hub its commit."""
    if item.dataset is None and resolve(item.path).is_file():
        return hash_path(resolve(item.path))
    from anukul.corpus.readers import files_of, folder_of, revision_of

    commit = revision_of(item)
    if commit is not None:
        return f"{item.path}@{commit}"
    folder = folder_of(item)
    return digest([[str(file.relative_to(folder)), hash_file(file)] for file in files_of(item)])


def _corpus_inputs(config: RunConfig) -> dict[str, str]:
    assert config.corpus is not None
    hashes = {**_texts(config.corpus.inputs, "inputs"), **_texts(config.corpus.replay, "replay")}
    hashes.update(_languages(config))
    if config.corpus.glotlid:
        hashes["glotlid"] = hash_path(resolve(config.corpus.glotlid))
    if config.corpus.decontaminate:
        hashes.update(_evaluated_on(config))
    return hashes


def _languages(config: RunConfig) -> dict[str, str]:
    """Digests of what the languages' YAML files say, their rivals' among them: a threshold decides rows, no comment."""
    codes = {config.language, config.base_language, "eng_Latn"}
    codes |= {rival for code in sorted(codes) for rival in load_language(code).confusables}
    folder = resources.files("anukul.languages")
    texts = {f"{code}.yaml": folder.joinpath(f"{code}.yaml").read_text("utf-8") for code in sorted(codes)}
    return {f"languages/{name}": digest(yaml.safe_load(text)) for name, text in texts.items()}


def _evaluated_on(config: RunConfig) -> dict[str, str]:
    """Digests of all that the run evaluates on: text is not trained on that holds an item of it."""
    of_evaluation = ("evaluate.", "probe.", "train.ledger.")
    files = [
        item for item in input_files(config) if item[0].startswith(of_evaluation) and "judge" not in item[0]
    ]
    hashes = {key: hash_path(resolve(name)) for key, name in files}
    settings = config.evaluate
    if settings is None:
        return hashes
    for name in [*(task.harness or task.name for task in settings.tasks if not task.path), *settings.presets]:
        hashes[f"evaluate.{name}"] = _harness(name)
    if settings.generation and not settings.generation.prompts:
        hashes["evaluate.generation.prompts"] = hash_path(prompts_path(settings.generation, config.language))
    return hashes


def _synth_inputs(config: RunConfig, root: Path) -> dict[str, str]:
    assert config.synth is not None
    hashes = {}
    if config.corpus:
        hashes["corpus/documents.parquet"] = StepFolder(root, "corpus").outputs()["documents.parquet"]
    if config.corpus is None or config.corpus.decontaminate:
        hashes.update(_evaluated_on(config))
    if config.corpus is not None and config.corpus.decontaminate:
        hashes["corpus.decontaminate"] = digest(config.corpus.decontaminate.model_dump())
    for i, pair in enumerate(config.synth.pairs):
        hashes[f"pairs.{i}.source"] = hash_path(resolve(pair.source))
        if pair.target:
            hashes[f"pairs.{i}.target"] = hash_path(resolve(pair.target))
    for i, item in enumerate(config.synth.instructions):
        hashes[f"instructions.{i}"] = hash_path(resolve(item.path))
    for key, asked in config.synth.translators():
        if asked.engine != "endpoint":
            hashes[f"{key}.model"] = hash_path(resolve(asked.model))
    return hashes


def _stage_inputs(config: RunConfig, root: Path, index: int) -> dict[str, str]:
    assert config.train is not None
    stage = config.train.stages[index]
    hashes = {"model": hash_model(config.model)}
    files = list(STAGE_FILES[stage.format])
    if config.train.of(stage).replay_share > 0:
        files.append("corpus/replay.parquet")
    if index == 0 and config.train.vocabulary and "corpus/documents.parquet" not in files:
        files.append("corpus/documents.parquet")  # what new pieces are learnt from
    for file in files:
        step, _, name = file.partition("/")
        if getattr(config, step) is None:
            raise UserError(
                f"train.stages.{index}: format '{stage.format}' reads {file}: add a {step} section"
            )
        hashes[file] = StepFolder(root, step).outputs()[name]
    if config.train.ledger:
        for key, path in config.train.ledger.probes.files():
            hashes[f"ledger.{key}"] = hash_path(resolve(path))
    if index > 0:
        before = config.train.stages[index - 1].name
        hashes[f"train/{before}/adapter"] = StepFolder(root, f"train/{before}").outputs()["adapter"]
    return hashes


def _adapter(config: RunConfig, root: Path) -> dict[str, str]:
    hashes = {"model": hash_model(config.model)}
    if config.train is None:
        raise UserError("evaluate and probe compare base and adapted: the config needs a train section")
    last = f"train/{config.train.stages[-1].name}"
    return {**hashes, f"{last}/adapter": StepFolder(root, last).outputs()["adapter"]}


def _evaluate_inputs(config: RunConfig, root: Path) -> dict[str, str]:
    settings = config.evaluate
    assert settings is not None
    hashes = _adapter(config, root)
    for task in settings.tasks:
        hashes[f"tasks.{task.name}"] = (
            hash_path(resolve(task.path)) if task.path else _harness(task.harness or task.name)
        )
    for preset in settings.presets:
        hashes[f"presets.{preset}"] = _harness(preset)
    if settings.translation:
        hashes["translation.source"] = hash_path(resolve(settings.translation.source))
        hashes["translation.target"] = hash_path(resolve(settings.translation.target))
    if settings.corpus_probe:
        if config.corpus is None:
            raise UserError(
                "evaluate.corpus_probe: the corpus step makes what it asks about: add a corpus section"
            )
        hashes["corpus_probe.text"] = hash_path(resolve(settings.corpus_probe.text))
        hashes["corpus/documents.parquet"] = StepFolder(root, "corpus").outputs()["documents.parquet"]
        if config.synth:  # names are known by what stands on the other side
            hashes["synth/pairs.parquet"] = StepFolder(root, "synth").outputs()["pairs.parquet"]
    if settings.generation:
        hashes["generation.prompts"] = hash_path(prompts_path(settings.generation, config.language))
        if settings.generation.judge and settings.generation.judge.replay:
            hashes["generation.judge.replay"] = hash_path(resolve(settings.generation.judge.replay))
    for text in settings.bits_per_byte:
        hashes[f"bits_per_byte.{text.name}"] = hash_path(resolve(text.path))
    for name, path in (("knowledge", settings.knowledge), ("agreement", settings.agreement)):
        if path:
            hashes[name] = hash_path(resolve(path))
    return hashes


def _check_replay(settings: EvaluateSettings, root: Path) -> None:
    """Raise UserError where a judge's answers would be read from the very folder that redoing the step deletes."""
    judge = settings.generation.judge if settings.generation else None
    if judge and judge.replay and resolve(judge.replay).is_relative_to(resolve(root) / "evaluate"):
        raise UserError(
            f"evaluate.generation.judge.replay: {judge.replay}: this file is deleted when evaluate is redone; copy it "
            "out of the run folder and name the copy"
        )


def _harness(name: str) -> str:
    """What stands for tasks whose data lm-eval fetches: the version of lm-eval that defines them."""
    return f"{name} of lm-eval {metadata.version('lm-eval')}"


def _probe_inputs(config: RunConfig, root: Path) -> dict[str, str]:
    assert config.probe is not None
    hashes = {**_adapter(config, root), "treebank": hash_path(resolve(config.probe.treebank))}
    for found in config.probe.pairs:
        hashes[f"pairs.{found.name}"] = hash_path(resolve(found.path))
    for text in config.probe.held_out(config.evaluate):
        # which lines are read is said in another section, where they are evaluate's
        lines = [hash_path(resolve(text.path)), text.skip, text.limit]
        hashes[f"knockout.{text.name}"] = digest(lines)
    return hashes


def _report_inputs(config: RunConfig, root: Path) -> dict[str, str]:
    hashes = {}
    for unit in units(config, root)[:-1]:
        marker = StepFolder(root, unit.name).path / "done.json"
        if marker.exists():
            for name, value in StepFolder(root, unit.name).outputs().items():
                hashes[f"{unit.name}/{name}"] = value
    if not hashes:
        raise UserError(
            f"{root}: no step is done yet, there is nothing to report; `anukul run` does all steps"
        )
    for case in sorted(root.glob("probe/cases/*/case.json")):  # asked for by hand, of no step
        hashes[f"probe/cases/{case.parent.name}"] = hash_path(case)
    for folder in config.report.compare:
        scores = resolve(folder) / "evaluate" / "scores.json"
        if not scores.exists():
            raise UserError(
                f"report.compare: {folder}: no evaluate/scores.json there; run that variant first"
            )
        hashes[f"compare/{folder}"] = hash_path(scores)
    return hashes


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
