"""The loop: resumed to the same bits, bad steps skipped, stages handed on, the ledger heard."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from made_stage import (
    ENGLISH,
    NEPALI,
    lines,
    make_run,
    one_a_step,
    pair,
    random_example,
    settings_of,
    texts,
    with_adapter,
)

from anukul.config import ModelSettings, TrainSettings
from anukul.digests import hash_path
from anukul.errors import UserError
from anukul.model.adapter import add_adapter, load_adapter, save_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.model.build import build_llama, save_base
from anukul.model.loaded import Loaded
from anukul.train import loop, step
from anukul.train.checkpoint import checkpoints
from anukul.train.formats import Example, Formatter
from anukul.train.ledger import Ledger
from anukul.train.loop import StageEnd, train_stage
from anukul.train.plan import StagePlan, plan_stage


class KilledError(Exception):
    pass


def kill_before(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the run die before its step `number` (0-based)."""
    one_step = loop._one_step

    def dying(training: loop.Training, step: int, batches: Any) -> Any:
        if step == number:
            raise KilledError
        return one_step(training, step, batches)

    monkeypatch.setattr(loop, "_one_step", dying)


def train(
    loaded: Loaded, plan: StagePlan, settings: TrainSettings, folder: Path, ledger: Ledger | None = None
) -> StageEnd:
    kept = checkpoints(folder)
    if kept:
        load_adapter(loaded, kept[-1] / "adapter", trainable=True)
    else:
        add_adapter(loaded, settings.lora, "full", 0)
    return train_stage(loaded, plan, settings, settings.stages[0], folder, save_adapter, ledger)


def weights(loaded: Loaded) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainable_parameters(loaded).items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
def test_a_killed_stage_resumes_to_the_same_bits_and_the_adapter_is_carried(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    config = make_run(tmp_path / "whole", tiny_base, optimizer=optimizer)
    rows = [step.run_stage(config, tmp_path / "whole", index).rows for index in range(3)]
    assert all(row["steps"] >= 4 for row in rows[:2]) and rows[0]["replay_tokens"] > 0
    assert config.train is not None
    shutil.copytree(tmp_path / "whole/synth", tmp_path / "killed/synth")
    shutil.copytree(tmp_path / "whole/corpus", tmp_path / "killed/corpus")
    for index, stage in enumerate(config.train.stages):
        # stages 0 and 1 die in the middle: of an epoch, and of an epoch and a half
        if index < 2:
            with monkeypatch.context() as patch:
                kill_before(patch, 3)
                with pytest.raises(KilledError):
                    step.run_stage(config, tmp_path / "killed", index)
            assert (tmp_path / "killed/train" / stage.name / "step-000002/state.json").exists()
        step.run_stage(config, tmp_path / "killed", index)
        folders = [tmp_path / name / "train" / stage.name for name in ("whole", "killed")]
        assert hash_path(folders[0] / "adapter") == hash_path(folders[1] / "adapter")
        losses = [[line["loss"] for line in lines(folder)] for folder in folders]
        assert losses[0] == losses[1] and len(losses[0]) == rows[index]["steps"]
    hashes = {hash_path(tmp_path / "whole/train" / s.name / "adapter") for s in config.train.stages}
    assert len(hashes) == 3  # each stage went on training


def test_the_next_stage_starts_from_the_adapter_and_warms_up_anew(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_run(tmp_path, tiny_base, warmup_share=0.5)
    step.run_stage(config, tmp_path, 0)
    started: list[dict[str, torch.Tensor]] = []
    with monkeypatch.context() as patch:
        one_step = loop._one_step

        def looking(training: loop.Training, number: int, batches: Any) -> Any:
            if number == 0:
                started.append(weights(training.loaded))
            return one_step(training, number, batches)

        patch.setattr(loop, "_one_step", looking)
        step.run_stage(config, tmp_path, 1)
    ended = load_base(config.model)
    load_adapter(ended, tmp_path / "train/translation/adapter", trainable=True)
    assert same(started[0], weights(ended)) and len(started[0]) == 2 * 7 * 2 + 1
    first, second = (
        [line["learning_rate"] for line in lines(tmp_path / "train" / name)]
        for name in ("translation", "bilingual")
    )
    peak = 1e-2
    assert max(first) == max(second) == peak and first[-1] < peak / 2
    warm = round(0.5 * len(second))
    assert second[0] == pytest.approx(peak / warm) and second[:warm] == sorted(second[:warm])


def test_a_rate_that_diverges_stops_and_names_step_and_checkpoint(tiny_base: Path, tmp_path: Path) -> None:
    config = make_run(tmp_path, tiny_base, learning_rate=1e30)
    with pytest.raises(
        UserError, match=r"training diverged: .*from step 2.*no good checkpoint had been written"
    ):
        step.run_stage(config, tmp_path, 0)
    assert not (tmp_path / "train/translation/adapter").exists()
    assert checkpoints(tmp_path / "train/translation") == []  # step 2 was bad: no checkpoint after it


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
    train_stage(loaded, plan, settings, settings.stages[0], tmp_path / "s", save_adapter)
    moved = {n for n, p in loaded.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(trainable_parameters(loaded))
    assert len(moved) == 2 * 7 * 2 + 1  # A and B for 7 layers in 2 blocks, and one tied embedding


@pytest.mark.parametrize("more", [{"activation_checkpointing": "full"}, {"micro_batch_tokens": 64}])
def test_how_a_step_is_computed_changes_nothing(
    tiny_settings: ModelSettings, tmp_path: Path, more: dict[str, Any]
) -> None:
    found = []
    for number, given in enumerate(({}, more)):
        loaded = load_base(tiny_settings)
        settings = settings_of(**{"batch_tokens": 128, "micro_batch_tokens": 128, **given})
        plan = StagePlan(texts(loaded, [*ENGLISH, *NEPALI]), [[i] for i in range(8)], 2, 0)
        train(loaded, plan, settings, tmp_path / str(number))
        found.append([line["loss"] for line in lines(tmp_path / str(number))])
    assert len(found[0]) == 4 and found[0] == pytest.approx(found[1], abs=1e-4)
    assert found[0] == found[1] or "micro_batch_tokens" in more  # recomputing gives the same bits


@pytest.fixture
def broken_token(tiny_base: Path, tmp_path: Path) -> ModelSettings:
    """A base for which token 14, which no text here uses, is no number."""
    tokenizer = load_base(ModelSettings(path=str(tiny_base))).tokenizer
    model = build_llama(len(tokenizer), hidden=64, layers=1, heads=4, seed=1, tied=False)
    model.get_input_embeddings().weight.data[14] = torch.nan
    save_base(model, tokenizer, tmp_path / "base")
    return ModelSettings(path=str(tmp_path / "base"), quantization="none", compute_dtype="float32")


def test_a_step_that_is_no_number_is_skipped_whole(broken_token: ModelSettings, tmp_path: Path) -> None:
    ends = []
    for number, filling in enumerate(([7, 8], [100, 120, 140])):
        loaded = with_adapter(broken_token, embeddings="frozen")
        ids = np.array([0, 14, *filling], np.int32)
        examples = [*texts(loaded, NEPALI), Example(ids, np.arange(len(ids)) > 0)]
        plan = one_a_step(examples, [0, 1, 4, 2, 3])
        settings = settings_of(embeddings="frozen")
        folder = tmp_path / str(number)
        end = train_stage(loaded, plan, settings, settings.stages[0], folder, save_adapter)
        assert (end.steps, end.skipped) == (5, 1)
        found = lines(folder)
        assert [line["skipped"] for line in found] == [False, False, True, False, False]
        assert found[2]["loss"] is None and found[2]["gradient_norm"] is None
        ends.append(weights(loaded))
    assert all(bool(torch.isfinite(value).all()) for value in ends[0].values())
    assert same(*ends)  # whatever stood in the bad step left no trace


def spiking(loaded: Loaded, steps: int, *spikes: int) -> StagePlan:
    """One text over and over, and in the 0-based steps `spikes` something else altogether."""
    examples = [*texts(loaded, NEPALI[:1]), *(random_example(seed, 20) for seed in range(len(spikes)))]
    order = [1 + spikes.index(step) if step in spikes else 0 for step in range(steps)]
    return one_a_step(examples, order)


def test_a_spike_is_skipped_and_a_resumed_run_ends_with_the_same_bits(
    tiny_settings: ModelSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(checkpoint_steps=6, embedding_learning_rate=1e-2)
    whole = load_base(tiny_settings)
    end = train(whole, spiking(whole, 36, 26, 29, 32), settings, tmp_path / "whole")
    assert end.skipped == 3 and [n["step"] for n in lines(tmp_path / "whole") if n["skipped"]] == [27, 30, 33]
    # a checkpoint was due after step 30, which was bad
    assert [path.name for path in checkpoints(tmp_path / "whole")] == ["step-000018", "step-000024"]
    with monkeypatch.context() as patch:
        kill_before(patch, 28)
        with pytest.raises(KilledError):
            killed = load_base(tiny_settings)
            train(killed, spiking(killed, 36, 26, 29, 32), settings, tmp_path / "killed")
    again = load_base(tiny_settings)
    assert train(again, spiking(again, 36, 26, 29, 32), settings, tmp_path / "killed") == end
    assert same(weights(whole), weights(again))
    figures = [[(n["step"], n["loss"]) for n in lines(tmp_path / name)] for name in ("whole", "killed")]
    assert figures[0] == figures[1]


def test_a_spent_budget_stops_and_names_the_last_good_checkpoint(
    tiny_settings: ModelSettings, tmp_path: Path
) -> None:
    loaded = load_base(tiny_settings)
    settings = settings_of(checkpoint_steps=10, max_skipped_steps=1, embedding_learning_rate=1e-2)
    with pytest.raises(
        UserError, match=r"2 bad steps .* allows 1, .* at step 34; .*checkpoint is .*step-000030;"
    ):
        train(loaded, spiking(loaded, 40, 24, 33), settings, tmp_path)


@dataclass
class Plain:
    """What the loop reads of a reading."""

    stop: str | None = None
    best: bool = False


@dataclass
class Scripted:
    """A ledger whose readings are written down beforehand: {finished steps: reading}."""

    script: dict[int, Plain]
    resumed: list[int] = field(default_factory=list)
    checked: list[tuple[int, bool]] = field(default_factory=list)
    best_step: int | None = None
    last_word: str = "ledger +0.01"
    scalars: dict[str, float] = field(default_factory=dict)

    def resume(self, first: int) -> None:
        self.resumed.append(first)
        self.best_step = max((s for s, r in self.script.items() if r.best and s <= first), default=None)

    def due(self, step: int, last: bool) -> bool:
        return last or step in self.script

    def check(self, loaded: Loaded, step: int) -> Plain:
        self.checked.append((step, loaded.model.training))
        torch.rand(1)  # what a ledger draws must not show in training: it has no dropout to disturb here
        reading = self.script.get(step, Plain())
        self.best_step = step if reading.best else self.best_step
        return reading


def ledger_run(
    settings: ModelSettings, folder: Path, script: dict[int, Plain], before: Callable[[], None] = lambda: None
) -> tuple[StageEnd, Scripted, dict[str, torch.Tensor]]:
    loaded = load_base(settings)
    ledger = Scripted(script)
    before()
    plan = one_a_step(texts(loaded, [*ENGLISH, *NEPALI]), range(8))
    end = train(loaded, plan, settings_of(checkpoint_steps=3), folder, cast(Ledger, ledger))
    return end, ledger, weights(loaded)


def test_the_ledger_stops_a_stage_for_good(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    end, ledger, ended = ledger_run(tiny_settings, tmp_path, {2: Plain(), 4: Plain("too much forgotten")})
    assert end == StageEnd(4, 0, "too much forgotten", None)
    assert ledger.checked == [(2, False), (4, False)] and ledger.resumed == [0]
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000003", "step-000004"]
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    # a run that was killed before it could save its adapter takes no further step
    again, second, same_weights = ledger_run(tiny_settings, tmp_path, {})
    assert again == end and second.checked == [] and second.resumed == [4]
    assert same(ended, same_weights)


def test_a_stage_ends_with_the_ledgers_best_weights_also_when_resumed(
    tiny_settings: ModelSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = {2: Plain(best=True), 5: Plain(best=True), 7: Plain()}
    end, ledger, ended = ledger_run(tiny_settings, tmp_path / "whole", script)
    assert end == StageEnd(8, 0, None, 5)
    assert ledger.checked == [(2, False), (5, False), (7, False), (8, False)]
    _, _, at_five = ledger_run(tiny_settings, tmp_path / "five", {5: Plain("enough")})
    assert same(ended, at_five)
    with monkeypatch.context() as patch:
        kill_before(patch, 5)  # after the copy of step 5, before its checkpoint
        with pytest.raises(KilledError):
            ledger_run(tiny_settings, tmp_path / "killed", script)
    kept = sorted(path.name for path in (tmp_path / "killed/best").iterdir())
    assert kept == ["step-000002", "step-000005"]
    # as if the run that goes on came to find step 2 the best: its copy is still there
    other = {2: Plain(best=True), 5: Plain()}
    shutil.copytree(tmp_path / "killed", tmp_path / "other")
    assert ledger_run(tiny_settings, tmp_path / "other", other)[0].best_step == 2
    again, _, resumed = ledger_run(tiny_settings, tmp_path / "killed", script)
    assert again == end and same(ended, resumed)
    assert [path.name for path in (tmp_path / "killed/best").iterdir()] == ["step-000005"]
