"""Read run.yaml: variables, overrides, and every fault told at once, before anything heavy is imported."""

import difflib
import os
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from anukul.config import HUB, GenerationSettings, ModelSettings, RunConfig, matching, resolve
from anukul.errors import UserError
from anukul.licenses import refuse

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with two of its traps removed: `2e-4` is a number, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, refusing a key that stands in it twice."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; raise UserError with file and line where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; give the path of a run.yaml, or make one with `anukul init`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    try:
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: must hold keys and values, such as `name: demo`")
    return data


def apply_overrides(data: dict[str, Any], overrides: Iterable[str]) -> None:
    """Set `a.b.0.c=value` paths in `data`; values are read as YAML. Raise UserError for a bad path."""
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise UserError(f"-s {override}: write it as key.path=value, such as train.learning_rate=1e-4")
        keys = path.split(".")
        here: Any = data
        for depth, key in enumerate(keys):
            last = depth == len(keys) - 1
            if isinstance(here, list):
                if not key.isdigit() or int(key) >= len(here):
                    where = ".".join(keys[:depth])
                    raise UserError(f"-s {override}: {where} is a list of {len(here)}; '{key}' is not in it")
                if last:
                    here[int(key)] = yaml.load(text, _Loader)
                else:
                    here = here[int(key)]
            elif isinstance(here, dict):
                if last:
                    here[key] = yaml.load(text, _Loader)
                else:
                    if here.get(key) is None:
                        here[key] = {}
                    here = here[key]
            else:
                raise UserError(
                    f"-s {override}: {'.'.join(keys[:depth])} is a plain value, it has no '{key}'"
                )


def expand_variables(value: Any, variables: dict[str, str], missing: set[str]) -> Any:
    """Return `value` with `${NAME}` and `${NAME:-default}` replaced everywhere.

    Names that are neither set nor have a default are added to `missing`.
    """
    if isinstance(value, dict):
        return {key: expand_variables(item, variables, missing) for key, item in value.items()}
    if isinstance(value, list):
        return [expand_variables(item, variables, missing) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        if name in variables:
            return variables[name]
        if default is None:
            missing.add(name)
            return match.group(0)
        return str(default)

    return VARIABLE.sub(replace, value)


def load(path: Path, overrides: Iterable[str] = (), world: str | None = None) -> RunConfig:
    """Read, override, expand and validate a run.yaml.

    `world` is the value of `${world}`; None leaves the variable to the world section's own default folder.
    Raises UserError that lists every fault, one line each, and what `license: commercial` refuses.
    """
    data = read_yaml(path)
    apply_overrides(data, overrides)
    variables = dict(os.environ)
    if data.get("world") is not None:
        variables["world"] = world or "${world}"
    missing: set[str] = set()
    data = expand_variables(data, variables, missing)
    faults = [
        f"{path}: ${{{name}}} is not set; export {name}=… before the command" for name in sorted(missing)
    ]
    try:
        config = RunConfig.model_validate(data)
    except ValidationError as error:
        faults += [_fault(path, data, item) for item in error.errors()]
        raise UserError("\n".join(faults)) from None
    if faults:
        raise UserError("\n".join(faults))
    refuse(config)
    return config


def is_local(name: str) -> bool:
    """Whether a model or tokenizer name means a folder here and not a name on the hub.

    Offline, a name on the hub is one that the hub's cache holds.
    """
    return (
        Path(name).expanduser().is_dir()
        or name.startswith((".", "/", "~"))
        or name.count("/") != 1
        or (os.environ.get("HF_HUB_OFFLINE") == "1" and not _is_cached(name))
    )


def _is_cached(name: str) -> bool:
    from huggingface_hub import constants

    return (Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots").is_dir()


def check_model(settings: ModelSettings) -> None:
    """Raise UserError where a local base is not a usable Hugging Face folder; a hub name is not looked at."""
    folder = Path(settings.path).expanduser()
    if is_local(settings.path):
        if not folder.is_dir():
            raise UserError(
                f"model.path: {settings.path}: no such folder; give a Hugging Face model folder or a hub name"
            )
        if not (folder / "config.json").exists():
            raise UserError(
                f"model.path: {settings.path}: no config.json in this folder; give a Hugging Face model folder"
            )
    check_tokenizer(settings)


def check_tokenizer(settings: ModelSettings) -> None:
    """Raise UserError where the folder that should hold the tokenizer does not."""
    key, name = ("tokenizer", settings.tokenizer) if settings.tokenizer else ("path", settings.path)
    folder = Path(name).expanduser()
    if is_local(name) and not any((folder / file).exists() for file in TOKENIZER_FILES):
        raise UserError(
            f"model.{key}: {name}: no tokenizer in this folder (none of {', '.join(TOKENIZER_FILES)}); "
            "put the base's tokenizer files there or name their folder in model.tokenizer"
        )


def check_files(path: Path, config: RunConfig) -> None:
    """Raise UserError naming every input file of the config that does not exist, the base among them."""
    faults = []
    for key, name in input_files(config):
        if name.startswith(HUB) and not name.startswith((f"{HUB}/", f"{HUB}.", f"{HUB}~")):
            continue  # a name on the hub, which is asked when the step runs
        found = resolve(name.removeprefix(HUB))
        if not matching(found):
            faults.append(f"{path}: {key}: {name}: no such file")
    if config.train or config.evaluate or config.probe:
        try:
            check_model(config.model)
        except UserError as error:
            faults.append(f"{path}: {error}")
    if faults:
        raise UserError("\n".join(faults))


def input_files(config: RunConfig) -> list[tuple[str, str]]:
    """Return (key path, file, folder or glob) for all that the config names, the model apart."""
    files: list[tuple[str, str]] = []
    if config.corpus:
        files += [(f"corpus.inputs.{i}.path", item.path) for i, item in enumerate(config.corpus.inputs)]
        files += [(f"corpus.replay.{i}.path", item.path) for i, item in enumerate(config.corpus.replay)]
    if config.synth:
        for i, pair in enumerate(config.synth.pairs):
            files.append((f"synth.pairs.{i}.source", pair.source))
            if pair.target:
                files.append((f"synth.pairs.{i}.target", pair.target))
        files += [
            (f"synth.instructions.{i}.path", item.path) for i, item in enumerate(config.synth.instructions)
        ]
        files += [
            (f"synth.{key}.model", asked.model)
            for key, asked in config.synth.translators()
            if asked.engine != "endpoint"
        ]
    if config.train and config.train.ledger:
        probes = config.train.ledger.probes.files()
        files += [(f"train.ledger.probes.{key}.path", path) for key, path in probes]
    if config.evaluate:
        tasks = config.evaluate.tasks
        files += [(f"evaluate.tasks.{i}.path", task.path) for i, task in enumerate(tasks) if task.path]
        if config.evaluate.translation:
            files.append(("evaluate.translation.source", config.evaluate.translation.source))
            files.append(("evaluate.translation.target", config.evaluate.translation.target))
        if config.evaluate.corpus_probe:
            files.append(("evaluate.corpus_probe.text", config.evaluate.corpus_probe.text))
        generation = config.evaluate.generation
        if generation and generation.prompts:
            files.append(("evaluate.generation.prompts", generation.prompts))
        if generation and generation.judge and generation.judge.replay:
            files.append(("evaluate.generation.judge.replay", generation.judge.replay))
        texts = config.evaluate.bits_per_byte
        files += [(f"evaluate.bits_per_byte.{i}.path", text.path) for i, text in enumerate(texts)]
        if config.evaluate.knowledge:
            files.append(("evaluate.knowledge", config.evaluate.knowledge))
        if config.evaluate.agreement:
            files.append(("evaluate.agreement", config.evaluate.agreement))
    if config.probe:
        files.append(("probe.treebank", config.probe.treebank))
        files += [(f"probe.pairs.{i}.path", found.path) for i, found in enumerate(config.probe.pairs)]
        if config.probe.knockout and config.probe.knockout.held_out:
            files.append(("probe.knockout.held_out.path", config.probe.knockout.held_out.path))
    return files


def prompts_path(settings: GenerationSettings, language: str) -> Path:
    """The file of prompts for generation: as configured, or the shipped set of the language; else UserError."""
    if settings.prompts:
        return resolve(settings.prompts)
    shipped = Path(
        str(resources.files("anukul").joinpath("evaluate", "generation", "prompts", f"{language}.jsonl"))
    )
    if not shipped.exists():
        raise UserError(
            f"evaluate.generation: no prompts are shipped for {language}; name a .jsonl of id, prompt, topic, length "
            "in evaluate.generation.prompts"
        )
    return shipped


def _fault(path: Path, data: dict[str, Any], item: Any) -> str:
    """Put one pydantic fault into one line: file, key path, what is wrong, the nearest valid name."""
    location = list(item["loc"])
    where = ".".join(str(part) for part in location) or "(whole file)"
    if item["type"] == "extra_forbidden":
        valid = _valid_names(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"valid here: {', '.join(sorted(valid))}"
        return f"{path}: {where}: unknown key; {hint}"
    if item["type"] == "missing":
        return f"{path}: {where}: must be given"
    message = item["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(item["input"], dict | list) else f" (got {item['input']!r})"
    return f"{path}: {where}: {message[0].lower()}{message[1:]}{shown}"


def _valid_names(location: list[Any]) -> list[str]:
    """Return the keys that are valid in the section at `location`."""
    model: type[BaseModel] = RunConfig
    for part in location:
        if isinstance(part, int) or part not in model.model_fields:
            continue
        inner = _section_in(model.model_fields[part].annotation)
        if inner is not None:
            model = inner
    return list(model.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section class inside an annotation such as `tuple[Stage, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _section_in(argument)
        if found is not None:
            return found
    return None
