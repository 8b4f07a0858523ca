"""The forgetting ledger: what it reads, that it leaves no trace in training, when it stops, what it keeps."""

import json
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from anukul.config import LedgerSettings, LoraSettings, ModelSettings, RunConfig, TaskSettings
from anukul.digests import hash_path
from anukul.errors import UserError
from anukul.evaluate.tasks.run import score_variants, variants_of
from anukul.items.load import load_task
from anukul.model.adapter import add_adapter
from anukul.model.base import load_base
from anukul.model.documents import packed_attention
from anukul.model.loaded import Loaded
from anukul.records import Document, write_rows
from anukul.scoring.harness import AnukulLM
from anukul.scoring.scorer import Scorer
from anukul.train import checkpoint, step
from anukul.train.ledger import Ledger, make_ledger
from anukul.train.probes import Asked, Probe, load_probes, overlaps, untouched
from anukul.train.readings import FORWARD, Change, Reading, cadence, compare, judge, predicted_share

ENGLISH = [
    "Ram eats rice in the village.",
    "Sita went to school.",
    "The farmer planted maize.",
    "Do you drink tea?",
]
NEPALI = ["रामले गाउँमा भात खायो।", "सीता विद्यालय गई।", "किसानले मकै रोप्यो।", "के तपाईं चिया पिउनुहुन्छ?"]
QUESTIONS = [
    {"query": "The farmer planted", "choices": ["maize", "rice", "tea"], "gold": 0},
    {"query": "Sita went to", "choices": ["school", "the river"], "gold": 1},
    {"context_options": ["Ram eats", "The river eats"], "continuation": "rice.", "gold": 0},
    {"context": "Do you drink", "continuation": "tea?"},
]
PAIRS = [{"good": "Sita went.", "bad": "Sita goed."}, {"good": "Ram eats.", "bad": "Ram eat."}]


@pytest.fixture
def loaded(tiny_settings: ModelSettings) -> Loaded:
    """The tiny base with an adapter whose weights are not zero."""
    found = load_base(tiny_settings)
    add_adapter(found, LoraSettings(rank=4, alpha=8, dropout=0.1), "full", 0)
    generator = torch.Generator().manual_seed(3)
    for parameter in found.model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return found


def write_probes(folder: Path) -> dict[str, Any]:
    """Write probe files and return the `probes` section that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ne.txt").write_text("\n".join(NEPALI), encoding="utf-8")
    (folder / "en.txt").write_text("\n".join(ENGLISH), encoding="utf-8")
    (folder / "more.jsonl").write_text(json.dumps({"text": "A long river."}) + "\n", encoding="utf-8")
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS), encoding="utf-8")
    return {
        "bits_per_byte": [
            {"name": "ne", "path": str(folder / "ne.txt"), "language": "npi_Deva"},
            {"name": "en", "path": str(folder / "en.txt"), "language": "eng_Latn", "skip": 1},
            {"name": "more", "path": str(folder / "more.jsonl"), "language": "eng_Latn"},
        ],
        "tasks": [
            {"name": "questions", "path": str(folder / "q.jsonl"), "language": "eng_Latn"},
            {"name": "pairs", "path": str(folder / "p.jsonl"), "language": "eng_Latn"},
        ],
    }


def make_run(root: Path, base: Path, ledger: dict[str, Any] | None, **train: Any) -> RunConfig:
    """Write the corpus of a small run, two stages of text, and return its config."""
    documents = [Document(f"d{i}", NEPALI[i % 4] * 3, "npi_Deva", "t", "CC0", []) for i in range(80)]
    write_rows(root / "corpus/documents.parquet", documents, Document)
    settings = {
        "stages": [{"name": "one", "format": "text"}, {"name": "two", "format": "text"}],
        "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
        "embeddings": "full",
        "context": 128,
        "batch_tokens": 256,
        "learning_rate": 1e-2,
        "replay_share": 0.0,
        "checkpoint_steps": 5,
        "log_steps": 1,
        "ledger": ledger,
        **train,
    }
    model = {"path": str(base), "quantization": "nf4"}
    return RunConfig.model_validate({"name": "t", "language": "npi_Deva", "model": model, "train": settings})


def lines_of(root: Path, name: str, stage: str = "one") -> list[dict[str, Any]]:
    text = (root / "train" / stage / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def change(language: str, value: float, half: float = 0.01, adapted: float = 1.0) -> Change:
    return Change("bits_per_byte", language, language, 9, 1.0, adapted, value, value - half, value + half)


def settings_of(**more: Any) -> LedgerSettings:
    probes = {
        "bits_per_byte": [{"name": code, "path": code, "language": code} for code in ("npi_Deva", "eng_Latn")]
    }
    return LedgerSettings.model_validate({"probes": probes, **more})


BUDGET = {"language": "eng_Latn", "bits_per_byte_rise": 0.05}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"probes": {}}, "names nothing to score"),
        ({"stop_when": {**BUDGET, "language": "hin_Deva"}}, "no text of hin_Deva"),
        ({"keep_best": {"language": "hin_Deva"}}, "no text of hin_Deva"),
        ({"probes": {"tasks": [{"name": "a", "path": "x", "language": "eng_Latn"}] * 2}}, "must differ"),
        ({"every": 3}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_hold_are_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings_of(**more)


def test_cadence_is_stretched_until_the_predicted_cost_fits() -> None:
    assert cadence(50, 1000, probe_tokens=2000, stage_tokens=2_000_000, share=0.05) == 50
    stretched = cadence(1, 1000, probe_tokens=2000, stage_tokens=2_000_000, share=0.05)
    assert 1 < stretched < 50
    for steps, tokens in ((1000, 2000), (137, 900), (7, 64), (12_000, 31_957)):
        for share in (0.01, 0.05):
            every = cadence(3, steps, tokens, steps * 8192, share)
            cost = predicted_share(steps, every, tokens, steps * 8192)
            if every < steps:
                assert cost <= share
            else:  # one reading, at the end
                assert cost == pytest.approx(2 * FORWARD * tokens / (steps * 8192))


def test_a_stage_stops_when_the_intervals_lower_end_is_above_the_budget() -> None:
    settings = settings_of(stop_when=BUDGET)
    english = {value: (change("npi_Deva", -1.0), change("eng_Latn", value)) for value in (0.04, 0.055, 0.061)}
    readings = {value: judge(7, changes, [], settings) for value, changes in english.items()}
    assert [reading.stop is None for reading in readings.values()] == [True, True, False]
    assert [reading.within for reading in readings.values()] == [True, False, False]
    said = readings[0.061].stop or ""
    assert (
        "eng_Latn rose by 0.0610 [+0.051, +0.071]" in said and "budget of 0.05" in said and "step 7" in said
    )
    exact = judge(7, (change("eng_Latn", 0.06, half=0.06 - 0.05),), [], settings)
    assert exact.changes[0].low == pytest.approx(0.05) and exact.stop is None
    by_estimate = settings_of(stop_when={**BUDGET, "evidence": "estimate"})
    stops = [judge(7, changes, [], by_estimate).stop is not None for changes in english.values()]
    assert stops == [False, True, True]
    assert judge(7, english[0.061], [], settings_of()).stop is None


def test_best_is_the_lowest_target_within_the_budget() -> None:
    settings = settings_of(stop_when=BUDGET, keep_best={"language": "npi_Deva"})

    def run(pairs: list[tuple[float, float]], settings: LedgerSettings) -> list[bool]:
        """Judge readings of (target bits per byte, forgetting), one after the other."""
        held: list[Reading] = []
        for number, (target, rise) in enumerate(pairs):
            changes = (change("npi_Deva", target - 2, adapted=target), change("eng_Latn", rise, half=0.9))
            held.append(judge(number, changes, held, settings))
        return [reading.best for reading in held]

    assert run([(1.5, 0.01), (1.2, 0.04), (1.3, 0.0), (0.9, 0.2), (1.1, 0.05)], settings) == [
        True, True, False, False, True,
    ]  # fmt: skip
    # none is within: the one that forgot least, until one is
    assert run([(1.5, 0.3), (1.2, 0.4), (1.3, 0.2), (2.0, 0.01), (1.0, 0.1)], settings) == [
        True, False, True, True, False,
    ]  # fmt: skip
    assert run([(1.5, 0.0), (1.5, 0.0)], settings) == [True, False]  # of equals the earlier
    alone = settings_of(keep_best={"language": "npi_Deva"})
    assert run([(1.5, 0.3), (1.2, 0.9)], alone) == [True, True]
    assert run([(1.5, 0.3)], settings_of()) == [False]


def test_compare_is_a_paired_ratio_over_lines() -> None:
    asked = tuple(Asked(str(i), str(i), ((i, i + 1),), size) for i, size in enumerate((10, 20, 30, 40) * 8))
    probe = Probe("bits_per_byte", "eng_Latn", "eng_Latn", asked)
    base = probe.sizes * np.linspace(0.5, 2.0, 32)
    found = compare(probe, base, base + 0.1 * probe.sizes, seed=0, confidence=0.95)
    # lines differ widely, their differences do not: the interval is that of the differences
    assert (found.difference, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert found.base == pytest.approx(base.sum() / probe.sizes.sum()) and found.n == 32
    noisy = compare(probe, base, base + probe.sizes * np.tile([0.0, 0.2], 16), seed=0, confidence=0.95)
    assert noisy.low < 0.1 < noisy.high and noisy.high - noisy.low < 0.2
    one = Probe("bits_per_byte", "eng_Latn", "eng_Latn", tuple(replace(item, cluster="a") for item in asked))
    assert compare(one, base, base * 1.1, seed=0, confidence=0.95).n == 32


def test_probes_count_what_evaluate_counts(loaded: Loaded, tmp_path: Path) -> None:
    probes = write_probes(tmp_path)
    found = load_probes(settings_of(probes=probes).probes, loaded)
    assert [(probe.kind, probe.name) for probe in found.probes] == [
        ("bits_per_byte", "npi_Deva"),
        ("bits_per_byte", "eng_Latn"),
        ("accuracy", "questions"),
        ("accuracy", "pairs"),
    ]
    for adapter in (False, True):
        scorer = Scorer(loaded, 64, adapter=adapter)
        values = found.score(scorer, "any")
        english = [*ENGLISH[1:], "A long river."]
        wanted = -np.array(scorer.score_texts(english)) / np.log(2)
        assert np.allclose(values[1], wanted, atol=1e-4) and (wanted > 10).all()
        assert found.probes[1].sizes.tolist() == [len(line) for line in english]
        task = load_task(TaskSettings(name="q", path=str(tmp_path / "q.jsonl"), language="eng_Latn"))
        items = score_variants(AnukulLM(scorer), variants_of(task, (0,), (0,)), "any")
        assert values[2].tolist() == [item.correct for item in items]
        likelier = [scorer.score_texts([row["good"], row["bad"]]) for row in PAIRS]
        assert values[3].tolist() == [float(good > bad) for good, bad in likelier]


def test_scoring_leaves_no_trace(loaded: Loaded, tmp_path: Path) -> None:
    found = load_probes(settings_of(probes=write_probes(tmp_path)).probes, loaded)
    loaded.model.train()
    before = {name: (p.clone(), p.requires_grad) for name, p in loaded.model.named_parameters()}
    random = torch.random.get_rng_state()
    with packed_attention(loaded):
        attention = loaded.causal_lm.config._attn_implementation
        found.score(Scorer(loaded, 64, adapter=False), "base")
        found.score(Scorer(loaded, 64), "adapted")
        assert loaded.causal_lm.config._attn_implementation == attention != "sdpa"
        with pytest.raises(KeyError), untouched(loaded):
            torch.rand(3)
            raise KeyError
        assert loaded.causal_lm.config._attn_implementation == attention
    assert all(module.training for module in loaded.model.modules())
    assert torch.equal(torch.random.get_rng_state(), random)
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, before[name][0]) and parameter.requires_grad == before[name][1]
        assert parameter.grad is None and not parameter.is_inference()


def test_scoring_compiles_nothing(loaded: Loaded, tmp_path: Path) -> None:
    loaded.model.eval()
    graphs: list[int] = []

    def count(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs.append(len(inputs))
        return graph.forward

    for module in loaded.model.modules():
        if type(module).__name__ == "LlamaMLP":
            module.compile(backend=count, dynamic=False)
    found = load_probes(settings_of(probes=write_probes(tmp_path)).probes, loaded)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        before = loaded.causal_lm(ids).logits
        compiled = len(graphs)
        assert compiled > 0  # what was compiled runs compiled
        found.score(Scorer(loaded, 64), "adapted")
        assert len(graphs) == compiled
        assert torch.equal(loaded.causal_lm(ids).logits, before) and len(graphs) == compiled
        loaded.causal_lm(ids[:, :7])
        assert len(graphs) > compiled  # and is compiled for another shape outside of the ledger


def test_a_probe_that_cannot_be_scored_is_named(loaded: Loaded, tmp_path: Path) -> None:
    probes = write_probes(tmp_path)
    (tmp_path / "q.jsonl").write_text('{"query": "a", "choices": ["b"], "gold": 0}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"q\.jsonl: line 1: 'choices' must be a list of at least two"):
        load_probes(settings_of(probes=probes).probes, loaded)


def test_probes_that_evaluate_scores_too_are_named(tmp_path: Path) -> None:
    probes = write_probes(tmp_path)
    texts = [{**probes["bits_per_byte"][1], "skip": 0, "limit": 1}, probes["bits_per_byte"][0]]
    evaluate = {"bits_per_byte": texts, "tasks": probes["tasks"][:1]}
    config = make_run(tmp_path / "run", tmp_path, {"probes": probes})
    config = RunConfig.model_validate({**config.model_dump(), "evaluate": evaluate})
    assert config.train is not None and config.train.ledger is not None
    assert overlaps(config, config.train.ledger.probes) == [
        "ne",
        "questions",
    ]  # of en, other lines are scored


@pytest.mark.parametrize("checkpointing", ["none", "full"])
def test_training_is_the_same_to_the_bit_with_and_without_a_ledger(
    tiny_base: Path, tmp_path: Path, checkpointing: str
) -> None:
    ledger = {"every_steps": 2, "max_cost_share": 1.0, "probes": write_probes(tmp_path / "probes")}
    for name, asked in (("with", ledger), ("without", None)):
        config = make_run(tmp_path / name, tiny_base, asked, activation_checkpointing=checkpointing)
        step.run_stage(config, tmp_path / name, 0)
    folders = [tmp_path / name / "train" / "one" for name in ("with", "without")]
    assert hash_path(folders[0] / "adapter") == hash_path(folders[1] / "adapter")
    losses = [
        [line["loss"] for line in lines_of(tmp_path / name, "metrics.jsonl")] for name in ("with", "without")
    ]
    assert losses[0] == losses[1] and len(losses[0]) > 8
    readings = lines_of(tmp_path / "with", "ledger.jsonl")
    steps = len(losses[0])
    assert [reading["step"] for reading in readings] == sorted({*range(2, steps + 1, 2), steps})
    nepali = [reading["changes"][0] for reading in readings]
    assert nepali[-1]["difference"] < nepali[0]["difference"] < 0  # it learns the probe's language
    assert {c["n"] for reading in readings for c in reading["changes"]} == {4, 2}
    assert not (folders[1] / "ledger.jsonl").exists()


class KilledError(Exception):
    pass


def test_a_killed_stage_resumes_to_the_same_ledger_and_scores_the_base_once(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = {
        "every_steps": 2,
        "max_cost_share": 1.0,
        "probes": write_probes(tmp_path / "probes"),
        "keep_best": {"language": "npi_Deva"},
    }
    scored: list[str] = []
    score = Scorer.score

    def counted(self: Scorer, requests: Any) -> Any:
        scored.append("adapted" if self.adapter else "base")
        return score(self, requests)

    monkeypatch.setattr(Scorer, "score", counted)
    for name in ("whole", "killed"):
        config = make_run(tmp_path / name, tiny_base, ledger)
    for index in (0, 1):
        step.run_stage(config, tmp_path / "whole", index)
    assert scored.count("base") == 1  # once for both stages
    check = Ledger.check

    def kill(self: Ledger, loaded: Loaded, at: int) -> Reading:
        found = check(self, loaded, at)
        if at == 8:  # after a reading, before the checkpoint at 10
            raise KilledError
        return found

    scored.clear()
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Ledger, "check", kill)
        step.run_stage(config, tmp_path / "killed", 0)
    assert [line["step"] for line in lines_of(tmp_path / "killed", "ledger.jsonl")] == [2, 4, 6, 8]
    for index in (0, 1):
        step.run_stage(config, tmp_path / "killed", index)
    assert scored.count("base") == 1
    for stage in ("one", "two"):
        folders = [tmp_path / name / "train" / stage for name in ("whole", "killed")]
        for file in ("ledger.jsonl", "ledger_base.json"):
            assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes()
        assert hash_path(folders[0] / "adapter") == hash_path(folders[1] / "adapter")
    costs = [line["step"] for line in lines_of(tmp_path / "killed", "ledger_cost.jsonl")]
    assert costs == [0, *(line["step"] for line in lines_of(tmp_path / "killed", "ledger.jsonl"))]


def test_forgetting_beyond_the_budget_stops_the_stage(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = {
        "every_steps": 3,
        "max_cost_share": 1.0,
        "probes": write_probes(tmp_path / "probes"),
        "stop_when": {**BUDGET, "evidence": "estimate"},
    }
    config = make_run(tmp_path, tiny_base, ledger, learning_rate=0.05)
    step.run_stage(config, tmp_path, 0)
    readings = lines_of(tmp_path, "ledger.jsonl")
    english = [reading["changes"][1]["difference"] for reading in readings]
    assert english[-1] > 0.05 and all(rise <= 0.05 for rise in english[:-1])
    assert [reading["stop"] is None for reading in readings] == [True] * (len(readings) - 1) + [False]
    last = readings[-1]["step"]
    assert len(lines_of(tmp_path, "metrics.jsonl")) == last < 12
    assert "the stage stops: bits per byte of eng_Latn rose by" in " ".join(capsys.readouterr().err.split())
    folder = tmp_path / "train" / "one"
    stopped = hash_path(folder / "adapter")
    shutil.rmtree(folder / "adapter")
    step.run_stage(config, tmp_path, 0)  # killed after the stop: it takes no further step
    assert hash_path(folder / "adapter") == stopped
    assert lines_of(tmp_path, "ledger.jsonl") == readings


def test_the_best_reading_is_what_the_stage_ends_with(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "KEEP", 100)
    ledger = {
        "every_steps": 2,
        "max_cost_share": 1.0,
        "probes": write_probes(tmp_path / "probes"),
        "keep_best": {"language": "eng_Latn"},  # which a run on Nepali alone forgets
    }
    config = make_run(tmp_path, tiny_base, ledger, learning_rate=0.03, checkpoint_steps=2)
    step.run_stage(config, tmp_path, 0)
    readings = lines_of(tmp_path, "ledger.jsonl")
    best = [reading["step"] for reading in readings if reading["best"]][-1]
    english = {reading["step"]: reading["changes"][1]["adapted"] for reading in readings}
    assert best == min(english, key=english.__getitem__) < readings[-1]["step"]
    folder = tmp_path / "train" / "one"
    kept = [at / "adapter" / "adapter_model.safetensors" for at in (folder, folder / f"step-{best:06d}")]
    assert hash_path(kept[0]) == hash_path(kept[1])


def test_the_cost_is_said_before_and_after(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_run(tmp_path, tiny_base, {"every_steps": 1, "probes": write_probes(tmp_path / "probes")})
    step.run_stage(config, tmp_path, 0)
    said = " ".join(capsys.readouterr().err.split())
    assert "(every 1 asked, which would cost more than 5%)" in said and "of training, predicted" in said
    assert "s of ledger beside" in said and "s of training," in said
    costs = lines_of(tmp_path, "ledger_cost.jsonl")
    assert costs[0]["step"] == 0 and all(line["seconds"] > 0 for line in costs)
    assert "seconds" not in (tmp_path / "train/one/ledger.jsonl").read_text(encoding="utf-8")


def test_no_ledger_is_asked_for(loaded: Loaded, tiny_base: Path, tmp_path: Path) -> None:
    config = make_run(tmp_path, tiny_base, None)
    plan: Any = None
    assert make_ledger(config, tmp_path, 0, loaded, plan) is None
    assert not (tmp_path / "train").exists()


AGREE = """
import os, sys
rank, port = sys.argv[1:]
os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
from anukul.train import ledger
from anukul.train.distributed import join, leave
join()
here = ledger.joined()
print(here.is_main, here.agree({"stop": f"said by {rank}"})["stop"])
leave()
"""


def test_several_processes_decide_as_the_first() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = [
        subprocess.Popen([sys.executable, "-c", AGREE, rank, port], stdout=subprocess.PIPE, text=True)
        for rank in ("0", "1")
    ]
    assert [process.communicate(timeout=120)[0].split(maxsplit=1) for process in started] == [
        ["True", "said by 0\n"],
        ["False", "said by 0\n"],
    ]
