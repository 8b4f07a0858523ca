"""A small run with a trained adapter, to export."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from small_run import config_of, train

from anukul import exports
from anukul.config import RunConfig
from anukul.export import reload, verify
from anukul.rundir import write_json


@pytest.fixture(scope="session")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Path]:
    """A config and its run folder, trained, nothing exported; tests copy the folder before they change it."""
    folder = tmp_path_factory.mktemp("run")
    config = config_of(tiny_base, folder)
    train(config, folder / "small")
    return config, folder / "small"


@pytest.fixture(scope="session")
def merged(
    trained: tuple[RunConfig, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunConfig, Path]:
    """The small run with its merged model, checked in a fresh process."""
    root = tmp_path_factory.mktemp("merged") / "small"
    shutil.copytree(trained[1], root)
    exports.run_export(trained[0], "name: small\n", root, "merged")
    return trained[0], root


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load exports again from their files in this process: the same code without the seconds of a fresh one."""

    def here(work: Path, task: reload.Task, texts: list[dict[str, Any]]) -> reload.Answer:
        told = {"model": task.model.model_dump(mode="json"), "adapter": task.adapter, "gguf": task.gguf}
        write_json(work / "task.json", {**told, "texts": texts})
        return reload.answer(work)

    monkeypatch.setattr(verify, "reload", here)
