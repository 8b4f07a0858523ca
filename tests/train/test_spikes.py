"""What makes a step bad, what is skipped with it, and when skipping must end."""

from pathlib import Path

import pytest
import torch
from made_stage import settings_of, with_adapter

from anukul.config import ModelSettings
from anukul.errors import UserError
from anukul.model.adapter import is_embedding, trainable_parameters
from anukul.rundir import write_json
from anukul.train.optimizer import make_optimizer, take_step
from anukul.train.spikes import LEAST_SEEN, WINDOW, Skipped, SpikeGuard

CPU = torch.device("cpu")
NORM = torch.tensor(1.0)


def judge(guard: SpikeGuard, loss: float, norm: float = 1.0) -> bool:
    return bool(guard.judge(torch.tensor(loss, dtype=torch.float64), torch.tensor(norm)))


def noise(count: int) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    return (3 + 0.15 * torch.randn(count, generator=generator, dtype=torch.float64)).tolist()


def test_noise_and_falling_losses_are_good() -> None:
    guard = SpikeGuard(CPU)
    assert not any(judge(guard, 9.0 - 0.05 * step) for step in range(100))
    guard = SpikeGuard(CPU)
    assert not any(judge(guard, loss) for loss in noise(2000))
    flat = SpikeGuard(CPU)
    assert not any(judge(flat, 2.0) for _ in range(40))
    assert not judge(flat, 2.4) and judge(flat, 2.6)  # no noise at all: half a nat is what counts


def test_a_spike_is_told_only_with_enough_behind_it() -> None:
    guard = SpikeGuard(CPU)
    for loss in noise(LEAST_SEEN - 1):
        assert not judge(guard, loss)
    assert not judge(guard, 8.0)  # fifteen seen: too few
    assert judge(guard, 8.0)
    assert not judge(guard, 3.1) and judge(guard, 4.6)
    # what was skipped is not remembered: it stays a spike however often it comes
    assert all(judge(guard, 8.0) for _ in range(2 * WINDOW))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_bad_at_once(value: float) -> None:
    guard = SpikeGuard(CPU)
    assert judge(guard, value) and judge(guard, 3.0, norm=value)
    assert int(guard.good) == 0 and not judge(guard, 3.0)


def test_a_restored_guard_judges_alike() -> None:
    losses = [*noise(70), 4.5, 3.0, float("nan"), 4.2, 3.1]
    whole = SpikeGuard(CPU)
    expected = [judge(whole, loss) for loss in losses]
    first, second = SpikeGuard(CPU), SpikeGuard(CPU)
    found = [judge(first, loss) for loss in losses[:71]]
    second.restore(first.state())
    found += [judge(second, loss) for loss in losses[71:]]
    assert found == expected and sum(expected) == 3


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit", "paged_adamw_8bit"])
def test_a_bad_step_leaves_weights_and_moments_as_they_are(tiny_settings: ModelSettings, name: str) -> None:
    settings = settings_of(optimizer=name)
    trained, optimizers = [], []
    for _ in range(2):
        loaded = with_adapter(tiny_settings)
        optimizers.append(make_optimizer(loaded, settings.of(settings.stages[0])))
        trained.append(trainable_parameters(loaded))

    def gradients(seed: int, factor: float = 1.0) -> None:
        for parameters in trained:
            generator = torch.Generator().manual_seed(seed)
            for parameter in parameters.values():
                parameter.grad = factor * torch.randn(parameter.shape, generator=generator)

    good, bad = torch.tensor(False), torch.tensor(True)
    start = {key: parameter.detach().clone() for key, parameter in trained[0].items()}
    gradients(0)
    for optimizer in optimizers:
        take_step(optimizer, good)
    gradients(1, float("nan"))
    take_step(optimizers[0], bad)  # only the first is given the bad step
    gradients(2)
    for optimizer in optimizers:
        take_step(optimizer, good)
    assert all(torch.equal(p, trained[1][key]) for key, p in trained[0].items())
    assert all(not torch.equal(p, start[key]) and p.grad is None for key, p in trained[0].items())
    if name == "adamw":
        state = next(iter(optimizers[0].state.values()))
        assert float(state["step"]) == 2
    else:
        wide = {
            is_embedding(key): optimizers[0].state[p]["state1"].dtype
            for key, p in trained[0].items()
            if p.numel() >= 4096
        }
        assert wide[True] == torch.float32


def checkpoint_at(folder: Path, *steps: int) -> None:
    for step in steps:
        write_json(folder / f"step-{step:06d}" / "state.json", {"step": step})


def test_the_budget_is_kept_and_the_last_good_checkpoint_named(tmp_path: Path) -> None:
    checkpoint_at(tmp_path, 20, 40)
    skipped = Skipped(2, tmp_path)
    assert [skipped.count(step, bad, 9.0, 1.0) for step, bad in ((30, True), (31, False), (45, True))] == [
        True,
        False,
        True,
    ]
    with pytest.raises(UserError, match=r"3 bad steps where train.max_skipped_steps allows 2.*step-000040"):
        for step in range(46, 60):
            skipped.count(step, step == 50, 9.0, 1.0)


def test_bad_steps_in_a_row_are_the_weights_fault(tmp_path: Path) -> None:
    checkpoint_at(tmp_path, 20, 40)
    skipped = Skipped(100, tmp_path)
    # step 41 is the first after checkpoint 40: its weights made the loss bad
    with pytest.raises(UserError, match=r"3 bad steps in a row from step 41.*last good checkpoint is .*20;"):
        for step in range(41, 50):
            skipped.count(step, True, 9.0, 1.0)


def test_a_stage_may_end_on_a_spike_but_not_on_no_number(tmp_path: Path) -> None:
    spike, broken = Skipped(10, tmp_path), Skipped(10, tmp_path)
    spike.count(7, True, 9.0, 1.0)
    spike.end()
    broken.count(7, True, float("nan"), 1.0)
    with pytest.raises(UserError, match=r"loss nan .*step 7, the last step; no good checkpoint"):
        broken.end()
