"""Generation in the step: base and adapted on the same prompts, killed and resumed, summarized, judged."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from judge_server import KEY, Answer, longer_wins, serving

from anukul import languages
from anukul.config import (
    EvaluateSettings,
    GenerationSettings,
    LoraSettings,
    ModelSettings,
    RunConfig,
    Stage,
    TrainSettings,
)
from anukul.errors import UserError
from anukul.evaluate.generation import texts as generation_module
from anukul.evaluate.generation.prompt_set import Prompt, load_prompts, spread
from anukul.evaluate.generation.scores import MEASURES, compare, summarize
from anukul.evaluate.generation.texts import generate_all
from anukul.evaluate.scores import Method
from anukul.evaluate.step import run
from anukul.model.adapter import add_adapter, save_adapter
from anukul.model.base import load_base
from anukul.model.generate import Generated
from anukul.model.loaded import Loaded
from anukul.records import Generation, read_rows
from anukul.scoring.cache import BatchCache

NEPALI = languages.load("npi_Deva")
SETTINGS = GenerationSettings(limit=6, max_new_tokens=20, seeds=(0, 1), batch_rows=4)
FILES = ("generations.parquet", "scores.json")


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> ModelSettings:
    return ModelSettings(path=str(tiny_base), quantization="none", compute_dtype="float32")


@pytest.fixture(scope="module")
def loaded(model: ModelSettings) -> Loaded:
    held = load_base(model)
    add_adapter(held, LoraSettings(rank=4, alpha=8), "frozen", seed=0)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in held.model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return held


@pytest.fixture(scope="module")
def trained(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    save_adapter(loaded, root / "train" / "last" / "adapter")
    return root


def config_for(model: ModelSettings, settings: GenerationSettings) -> RunConfig:
    return RunConfig(
        name="t",
        language="npi_Deva",
        model=model,
        train=TrainSettings(stages=(Stage(name="last", format="text"),)),
        evaluate=EvaluateSettings(generation=settings, bootstrap=200),
    )


def made(
    loaded: Loaded, settings: GenerationSettings, prompts: list[Prompt], folder: Path
) -> list[Generation]:
    return generate_all(loaded, settings, prompts, "npi_Deva", 7, BatchCache(folder / "texts.jsonl"))


def test_prompts_are_spread_over_lengths_and_topics(tmp_path: Path) -> None:
    everything = load_prompts(GenerationSettings(), "npi_Deva")
    assert len(everything) == 60
    few = load_prompts(GenerationSettings(limit=12), "npi_Deva")
    assert Counter(prompt.length for prompt in few) == {"short": 4, "medium": 4, "long": 4}
    assert len({prompt.topic for prompt in few}) == 4
    assert [prompt for prompt in everything if prompt in few] == few
    assert len(spread(everything, 100)) == 60
    only = [Prompt(str(n), "", "short", "x") for n in range(5)] + [Prompt("l", "", "long", "y")]
    assert [prompt.id for prompt in spread(only, 4)] == ["0", "1", "3", "l"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"id": "a"}', "line 1: 'prompt' must be a text"),
        ('{"prompt": "क", "length": "huge"}', "line 1: 'length' must be one of short, medium, long"),
        ('{"prompt": "क", "id": "a"}\n{"prompt": "ख", "id": "a"}', "two rows have the id 'a'"),
        ("", "no prompts in this file"),
        ("{", "line 1: not JSON"),
    ],
)
def test_bad_prompts_are_told(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(UserError, match=fault):
        load_prompts(GenerationSettings(prompts=str(path)), "npi_Deva")


def test_no_shipped_prompts_and_no_room_are_told(loaded: Loaded, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no prompts are shipped for hin_Deva"):
        load_prompts(GenerationSettings(), "hin_Deva")
    with pytest.raises(UserError, match="max_new_tokens: 512 must be less than the model's window of 512"):
        made(loaded, GenerationSettings(max_new_tokens=512), [Prompt("a", "", "short", "क")], tmp_path)


def test_texts_do_not_depend_on_batch_size_nor_on_the_other_prompts(loaded: Loaded, tmp_path: Path) -> None:
    prompts = load_prompts(SETTINGS, "npi_Deva")
    rows = made(loaded, SETTINGS, prompts, tmp_path / "a")
    assert len(rows) == 2 * 3 * 6
    alone = made(loaded, SETTINGS.model_copy(update={"batch_rows": 1}), prompts, tmp_path / "b")
    assert alone == rows
    fewer = made(loaded, SETTINGS.model_copy(update={"seeds": (1,)}), prompts[3:], tmp_path / "c")
    kept = [row for row in rows if row.seed != 0 and row.prompt_id in {prompt.id for prompt in prompts[3:]}]
    assert fewer == kept
    by_kind = {(row.model, row.seed, row.prompt_id): row.text for row in rows}
    for prompt in prompts:
        for name in ("base", "adapted"):
            assert len({by_kind[name, seed, prompt.id] for seed in (-1, 0, 1)}) == 3
    assert {row.seed for row in rows if row.mode == "greedy"} == {-1}
    changed = [by_kind["base", s, p.id] != by_kind["adapted", s, p.id] for s in (-1, 0, 1) for p in prompts]
    assert sum(changed) > 12
    assert all(row.end == "cut" and row.tokens == 20 for row in rows if row.end != "ended")


def test_killed_and_resumed_gives_the_same_bytes(
    model: ModelSettings, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(model, SETTINGS)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train").symlink_to(trained / "train")
    result = run(config, tmp_path / "whole")
    assert {"generations.parquet", "scores.json"} <= set(result.outputs)
    assert result.rows["generated_texts"] == 36
    real = generation_module.generate
    batches, stop_at = [0], [0]

    def killed(*arguments: Any, **named: Any) -> list[Generated]:
        if batches[0] == stop_at[0]:
            raise KeyboardInterrupt
        batches[0] += 1
        return real(*arguments, **named)

    monkeypatch.setattr(generation_module, "generate", killed)
    # 2 greedy batches of 6 texts and 3 sampled ones of 12, for each model
    for stop_at[0] in (1, 4, 9):
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "killed")
        cache = tmp_path / "killed" / "evaluate" / "cache" / "batches.jsonl"
        assert len(cache.read_bytes().splitlines()) == stop_at[0]
    cache.write_bytes(cache.read_bytes()[:-5])
    stop_at[0] = -1
    run(config, tmp_path / "killed")
    assert batches[0] == 11
    for name in FILES:
        left, right = (tmp_path / run_name / "evaluate" / name for run_name in ("whole", "killed"))
        assert left.read_bytes() == right.read_bytes()
    assert not (tmp_path / "killed" / "evaluate" / "cache").exists()


def test_judged_in_the_step_killed_resumed_and_replayed(
    model: ModelSettings, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    judge = {
        "model": "judge-1",
        "api_key_env": "JUDGE_KEY",
        "requests_per_minute": 60_000,
        "retry_seconds": 0.01,
    }

    def config(url: str, **more: Any) -> RunConfig:
        plain = {"limit": 4, "max_new_tokens": 16, "seeds": [], "judge": {**judge, "base_url": url, **more}}
        return config_for(model, GenerationSettings.model_validate(plain))

    for name in ("whole", "killed", "replay"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train").symlink_to(trained / "train")
    with serving(longer_wins) as server:
        result = run(config(server.url), tmp_path / "whole")
        assert "verdicts.jsonl" in result.outputs
        every = len(server.asked)
    with serving(lambda asked, n: longer_wins(asked, n) if n < 3 else Answer("{}", 401)) as server:
        with pytest.raises(UserError, match="HTTP 401"):
            run(config(server.url), tmp_path / "killed")
        assert len(server.asked) == 4
    with serving(longer_wins) as server:
        run(config(server.url), tmp_path / "killed")
        assert len(server.asked) == every - 3 > 0
    first = tmp_path / "whole" / "evaluate"
    for name in (*FILES, "verdicts.jsonl"):
        assert (first / name).read_bytes() == (tmp_path / "killed" / "evaluate" / name).read_bytes()
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(UserError, match="JUDGE_KEY is not set"):
        run(config(server.url), tmp_path / "replay")
    run(config(server.url, replay=str(first / "verdicts.jsonl")), tmp_path / "replay")
    for name in (*FILES, "verdicts.jsonl"):
        assert (first / name).read_bytes() == (tmp_path / "replay" / "evaluate" / name).read_bytes()
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    report = json.loads((first / "scores.json").read_text(encoding="utf-8"))
    found = report["generation"]["judge"]
    sizes = {name: family["comparisons"] for name, family in report["families"].items()}
    assert sizes["generation"] == len(report["generation"]["rows"]) > 0
    assert sizes["judge"] == len(found["rows"]) > 0
    rows = read_rows(first / "generations.parquet", Generation)
    longer = {model: [len(row.text) for row in rows if row.model == model] for model in ("base", "adapted")}
    wins = sum(a > b for b, a in zip(longer["base"], longer["adapted"], strict=True))
    assert found["rows"][0]["wins"] == wins and found["pairs"] == 4


def row(model: str, prompt: str, seed: int, **measured: Any) -> Generation:
    plain: dict[str, Any] = {
        "mode": "greedy" if seed < 0 else "sampled",
        "topic": "",
        "length": "short",
        "prompt": "म",
        "text": "x",
        "tokens": 5,
        "end": "cut",
        "identified": "npi_Deva",
        "language": 1.0,
        "script": 1.0,
        "function_words": 0.0,
        "repetition": 0.0,
        "loop": 0.0,
        "words": 2,
    }
    return Generation(model=model, prompt_id=prompt, seed=seed, **{**plain, **measured})


def test_the_summary_is_paired_and_clustered() -> None:
    method = Method(500, 0.95, 0)
    rows = [row("base", f"p{n}", -1, language=float(n < 2), words=n) for n in range(10)]
    rows += [row("adapted", f"p{n}", -1, language=1.0, words=n + 3) for n in range(10)]
    prompts = [Prompt(f"p{n}", "", "short", "म पनि जान्छु") for n in range(10)]
    found = summarize(rows, SETTINGS, prompts, NEPALI, method)
    by_name = {part["measure"]: part for part in found["rows"] if part["length"] == "all"}
    assert list(by_name) == [what.name for what in MEASURES]
    language = by_name["language"]
    assert (language["n"], language["base"]["value"], language["adapted"]["value"]) == (10, 0.2, 1.0)
    assert language["difference"]["value"] == pytest.approx(0.8) and language["difference"]["low"] > 0.4
    assert language["p"] == pytest.approx(2 * 0.5**8)  # McNemar: eight gained, none lost
    assert language["base"]["low"] == pytest.approx(0.0567, abs=1e-4)  # Wilson's for 2 of 10
    words = by_name["words"]["difference"]
    assert words["value"] == words["low"] == words["high"] == pytest.approx(3.0)
    assert by_name["repetition"]["p"] == by_name["loop"]["p"] == 1.0
    assert language["written"] == 1.0 and by_name["function_words"]["written"] == pytest.approx(2 / 3)
    assert by_name["tokens"]["written"] is None
    assert found["identified"] == {"base": {"npi_Deva": 10}, "adapted": {"npi_Deva": 10}}

    what = next(what for what in MEASURES if what.name == "language")
    several = [
        row(m, p, s, language=float(m == "adapted"))
        for m in ("base", "adapted")
        for p in "ab"
        for s in range(9)
    ]
    clustered = compare(several, what, method)
    assert (clustered["n"], clustered["prompts"], clustered["p"]) == (18, 2, 0.5)
    alone = compare([one for one in several if one.prompt_id == "a"], what, method)
    assert alone["difference"] == {"value": 1.0, "low": None, "high": None} and alone["p"] == 1.0
    with pytest.raises(ValueError, match="not given the same prompts"):
        compare(several[:-1], what, method)
