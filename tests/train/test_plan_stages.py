"""What `plan` counts of a stage is what training then does, where the data stand; near it on a sample."""

from pathlib import Path
from typing import Any

import pytest
from made_stage import make_run

from anukul.config import RunConfig
from anukul.model.base import load_base
from anukul.plan import rows, stages
from anukul.plan.printed import gather
from anukul.train.data import own_examples, replay_examples
from anukul.train.formats import Formatter
from anukul.train.packing import Counts
from anukul.train.plan import StagePlan, plan_stage


def plans(config: RunConfig, root: Path) -> list[StagePlan]:
    """The plans that training makes of every stage."""
    settings = config.train
    assert settings is not None
    loaded = load_base(config.model)
    formatter = Formatter(loaded.tokenizer, loaded.prefix_id, config.language, config.base_language)
    replay = replay_examples(root, formatter)
    return [
        plan_stage(own_examples(root, stage, formatter), replay, settings, stage, config.seed)
        for stage in settings.stages
    ]


def figures(plan: StagePlan) -> tuple[int, int, int]:
    return Counts.of(plan.examples).sums(plan.rows[: plan.steps * plan.rows_per_step])


def run_of(tmp_path: Path, tiny_base: Path, **more: Any) -> RunConfig:
    config = make_run(tmp_path, tiny_base, **more)
    assert config.train is not None
    text = {"name": "text", "format": "text", "batch_tokens": 512, "max_steps": 1}
    data = config.model_dump(mode="json")
    data["train"]["stages"].append(text)
    return RunConfig.model_validate(data)


def test_data_that_stand_are_counted_as_training_counts_them(tmp_path: Path, tiny_base: Path) -> None:
    config = run_of(tmp_path, tiny_base)
    costs = gather(config, tmp_path).costs
    assert [cost.stage.format for cost in costs] == ["translation", "bilingual", "instruct", "text"]
    for cost, plan in zip(costs, plans(config, tmp_path), strict=True):
        tokens, learnt, _ = figures(plan)
        assert cost.exact and cost.how == "every row tokenised" and cost.source == "rows of the run folder"
        assert (cost.tokens, cost.learnt, cost.steps) == (tokens, learnt, plan.steps)
        assert 0 < cost.replay < cost.tokens and 0.5 < cost.full <= 1
        assert len(cost.batches.learnt.targets) > 0 and cost.flops > 0


def test_a_sample_comes_near(tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = run_of(tmp_path, tiny_base, batch_tokens=256, context=128)
    monkeypatch.setattr(rows, "SAMPLE_ROWS", 8)
    for cost, plan in zip(gather(config, tmp_path).costs, plans(config, tmp_path), strict=True):
        tokens, learnt, _ = figures(plan)
        assert not cost.exact and "rows tokenised, spread evenly" in cost.how
        assert cost.tokens == pytest.approx(tokens, rel=0.25)
        assert cost.learnt == pytest.approx(learnt, rel=0.3)
        assert abs(cost.steps - plan.steps) <= max(1, 0.35 * plan.steps)


def test_the_ledger_is_counted_by_its_own_code(tmp_path: Path, tiny_base: Path) -> None:
    (tmp_path / "probe.txt").write_text("Ram eats rice.\nSita went to school.\n")
    text = {"name": "en", "path": str(tmp_path / "probe.txt"), "language": "eng_Latn"}
    ledger = {"every_steps": 1, "probes": {"bits_per_byte": [text]}, "max_cost_share": 1.0}
    config = run_of(tmp_path, tiny_base, ledger=ledger)
    found = gather(config, tmp_path)
    loaded = load_base(config.model)
    cut = loaded.tokenizer(["Ram eats rice.", "Sita went to school."], add_special_tokens=False)["input_ids"]
    assert found.probes == stages.Probes(2, sum(map(len, cut)))
    for cost in found.costs:
        assert cost.ledger_every == 1
        held = cost.steps * (512 if cost.stage.name == "text" else 256)
        assert cost.ledger_share == pytest.approx((cost.steps + 1) * 0.5 * found.probes.tokens / held)


def test_a_stage_without_data_is_counted_by_the_held_out_lines(tmp_path: Path, tiny_base: Path) -> None:
    (tmp_path / "ne.txt").write_text("रामले भात खान्छ।\n" * 5, encoding="utf-8")
    (tmp_path / "en.txt").write_text("Ram eats rice.\n" * 5, encoding="utf-8")
    data = run_of(tmp_path / "elsewhere", tiny_base, replay_share=0.2).model_dump(mode="json")
    data["evaluate"] = {
        "bits_per_byte": [
            {"name": "ne", "path": str(tmp_path / "ne.txt"), "language": "npi_Deva"},
            {"name": "en", "path": str(tmp_path / "en.txt"), "language": "eng_Latn"},
        ]
    }
    data["train"]["stages"] = [{"name": "t", "format": "translation", "max_examples": 1000, "epochs": 2.0}]
    found = gather(RunConfig.model_validate(data), tmp_path / "nothing")
    (cost,) = found.costs
    each = [found.fertility[code].tokens_per_line for code in ("npi_Deva", "eng_Latn")]
    assert cost.how == "assumed as long as the held-out lines" and cost.rows == 1000 and not cost.exact
    assert cost.tokens == pytest.approx(2000 * (sum(each) + 2) / 0.8, rel=0.02)
    assert cost.replay == pytest.approx(0.2 * cost.tokens)
    del data["evaluate"]
    (blind,) = gather(RunConfig.model_validate(data), tmp_path / "nothing").costs
    assert blind.tokens == 0 and "no held-out text" in blind.how and len(blind.batches.learnt.targets) == 255
