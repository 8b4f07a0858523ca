"""The step from files to scores.json, killed and resumed, on a tiny base with a random adapter."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from anukul.config import (
    EvaluateSettings,
    HeldOutText,
    LoraSettings,
    ModelSettings,
    RunConfig,
    Stage,
    TaskSettings,
    TrainSettings,
)
from anukul.errors import UserError
from anukul.evaluate.step import run
from anukul.model.adapter import add_adapter, save_adapter
from anukul.model.base import load_base
from anukul.records import Flip, Item, read_rows
from anukul.scoring.cache import BatchCache

FILES = ["items.parquet", "flips.parquet", "scores.json"]
WRITTEN = [
    "anukul_reader.py",
    *(f"{n}.{end}" for n in ("choice", "cloze", "schema") for end in ("jsonl", "yaml")),
]
WORDS = ["rice", "maize", "tea", "a book", "school", "the river", "village", "children"]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def make_adapter(settings: ModelSettings, folder: Path, scale: float) -> None:
    loaded = load_base(settings)
    add_adapter(loaded, LoraSettings(rank=4, alpha=8), "frozen", seed=0)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in loaded.model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    save_adapter(loaded, folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    choice = [
        {"query": f"Ram likes {word}. Sita likes", "choices": [word, "xx", WORDS[n - 1]], "gold": n % 3}
        for n, word in enumerate(WORDS)
    ]
    write_jsonl(folder / "choice.jsonl", choice)
    write_jsonl(
        folder / "schema.jsonl",
        [{"context_options": [f"Ram {w}", f"Sita {w}"], "continuation": "left.", "gold": 0} for w in WORDS],
    )
    write_jsonl(folder / "cloze.jsonl", [{"context": f"The {w} and the", "continuation": w} for w in WORDS])
    facts = [
        {
            "id": f"f{n}",
            "subject": {"eng_Latn": "Ram", "npi_Deva": "राम"},
            "object": {"eng_Latn": word, "npi_Deva": "भात"},
            "distractors": [{"eng_Latn": "xx", "npi_Deva": "मकै"}, {"eng_Latn": "yy", "npi_Deva": "चिया"}],
            "split": ("base", "new", "never")[n % 3],
            "statement": {"eng_Latn": f"Ram likes {word}.", "npi_Deva": "रामलाई भात मन पर्छ।"},
        }
        for n, word in enumerate(WORDS)
    ]
    write_jsonl(folder / "facts.jsonl", facts)
    pairs = [
        {"good": f"I see {w}.", "bad": f"I sees {w}.", "phenomenon": "pq"[n % 2]} for n, w in enumerate(WORDS)
    ]
    write_jsonl(folder / "pairs.jsonl", pairs)
    (folder / "npi.txt").write_text("रामले भात खायो।\n" * 3 + "किसानले मकै रोप्यो।\n", encoding="utf-8")
    return folder


def config_for(data: Path, model: ModelSettings, seeds: tuple[int, ...] = (0,)) -> RunConfig:
    tasks = tuple(
        TaskSettings(name=name, path=str(data / f"{name}.jsonl"), language="eng_Latn", role="forgetting")
        for name in ("choice", "schema", "cloze")
    )
    return RunConfig(
        name="t",
        language="npi_Deva",
        model=model,
        train=TrainSettings(stages=(Stage(name="first", format="text"), Stage(name="last", format="text"))),
        evaluate=EvaluateSettings(
            shots=(0, 1, 2),
            seeds=seeds,
            tasks=tasks,
            bits_per_byte=(HeldOutText(name="held", path=str(data / "npi.txt"), language="npi_Deva"),),
            knowledge=str(data / "facts.jsonl"),
            agreement=str(data / "pairs.jsonl"),
            bootstrap=200,
            token_budget=256,
        ),
    )


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> ModelSettings:
    return ModelSettings(path=str(tiny_base), quantization="none", compute_dtype="float32")


@pytest.fixture(scope="module")
def finished(data: Path, model: ModelSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    make_adapter(model, root / "train" / "last" / "adapter", 0.2)
    result = run(config_for(data, model, seeds=(0, 1)), root)
    assert result.outputs == [*FILES, *(f"lm_eval/{name}" for name in WRITTEN)]
    assert result.rows["items"] == 2 * (3 * 8 * 3 * 2 + 16 + 16 + 8 + 4)
    return root


def test_everything_is_scored_and_paired(finished: Path) -> None:
    assert sorted(path.name for path in (finished / "evaluate").iterdir()) == sorted([*FILES, "lm_eval"])
    items = read_rows(finished / "evaluate" / "items.parquet", Item)
    base = [item for item in items if item.model == "base"]
    adapted = [item for item in items if item.model == "adapted"]
    for left, right in zip(base, adapted, strict=True):
        assert (left.task, left.item, left.shots, left.seed) == (
            right.task,
            right.item,
            right.shots,
            right.seed,
        )
        assert left.loglikelihoods != right.loglikelihoods
    report = json.loads((finished / "evaluate" / "scores.json").read_text(encoding="utf-8"))
    assert {"schema", "confidence", "scores", "retention", "backward_transfer", "by_seed", "families"} < set(
        report
    )
    kinds = {(s["kind"], s["task"], s["language"], s["role"]) for s in report["scores"]}
    assert kinds == {
        *(("multiple_choice", name, "eng_Latn", "forgetting") for name in ("choice", "schema", "cloze")),
        *(("knowledge", "knowledge", language, "target") for language in ("eng_Latn", "npi_Deva")),
        *(("cloze", "knowledge-cloze", language, "target") for language in ("eng_Latn", "npi_Deva")),
        ("agreement", "agreement", "npi_Deva", "target"),
        ("bits_per_byte", "held", "npi_Deva", "target"),
    }
    knowledge = {s["split"] for s in report["scores"] if s["kind"] == "knowledge"}
    assert knowledge == {"all", "base", "new", "never"}
    assert {s["phenomenon"] for s in report["scores"] if s["kind"] == "agreement"} == {"all", "p", "q"}
    assert [(r["task"], r["k"]) for r in report["retention"]][:2] == [("choice", 1), ("choice", 2)]
    assert "seeds:0,1|" in report["signature"]
    tested = [*report["scores"], *report["retention"], *report["backward_transfer"]]
    assert all(0 <= s["q"] <= 1 and s["p"] <= s["q"] for s in tested)
    assert {s["seed"] for s in report["by_seed"]["scores"]} == {0, 1}
    assert report["backward_transfer"][0]["tasks"] == [
        f"{n} (eng_Latn)" for n in ("choice", "schema", "cloze")
    ]


def test_flips_are_the_items_behind_the_counts(finished: Path) -> None:
    report = json.loads((finished / "evaluate" / "scores.json").read_text(encoding="utf-8"))
    flips = read_rows(finished / "evaluate" / "flips.parquet", Flip)
    pooled = [row for row in report["scores"] if row["split"] == "all" and row["phenomenon"] in ("", "all")]
    counted = [(row, -1) for row in pooled] + [(row, row["seed"]) for row in report["by_seed"]["scores"]]
    assert sum(row["lost"] or 0 for row, _ in counted) > 0 < sum(row["gained"] or 0 for row, _ in counted)
    for row, seed in counted:
        same = (row["kind"], row["task"], row["language"], row["shots"], row["metric"], seed)
        held = [f for f in flips if (f.kind, f.task, f.language, f.shots, f.metric, f.seed) == same]
        for direction in ("lost", "gained"):
            assert len([f for f in held if f.direction == direction]) == (row[direction] or 0)
    assert all(flip.choices for flip in flips)
    schema = next(flip for flip in flips if flip.task == "schema")
    assert schema.question == "left." and schema.choices[schema.gold].startswith("Ram ")


def test_zero_shots_do_not_depend_on_the_seed(finished: Path) -> None:
    items = [
        i for i in read_rows(finished / "evaluate" / "items.parquet", Item) if i.kind == "multiple_choice"
    ]
    found: dict[tuple[str, str, str, int], list[list[float]]] = {}
    for item in items:
        found.setdefault((item.model, item.task, item.item, item.shots), []).append(item.loglikelihoods)
    same = {
        shots: [len(set(map(tuple, held))) == 1 for (*_, k), held in found.items() if k == shots]
        for shots in (0, 2)
    }
    assert all(same[0])
    assert not all(same[2])


def test_exemplars_do_not_depend_on_the_token_budget_and_may_be_drawn_per_item(
    data: Path, model: ModelSettings, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "train").symlink_to(finished / "train")
    config = config_for(data, model)
    assert config.evaluate
    own = config.evaluate.tasks[0].model_copy(update={"exemplars": "per_item"})
    changed = {"token_budget": 1024, "tasks": (own, config.evaluate.tasks[1])}
    run(config.model_copy(update={"evaluate": config.evaluate.model_copy(update=changed)}), tmp_path)

    def scored(root: Path) -> dict[tuple[str, str, int, str], list[float]]:
        rows = read_rows(root / "evaluate" / "items.parquet", Item)
        rows = [row for row in rows if row.task in ("choice", "schema") and row.seed == 0]
        return {(row.model, row.task, row.shots, row.item): row.loglikelihoods for row in rows}

    before, after = scored(finished), scored(tmp_path)
    assert set(before) == set(after)
    same = {key: after[key] == pytest.approx(before[key], abs=1e-3) for key in before}
    assert all(kept for (_, task, shots, _), kept in same.items() if task == "schema" or shots == 0)
    assert not all(kept for (_, task, shots, _), kept in same.items() if task == "choice" and shots == 2)


def test_killed_and_resumed_gives_the_same_bytes(
    data: Path, model: ModelSettings, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train").symlink_to(finished / "train")
    config = config_for(data, model, seeds=(0, 1))
    real = BatchCache.put
    kept = [0]
    stop_at = [2]

    def killed(cache: BatchCache, key: str, scores: Any) -> None:
        if kept[0] == stop_at[0]:
            raise KeyboardInterrupt
        kept[0] += 1
        real(cache, key, scores)

    monkeypatch.setattr(BatchCache, "put", killed)
    for stop_at[0] in (2, 7):
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path)
        cache = tmp_path / "evaluate" / "cache" / "batches.jsonl"
        assert len(cache.read_bytes().splitlines()) == stop_at[0]
    cache.write_bytes(cache.read_bytes()[:-9])
    stop_at[0] = -1
    run(config, tmp_path)
    assert kept[0] > 8
    for name in FILES:
        assert (tmp_path / "evaluate" / name).read_bytes() == (finished / "evaluate" / name).read_bytes()


def test_an_adapter_that_does_nothing_changes_nothing(
    data: Path, model: ModelSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: Any) -> Any:
        raise AssertionError("evaluate must not touch the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    make_adapter(model, tmp_path / "train" / "last" / "adapter", 0.0)
    run(config_for(data, model), tmp_path)
    report = json.loads((tmp_path / "evaluate" / "scores.json").read_text(encoding="utf-8"))
    for score in report["scores"]:
        assert score["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
        assert score["p"] == 1.0
    assert {r["difference_in_differences"]["value"] for r in report["retention"]} == {0.0}


def test_a_broken_adapter_is_told_with_task_and_item(
    data: Path, model: ModelSettings, tmp_path: Path
) -> None:
    make_adapter(model, tmp_path / "train" / "last" / "adapter", float("nan"))
    with pytest.raises(UserError, match="task 'choice', item '1': the adapted model gives"):
        run(config_for(data, model), tmp_path)


def test_what_is_missing_is_told(data: Path, model: ModelSettings, tmp_path: Path) -> None:
    config = config_for(data, model)
    with pytest.raises(UserError, match="section is missing"):
        run(config.model_copy(update={"evaluate": None}), tmp_path)
    with pytest.raises(UserError, match="no adapter to compare"):
        run(config.model_copy(update={"train": None}), tmp_path)
    with pytest.raises(UserError, match="nothing to score"):
        run(config.model_copy(update={"evaluate": EvaluateSettings()}), tmp_path)
    with pytest.raises(UserError, match="no adapter here"):
        run(config, tmp_path)
