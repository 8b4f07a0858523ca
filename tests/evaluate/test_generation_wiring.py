"""What decides generation's result is hashed, what does not is not, and what it will cost is told beforehand."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anukul import configfile, pipeline
from anukul.config import RunConfig, resolve
from anukul.errors import UserError
from anukul.plan.printed import print_judge
from anukul.rundir import write_json

JUDGE = {"base_url": "http://127.0.0.1:9/v1", "model": "judge-1", "max_cost_usd": 1}
PAPER = Path(__file__).parents[2] / "configs" / "paper-nepali-llama3-8b.yaml"


def config(generation: dict[str, Any], base: str = "base", language: str = "npi_Deva") -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "t",
            "language": language,
            "model": {"path": base, "quantization": "none"},
            "train": {"stages": [{"name": "last", "format": "text"}]},
            "evaluate": {"generation": generation},
        }
    )


def unit(made: RunConfig, root: Path) -> pipeline.Unit:
    return next(unit for unit in pipeline.units(made, root) if unit.name == "evaluate")


def test_prompts_decide_the_step_and_the_ways_to_the_judge_do_not(tiny_base: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "train" / "last" / "done.json", {"outputs": {"adapter": "ab"}})
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"prompt": "एक दिन"}\n', encoding="utf-8")
    shipped = unit(config({}, str(tiny_base)), tmp_path).inputs()
    first = unit(config({"prompts": str(prompts)}, str(tiny_base)), tmp_path).inputs()
    prompts.write_text('{"prompt": "दुई दिन"}\n', encoding="utf-8")
    second = unit(config({"prompts": str(prompts)}, str(tiny_base)), tmp_path).inputs()
    assert len({found["generation.prompts"] for found in (shipped, first, second)}) == 3

    asked = unit(config({"judge": JUDGE}), tmp_path).settings
    assert asked["evaluate"]["generation"]["judge"]["model"] == "judge-1"
    changed = {**JUDGE, "max_cost_usd": 9, "requests_per_minute": 1, "max_retries": 1, "api_key_env": "OTHER"}
    assert unit(config({"judge": changed}), tmp_path).settings == asked
    assert unit(config({"judge": {**JUDGE, "model": "judge-2"}}), tmp_path).settings != asked
    assert unit(config({"temperature": 0.5, "judge": JUDGE}), tmp_path).settings != asked


def test_a_replay_is_hashed_and_may_not_stand_where_it_would_be_deleted(
    tiny_base: Path, tmp_path: Path
) -> None:
    write_json(tmp_path / "train" / "last" / "done.json", {"outputs": {"adapter": "ab"}})
    stored = tmp_path / "verdicts.jsonl"
    stored.write_text("{}\n")
    made = config({"judge": {**JUDGE, "replay": str(stored)}}, str(tiny_base))
    assert "generation.judge.replay" in unit(made, tmp_path).inputs()
    inside = tmp_path / "evaluate" / "verdicts.jsonl"
    with pytest.raises(UserError, match="deleted when evaluate is redone; copy it out"):
        pipeline.units(config({"judge": {**JUDGE, "replay": str(inside)}}), tmp_path)


def test_files_that_are_missing_are_named(tiny_base: Path, tmp_path: Path) -> None:
    made = config({"prompts": "no.jsonl", "judge": {**JUDGE, "replay": "none.jsonl"}}, str(tiny_base))
    with pytest.raises(UserError) as caught:
        configfile.check_files(tmp_path / "run.yaml", made)
    assert "evaluate.generation.prompts: no.jsonl: no such file" in str(caught.value)
    assert "evaluate.generation.judge.replay: none.jsonl: no such file" in str(caught.value)
    shipped = configfile.prompts_path(config({}).evaluate.generation, "npi_Deva")  # type: ignore[union-attr,arg-type]  # it is set
    assert shipped.is_relative_to(resolve(Path(configfile.__file__).parent)) and shipped.exists()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("evaluate.generation.seeds=[1, 1]", "seeds must differ"),
        ("evaluate.generation.judge.modes=[]", "judge.modes"),
        ("evaluate.generation.judge.base_url=https://me:secret@host/v1", "must be a plain http"),
        ("evaluate.generation.judge.api_key=sk-secret", "unknown key; did you mean 'api_key_env'"),
    ],
)
def test_bad_settings_are_told_without_their_values(change: str, fault: str) -> None:
    judge = "evaluate.generation.judge={base_url: 'http://localhost/v1', model: m}"
    with pytest.raises(UserError, match=fault) as caught:
        configfile.load(PAPER, [judge, change])
    assert "secret" not in str(caught.value)


def test_sampled_texts_cannot_be_judged_where_none_are_made() -> None:
    with pytest.raises(ValueError, match="names sampled texts but seeds is empty"):
        config({"seeds": [], "judge": {**JUDGE, "modes": ["sampled"]}})


def test_the_plan_says_what_the_judge_costs(capsys: pytest.CaptureFixture[str]) -> None:
    judge = "evaluate.generation.judge={base_url: 'https://api.openai.com/v1', model: gpt-4o}"
    print_judge(configfile.load(PAPER, [judge]))
    told = re.search(r"judge: +120 requests to gpt-4o, about ([\d.]+) USD", capsys.readouterr().out)
    assert told and 0.3 < float(told.group(1)) < 1.5
    both = f"{judge[:-1]}, modes: [greedy, sampled]}}"
    print_judge(configfile.load(PAPER, [both, "evaluate.generation.seeds=[0, 1]"]))
    assert "360 requests to gpt-4o" in capsys.readouterr().out
    print_judge(configfile.load(PAPER))
    assert "gpt-4o" not in capsys.readouterr().out


def test_the_judge_and_the_prompts_load_without_torch() -> None:
    code = (
        "import sys, anukul.evaluate.judge.compare, anukul.evaluate.judge.client; "
        "import anukul.evaluate.generation.prompt_set; "
        "print([m for m in ('torch', 'transformers', 'openai') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
