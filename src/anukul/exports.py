"""`anukul export`: what decides each export's result, and whether it is kept or made. Nothing here imports torch."""

from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from anukul import pipeline
from anukul.config import RunConfig
from anukul.digests import hash_model
from anukul.errors import UserError
from anukul.rundir import Result, StaleStepError, StepFolder, lock

Kind = Literal["merged", "adapter", "gguf"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# What of `export` decides each kind's result.
SETTINGS: dict[Kind, set[str]] = {
    "merged": {"dtype", "shard_gb", "texts", "max_divergence", "max_bits_per_byte"},
    "adapter": {"texts", "max_divergence", "max_bits_per_byte"},
    "gguf": {"gguf", "texts", "max_divergence", "max_bits_per_byte"},
}


def run_export(config: RunConfig, requested: str, root: Path, kind: Kind, redo: bool = False) -> Path:
    """Make an export, and what it is made from, unless it stands; return the folder to hand on.

    `redo` discards it and the merged model first. Raises UserError where it was made with other settings or inputs, or
    is refused because what comes back differs; nothing of a refused export stays.
    """
    record = partial(pipeline.record_run, config, requested, root)
    needed: tuple[Kind, ...] = ("merged", "gguf") if kind == "gguf" else (kind,)
    folder = root
    changed = False
    with lock(root):
        for part in needed:
            unit = _unit(config, root, part)
            step = StepFolder(root, unit.name)
            folder = step.path
            # an export is made whole or not at all: there is nothing to go on from
            discard = redo or _is_partial(folder)
            try:
                changed |= pipeline.bring_up(
                    unit, root, discard, record, must_stand=False, upstream_changed=changed
                )
            except StaleStepError as stale:
                raise UserError(str(stale).replace("--redo export", "--redo")) from None
            except UserError:
                if _is_partial(folder):
                    step.discard()
                raise
    return folder / "model"


def _is_partial(folder: Path) -> bool:
    return (folder / "started.json").exists() and not (folder / "done.json").exists()


def _unit(config: RunConfig, root: Path, kind: Kind) -> pipeline.Unit:
    name = f"export/gguf/{config.export.gguf}" if kind == "gguf" else f"export/{kind}"
    settings: dict[str, Any] = {
        "name": config.name,
        "export": config.export.model_dump(mode="json", include=SETTINGS[kind]),
    }
    return pipeline.Unit(
        name, settings, partial(_inputs, config, root, kind), partial(_run, config, root, kind)
    )


def _inputs(config: RunConfig, root: Path, kind: Kind) -> dict[str, str]:
    from anukul.export.texts import check_inputs

    texts = check_inputs(config, root)
    if kind == "gguf":
        return {"export/merged": StepFolder(root, "export/merged").outputs()["model"], **texts}
    if config.train is None:
        raise UserError("export: there is no adapter to export; the config needs a train section")
    last = f"train/{config.train.stages[-1].name}"
    adapter = StepFolder(root, last).outputs()["adapter"]
    return {"model": hash_model(config.model), f"{last}/adapter": adapter, **texts}


def _run(config: RunConfig, root: Path, kind: Kind) -> Result:
    from anukul.export import step

    runs = {"merged": step.run_merged, "adapter": step.run_adapter, "gguf": step.run_gguf}
    return runs[kind](config, root)


def upload(
    config: RunConfig,
    root: Path,
    kind: Kind,
    source: Path,
    repository: str,
    private: bool,
    push: bool,
) -> str:
    """Return what uploading an export would send, or with `push` send it and return where it is."""
    from anukul.export import hub

    planned = hub.prepare(config, root, kind, source, repository, private)
    text = hub.describe(planned, hub.endpoint())
    if push:
        return f"{text}\n{hub.send(planned, root)}"
    token = "set" if hub.has_token() else f"not set: {hub.TOKEN_VARIABLES[0]} is needed for --push"
    return f"Nothing is sent without --push. This would be:\n{text}\ntoken: {token}"
