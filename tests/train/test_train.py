"""Formats, packing, replay, the loop and its resumption, on a real tiny Llama."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from anukul.config import LoraSettings, ModelSettings, RunConfig, Stage, TrainSettings
from anukul.errors import UserError
from anukul.model.adapter import add_adapter, save_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.model.documents import Documents, packed_attention
from anukul.model.loaded import Loaded
from anukul.records import Document, Instruction, Pair, write_rows
from anukul.rundir import hash_path
from anukul.train import loop, step
from anukul.train.formats import Example, Formatter, Segment, fit_to_context
from anukul.train.loss import cross_entropy, token_losses
from anukul.train.optimizer import learning_rate_factor
from anukul.train.packing import collate, pack
from anukul.train.plan import plan_stage

ENGLISH = ["Ram eats rice.", "Sita went to school.", "The farmer planted maize.", "Do you drink tea?"]
NEPALI = ["रामले भात खान्छ।", "सीता विद्यालय गई।", "किसानले मकै रोप्यो।", "के तपाईं चिया पिउनुहुन्छ?"]


def pair(index: int, sentences: int = 1) -> Pair:
    chosen = [(index + i) % 4 for i in range(sentences)]
    english, nepali = (" ".join(side[i] for i in chosen) for side in (ENGLISH, NEPALI))
    return Pair(
        f"p{index}", f"d{index}", english, nepali, "eng_Latn", "npi_Deva", "synthetic", "", "t", "CC0"
    )


def document(index: int, text: str, language: str) -> Document:
    return Document(f"d{index}", text, language, "t", "CC0", [])


@pytest.fixture
def loaded(tiny_settings: ModelSettings) -> Loaded:
    return load_base(tiny_settings)


@pytest.fixture
def formatter(loaded: Loaded) -> Formatter:
    return Formatter(loaded.tokenizer, loaded.prefix_id, "npi_Deva", "eng_Latn")


def learnt_text(loaded: Loaded, example: Example) -> str:
    return str(loaded.tokenizer.decode(example.ids[example.learnt], skip_special_tokens=True))


def test_only_the_target_side_is_learnt(loaded: Loaded, formatter: Formatter) -> None:
    one = pair(0)
    row = Instruction("i", "भात के हो?", "छोटो उत्तर", "खाना", "npi_Deva", "t", "CC0")
    expected = {"translation": " " + one.target_text, "instruct": " खाना"}
    for name, segments in {
        "translation": formatter.translation(one),
        "instruct": formatter.instruct(row),
    }.items():
        example = formatter.encode([segments])[0]
        assert learnt_text(loaded, example) == expected[name]
        assert example.ids[0] == loaded.prefix_id and not example.learnt[0]
        assert example.ids[-1] == formatter.end_id and example.learnt[-1]
        given = loaded.tokenizer.decode(example.ids[~example.learnt], skip_special_tokens=True)
        assert given == segments[0].text
    # Devanagari letters really are split over tokens here, so the border is a byte border
    assert len(formatter.encode([formatter.translation(one)])[0].ids) > len(one.target_text)


def test_bilingual_alternates_sentences(formatter: Formatter) -> None:
    two = pair(0, sentences=2)
    assert formatter.bilingual(two, 0)[0].text == f"{ENGLISH[0]} {NEPALI[1]}"
    assert formatter.bilingual(two, 1)[0].text == f"{NEPALI[0]} {ENGLISH[1]}"
    assert formatter.bilingual(two, 0)[0].learnt
    uneven = pair(1)
    uneven.source_text = "One. Two."
    assert formatter.bilingual(uneven, 0)[0].text == f"One. Two.\n{uneven.target_text}"


def test_long_text_is_cut_and_long_prompts_are_left_out(formatter: Formatter) -> None:
    text, prompt = formatter.encode([[Segment(NEPALI[0] * 9, True)], formatter.translation(pair(0))])
    pieces, left_out = fit_to_context([text, prompt], 20)
    assert left_out == 1 and all(len(piece.ids) <= 20 and piece.ids[0] == text.ids[0] for piece in pieces)
    assert np.array_equal(np.concatenate([piece.ids[1:] for piece in pieces]), text.ids[1:])


def test_packed_loss_equals_loss_alone(loaded: Loaded, formatter: Formatter) -> None:
    examples = formatter.encode([formatter.translation(pair(i)) for i in range(4)])
    context = sum(len(example.ids) for example in examples) + 7
    cpu = torch.device("cpu")
    batch = collate([[2, 0, 3, 1]], examples, context, 2, cpu)
    with torch.no_grad(), packed_attention(loaded):
        packed = token_losses(loaded, batch)
        alone = [token_losses(loaded, collate([[i]], examples, context, 2, cpu)) for i in (2, 0, 3, 1)]
        # the same row taken for one document: every example sees those before it
        joined = token_losses(loaded, replace(batch, documents=Documents.of([context], cpu)))
    assert torch.allclose(packed, torch.cat(alone), atol=1e-5)
    assert not torch.allclose(joined, torch.cat(alone), atol=1e-3)


def test_sliced_loss_has_the_same_gradient(
    loaded: Loaded, formatter: Formatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = formatter.encode([formatter.translation(pair(i)) for i in range(4)])
    batch = collate([[0, 1], [2, 3]], examples, 256, 2, torch.device("cpu"))
    add_adapter(loaded, LoraSettings(rank=4, alpha=4), "full", 0)
    found = []
    for limit in (1 << 25, 400 * 5):
        monkeypatch.setattr("anukul.train.loss.MAX_LOGITS", limit)
        loaded.model.zero_grad()
        with packed_attention(loaded):
            token_losses(loaded, batch).mean().backward()
        found.append([p.grad.clone() for p in trainable_parameters(loaded).values() if p.grad is not None])
    assert len(found[0]) == len(found[1]) > 1
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("block", [7, 1 << 18])
def test_cross_entropy_equals_the_stock_one(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("anukul.train.loss.BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    scores = [(torch.randn(9, 5, generator=generator) * 30).requires_grad_()]
    scores.append(scores[0].detach().clone().requires_grad_())
    targets = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3])
    weights = torch.rand(9, generator=generator)
    ours = cross_entropy(scores[0], targets)
    theirs = functional.cross_entropy(scores[1], targets, reduction="none")
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    assert torch.allclose(ours, theirs, atol=1e-5) and float(ours.detach().max()) > 50
    assert scores[0].grad is not None and scores[1].grad is not None
    assert torch.allclose(scores[0].grad, scores[1].grad, atol=1e-6)


def test_packing_keeps_every_example_once_and_wastes_little() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 120, 3000).tolist()
    rows = pack(lengths, 256, rng.permutation(3000).tolist())
    assert sorted(index for row in rows for index in row) == list(range(3000))
    assert all(sum(lengths[i] for i in row) <= 256 for row in rows)
    assert sum(lengths) / (len(rows) * 256) > 0.97


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_replay_holds_its_share_of_tokens(share: float) -> None:
    rng = np.random.default_rng(1)

    def examples(count: int, replay: bool) -> list[Example]:
        return [
            Example(np.ones(n, np.int32), np.ones(n, np.bool_), replay)
            for n in rng.integers(5, 60, count).tolist()
        ]

    stage = Stage(name="s", format="text", epochs=1.5)
    settings = TrainSettings(stages=(stage,), context=128, batch_tokens=256, replay_share=share)
    plan = plan_stage(examples(2000, False), examples(40, True), settings, stage, seed=5)
    used = [plan.examples[i] for row in plan.rows for i in row]
    replayed = sum(len(e.ids) for e in used if e.replay) / sum(len(e.ids) for e in used)
    assert abs(replayed - share) < 0.01
    again = plan_stage(examples(2000, False), examples(40, True), settings, stage, seed=5)
    assert len(again.rows) > 100 and plan.steps == len(plan.rows) // 2


def test_replay_without_text_is_refused() -> None:
    stage = Stage(name="s", format="text")
    settings = TrainSettings(stages=(stage,), context=64, batch_tokens=64, replay_share=0.2)
    own = [Example(np.ones(9, np.int32), np.ones(9, np.bool_))]
    with pytest.raises(UserError, match=r"corpus\.replay gave no text"):
        plan_stage(own, [], settings, stage, 0)
    with pytest.raises(UserError, match="no example that fits"):
        plan_stage([], own, settings, stage, 0)


def test_schedule_warms_up_and_falls_to_its_floor() -> None:
    rates = [learning_rate_factor(i, 100, 0.1, 0.1) for i in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == 1.0 == rates[9]
    assert rates[9:] == sorted(rates[9:], reverse=True) and rates[-1] == pytest.approx(0.1)


def make_run(root: Path, base: Path, learning_rate: float = 1e-2) -> RunConfig:
    write_rows(root / "synth/pairs.parquet", [pair(i, 2) for i in range(24)], Pair)
    instructions = [Instruction(f"i{i}", NEPALI[i % 4], "", "हो", "npi_Deva", "t", "CC0") for i in range(24)]
    write_rows(root / "synth/instructions.parquet", instructions, Instruction)
    write_rows(
        root / "corpus/documents.parquet",
        [document(i, NEPALI[i % 4], "npi_Deva") for i in range(30)],
        Document,
    )
    write_rows(
        root / "corpus/replay.parquet", [document(i, ENGLISH[i % 4], "eng_Latn") for i in range(9)], Document
    )
    return RunConfig.model_validate(
        {
            "name": "t",
            "language": "npi_Deva",
            "model": {"path": str(base), "quantization": "nf4"},
            "train": {
                "stages": [
                    {"name": "translation", "format": "translation"},
                    {"name": "bilingual", "format": "bilingual"},
                    {"name": "instruct", "format": "instruct"},
                ],
                "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
                "embeddings": "full",
                "context": 256,
                "batch_tokens": 256,
                "learning_rate": learning_rate,
                "checkpoint_steps": 2,
                "log_steps": 1,
            },
        }
    )


def read_lines(folder: Path) -> list[str]:
    return (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()


class KilledError(Exception):
    pass


def test_a_killed_stage_resumes_to_the_same_bits_and_the_adapter_is_carried(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_run(tmp_path / "whole", tiny_base)
    rows = [step.run_stage(config, tmp_path / "whole", index).rows for index in range(3)]
    assert rows[0]["steps"] >= 4 and rows[0]["replay_tokens"] > 0
    assert config.train is not None
    shutil.copytree(tmp_path / "whole/synth", tmp_path / "killed/synth")
    shutil.copytree(tmp_path / "whole/corpus", tmp_path / "killed/corpus")
    one_step = loop._one_step

    def kill_at_fourth(*arguments: object) -> loop.StepMetrics:
        if arguments[4] == 3:
            raise KilledError
        return one_step(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_one_step", kill_at_fourth)
        with pytest.raises(KilledError):
            step.run_stage(config, tmp_path / "killed", 0)
    assert (tmp_path / "killed/train/translation/step-000002/state.json").exists()
    for index, stage in enumerate(config.train.stages):
        step.run_stage(config, tmp_path / "killed", index)
        folders = [tmp_path / name / "train" / stage.name for name in ("whole", "killed")]
        assert hash_path(folders[0] / "adapter") == hash_path(folders[1] / "adapter")
        losses = [[json.loads(line)["loss"] for line in read_lines(f)] for f in folders]
        assert losses[0] == losses[1] and len(losses[0]) == rows[index]["steps"]
    hashes = {hash_path(tmp_path / "whole/train" / s.name / "adapter") for s in config.train.stages}
    assert len(hashes) == 3  # each stage went on training


def test_a_rate_that_diverges_stops_and_names_step_and_checkpoint(tiny_base: Path, tmp_path: Path) -> None:
    config = make_run(tmp_path, tiny_base, learning_rate=1e30)
    with pytest.raises(UserError, match=r"training diverged: .*step 2.*no checkpoint had been written yet"):
        step.run_stage(config, tmp_path, 0)
    assert not (tmp_path / "train/translation/adapter").exists()


def test_every_linear_layer_and_the_embeddings_move_and_nothing_else(tiny_base: Path, tmp_path: Path) -> None:
    config = make_run(tmp_path, tiny_base)
    assert config.train is not None
    loaded = load_base(config.model)
    add_adapter(loaded, config.train.lora, "full", config.seed)
    before = {name: parameter.clone() for name, parameter in loaded.model.named_parameters()}
    formatter = Formatter(loaded.tokenizer, loaded.prefix_id, "npi_Deva", "eng_Latn")
    own = formatter.encode([formatter.translation(pair(i)) for i in range(24)])
    settings = config.train.model_copy(update={"replay_share": 0.0})
    plan = plan_stage(own, [], settings, settings.stages[0], 0)
    loop.train_stage(loaded, plan, settings, settings.stages[0], tmp_path / "s", save_adapter)
    moved = {n for n, p in loaded.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(trainable_parameters(loaded))
    assert len(moved) == 2 * 7 * 2 + 1  # A and B for 7 layers in 2 blocks, and one tied embedding
