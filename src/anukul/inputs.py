"""What each step reads, as digests by name: where one has changed, what the step made before is stale."""

from collections.abc import Iterable, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import yaml

from anukul.config import STAGE_FILES, RunConfig, TextInput, resolve
from anukul.configfile import input_files, prompts_path
from anukul.digests import digest, hash_file, hash_model, hash_path
from anukul.errors import UserError
from anukul.languages import available
from anukul.languages import load as load_language
from anukul.rundir import StepFolder

# What a language's YAML says of which text is kept, not of how it is put before a model.
OF_CHOICE = {"thresholds", "quality", "boilerplate", "phone", "suffixes", "confusables", "identifier_rivals"}


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
    return digest([[str(file.relative_to(folder)), _hash_or_unreadable(file)] for file in files_of(item)])


def _hash_or_unreadable(file: Path) -> str:
    """Digest of one file of many: that it cannot be read is for the step, which may leave it out."""
    try:
        return hash_file(file)
    except UserError:
        return "unreadable"


def corpus_inputs(config: RunConfig) -> dict[str, str]:
    """Those of the corpus: its files, thresholds of languages, and what the run evaluates on."""
    assert config.corpus is not None
    hashes = {**_texts(config.corpus.inputs, "inputs"), **_texts(config.corpus.replay, "replay")}
    hashes.update(_languages(config))
    if config.corpus.glotlid:
        hashes["glotlid"] = hash_path(resolve(config.corpus.glotlid))
    if config.corpus.decontaminate:
        hashes.update(_evaluated_on(config))
    return hashes


def _languages(config: RunConfig, also: Iterable[str] = ()) -> dict[str, str]:
    """Digests of what the languages' YAML files say, their rivals' among them: a threshold decides rows, no comment."""
    codes = {config.language, config.base_language, "eng_Latn", *also}
    codes |= {rival for code in sorted(codes) for rival in load_language(code).confusables}
    return {f"languages/{code}.yaml": digest(_said_of(code)) for code in sorted(codes)}


def _spelled(config: RunConfig) -> dict[str, str]:
    """Digests of what the two languages' YAML files say of how rows become examples and prompts."""
    said = {code: _said_of(code) for code in (config.language, config.base_language)}
    return {
        f"languages/{code}.yaml": digest({key: held for key, held in text.items() if key not in OF_CHOICE})
        for code, text in said.items()
    }


def _said_of(code: str) -> dict[str, Any]:
    text = resources.files("anukul.languages").joinpath(f"{code}.yaml").read_text("utf-8")
    return dict(yaml.safe_load(text))


def _evaluated_on(config: RunConfig) -> dict[str, str]:
    """Digests of all that the run evaluates on: text is not trained on that holds an item of it."""
    of_evaluation = ("evaluate.", "probe.", "train.ledger.")
    files = [
        item for item in input_files(config) if item[0].startswith(of_evaluation) and "judge" not in item[0]
    ]
    hashes = {key: hash_path(resolve(name)) for key, name in files}
    from anukul.contamination import eval_sets

    # which lines and rows of the files, and which tasks of lm-eval
    hashes.update({f"evaluated.{held.name}": digest(held.asked) for held in eval_sets(config)})
    settings = config.evaluate
    if settings is None:
        return hashes
    for name in [*(task.harness or task.name for task in settings.tasks if not task.path), *settings.presets]:
        hashes[f"evaluate.{name}"] = _harness(name)
    if settings.generation and not settings.generation.prompts:
        hashes["evaluate.generation.prompts"] = hash_path(prompts_path(settings.generation, config.language))
    return hashes


def synth_inputs(config: RunConfig, root: Path) -> dict[str, str]:
    """Those of synth: the corpus, given pairs and instructions, translators."""
    assert config.synth is not None
    # instructions may be in any language
    hashes = _languages(config, available() if config.synth.instructions else ())
    if config.corpus:
        hashes["corpus/documents.parquet"] = StepFolder(root, "corpus").outputs()["documents.parquet"]
    if config.corpus is None or config.corpus.decontaminate:
        hashes.update(_evaluated_on(config))
    if config.corpus is not None and config.corpus.decontaminate:
        hashes["corpus.decontaminate"] = digest(config.corpus.decontaminate.model_dump())
    if config.corpus is not None:
        hashes["corpus.mask_pii"] = str(config.corpus.mask_pii)
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


def stage_inputs(config: RunConfig, root: Path, index: int) -> dict[str, str]:
    """Those of a stage: its rows, the base, and the adapter of the stage before."""
    assert config.train is not None
    stage = config.train.stages[index]
    hashes = {"model": hash_model(config.model), **_spelled(config)}
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


def evaluate_inputs(config: RunConfig, root: Path) -> dict[str, str]:
    """Those of evaluate: the adapter, tasks and held-out texts."""
    settings = config.evaluate
    assert settings is not None
    hashes = _adapter(config, root)
    if settings.generation:
        hashes.update(_languages(config))  # texts are identified
    elif settings.translation or settings.corpus_probe:
        hashes.update(_spelled(config))
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


def _harness(name: str) -> str:
    """What stands for tasks whose data lm-eval fetches: the version of lm-eval that defines them."""
    return f"{name} of lm-eval {metadata.version('lm-eval')}"


def probe_inputs(config: RunConfig, root: Path) -> dict[str, str]:
    """Those of the probe: the adapter, treebank, pairs and held-out texts."""
    assert config.probe is not None
    hashes = {**_adapter(config, root), "treebank": hash_path(resolve(config.probe.treebank))}
    for found in config.probe.pairs:
        hashes[f"pairs.{found.name}"] = hash_path(resolve(found.path))
    for text in config.probe.held_out(config.evaluate):
        # which lines are read is said in another section, where they are evaluate's
        lines = [hash_path(resolve(text.path)), text.skip, text.limit]
        hashes[f"knockout.{text.name}"] = digest(lines)
    return hashes


def report_inputs(config: RunConfig, root: Path, before: Sequence[str]) -> dict[str, str]:
    """Those of the report: the markers of the units `before` it, runs to compare with, and case studies."""
    hashes = {}
    for unit in before:
        step = StepFolder(root, unit)
        if (step.path / "done.json").exists():
            hashes.update({f"{unit}/{name}": value for name, value in step.outputs().items()})
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
