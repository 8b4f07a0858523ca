"""What run.yaml may ask of evaluation, what is told before a model loads, and what a result depends on."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from anukul.config import (
    CorpusProbeSettings,
    EvaluateSettings,
    ModelSettings,
    RunConfig,
    Stage,
    TaskSettings,
    TrainSettings,
    TranslationSettings,
)
from anukul.configfile import check_files
from anukul.errors import UserError
from anukul.pipeline import units
from anukul.rundir import write_json


def config_of(tiny_base: Path, **evaluate: Any) -> RunConfig:
    return RunConfig(
        name="t",
        language="npi_Deva",
        model=ModelSettings(path=str(tiny_base)),
        train=TrainSettings(stages=(Stage(name="last", format="text"),)),
        evaluate=EvaluateSettings(**evaluate),
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "needs either path or harness"),
        ({"path": "x", "harness": "y"}, "needs either path or harness"),
        ({"path": "x", "num_fewshot": 3}, "num_fewshot goes with `shots: lm-eval`"),
        ({"path": "x", "shots": ()}, "counts of 0 or more"),
        ({"path": "x", "shots": (-1, 0)}, "counts of 0 or more"),
    ],
)
def test_a_task_has_one_source_and_counts(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TaskSettings(name="t", language="eng_Latn", **settings)
    with pytest.raises(ValidationError, match="distinct counts"):
        TranslationSettings(source="a", target="b", shots=(1, 1))


def test_missing_files_are_told_together(tiny_base: Path, tmp_path: Path) -> None:
    config = config_of(
        tiny_base,
        tasks=(
            TaskSettings(name="a", path="absent.jsonl", language="eng_Latn"),
            TaskSettings(name="b", harness="piqa", language="eng_Latn"),
        ),
        translation=TranslationSettings(source="absent.en", target="absent.ne"),
        corpus_probe=CorpusProbeSettings(text="absent.txt"),
    )
    with pytest.raises(UserError) as error:
        check_files(tmp_path / "run.yaml", config)
    lines = str(error.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "evaluate.tasks.0.path",
        "evaluate.translation.source",
        "evaluate.translation.target",
        "evaluate.corpus_probe.text",
    ]


def test_a_result_depends_on_its_files(tiny_base: Path, tmp_path: Path) -> None:
    for name in ("en", "ne", "held.txt"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    write_json(tmp_path / "train" / "last" / "done.json", {"outputs": {"adapter": "x"}})

    def inputs(**evaluate: Any) -> dict[str, str]:
        config = config_of(tiny_base, **evaluate)
        unit = next(unit for unit in units(config, tmp_path) if unit.name == "evaluate")
        return unit.inputs()

    both = TranslationSettings(source=str(tmp_path / "en"), target=str(tmp_path / "ne"))
    task = TaskSettings(name="b", harness="piqa", language="eng_Latn")
    before = inputs(translation=both, tasks=(task,), presets=("nepali",))
    assert "lm-eval" in before["tasks.b"] and "lm-eval" in before["presets.nepali"]
    (tmp_path / "ne").write_text("changed", encoding="utf-8")
    after = inputs(translation=both, tasks=(task,), presets=("nepali",))
    assert {key for key in before if before[key] != after[key]} == {"translation.target"}
    with pytest.raises(UserError, match=r"evaluate.corpus_probe: .* add a corpus section"):
        inputs(corpus_probe=CorpusProbeSettings(text=str(tmp_path / "held.txt")))
