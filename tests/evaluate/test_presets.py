"""The lists of lm-eval tasks."""

import pytest

from anukul.config import EvaluateSettings, TaskSettings
from anukul.errors import UserError
from anukul.items.presets import PRESETS, expand

# what lm-eval 0.4.13 offers for Nepali
NAMES = {
    "belebele_npi_Deva",
    "global_mmlu_full_ne",
    "include_base_44_nepali",
    "arc_ne",
    "hellaswag_ne",
    "m_mmlu_ne",
    "truthfulqa_ne_mc1",
    "mmlu_prox_ne",
    "indicparam_nepali",
}


def test_presets_name_tasks_with_their_weakness() -> None:
    held = expand(EvaluateSettings(presets=("nepali", "english-general")), "npi_Deva")
    roles = {task.harness: task.role for task, _ in held}
    assert set(roles) > NAMES | {"arc_easy", "hellaswag", "piqa", "winogrande"}
    assert {name for name, role in roles.items() if role == "target"} > NAMES
    assert roles["piqa"] == "forgetting"
    assert all(weakness.endswith(".") and len(weakness) > 40 for _, weakness in held)
    bad = next(weakness for task, weakness in held if task.harness == "hellaswag_ne")
    assert "translated" in bad and "bad" in bad
    assert {task.harness for task, _ in held if task.shots == "lm-eval"} == {"mmlu_prox_ne"}


def test_every_name_is_one_of_lm_evals() -> None:
    from pathlib import Path

    import lm_eval

    folder = Path(str(lm_eval.__file__)).parent / "tasks"
    known = {
        line.partition(":")[2].strip().strip("\"'")
        for pattern in (
            "arc*",
            "belebele",
            "global_mmlu",
            "global_piqa",
            "hellaswag",
            "include",
            "indicparam",
        )
        for file in [*folder.glob(f"{pattern}/**/*.yaml")]
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.startswith(("task:", "group:"))
    }
    for pattern in (
        "okapi",
        "mmlu_prox/ne",
        "piqa",
        "winogrande",
        "openbookqa",
        "super_glue",
        "sciq",
        "lambada",
    ):
        for file in folder.glob(f"{pattern}/**/*.yaml"):
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.startswith(("task:", "group:")):
                    known.add(line.partition(":")[2].strip().strip("\"'"))
    asked = {task.harness for _, _, tasks in PRESETS.values() for task in tasks}
    assert len(asked) >= 18
    assert asked - known == set()


def test_a_task_written_out_takes_the_place_of_the_presets() -> None:
    own = TaskSettings(name="arc", harness="arc_easy", language="eng_Latn", limit=5)
    held = expand(EvaluateSettings(presets=("english-general",), tasks=(own,)), "npi_Deva")
    assert [task.limit for task, _ in held if task.harness == "arc_easy"] == [5]
    assert next(weakness for task, weakness in held if task is own)
    clash = TaskSettings(name="piqa", path="x.jsonl", language="eng_Latn")
    with pytest.raises(UserError, match="has a task 'piqa'; choose another name"):
        expand(EvaluateSettings(presets=("english-general",), tasks=(clash,)), "npi_Deva")
