"""What a person sees of training: the line, the log, utilisation and memory; what metrics.jsonl keeps."""

import json
import re
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from made_stage import one_a_step, random_example, settings_of, texts, with_adapter
from rich.cells import cell_len
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from anukul import progress
from anukul.config import ModelSettings
from anukul.model.adapter import save_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.train import gauge
from anukul.train.gauge import Flops, Gauge, matrix_rate, necessary_flops, peak_memory
from anukul.train.loop import train_stage
from anukul.train.loss import token_losses
from anukul.train.metrics import MetricsLog, StepMetrics
from anukul.train.packing import collate
from anukul.train.plan import StagePlan
from anukul.train.trackers import Trackers

CPU = torch.device("cpu")
STEP = StepMetrics("s", 1, 9, 100, 50, 0, 1.8e-4, 2.345, 1.0, False, 100.0, 1.0)
LINE = (
    "loss 2.345  12,345 tokens/s  MFU 41%  7.4 of 24 GiB  ledger npi_Deva −0.312, eng_Latn +0.012  lr 1.8e-04"
)


def shown_on(monkeypatch: pytest.MonkeyPatch, width: int | None) -> StringIO:
    """What is written to a terminal of `width` columns, or to a log."""
    written = StringIO()
    made = Console(
        file=written, width=width, force_terminal=width is not None, soft_wrap=True, highlight=False
    )
    monkeypatch.setattr(progress, "console", lambda: made)
    return written


def terminal_lines(written: StringIO) -> list[str]:
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue())
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


@pytest.mark.parametrize("width", [80, 100, 120])
def test_on_a_terminal_bar_and_figures_take_one_line_each(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, width: int
) -> None:
    written = shown_on(monkeypatch, width)
    with progress.bar("train translation", 12_000, "steps", done=1000) as bar:
        clock.now += 3600
        bar.advance(1000, LINE)
    lines = terminal_lines(written)
    closing = lines.pop()
    assert closing == "  train translation: 1,000 steps in 3600.0 s (0.28 steps/s)"
    assert max(map(cell_len, lines)) <= width
    bars = [line for line in lines if line.startswith("train translation")]
    figures = [line for line in lines if line.startswith("  loss")]
    assert bars and figures and len(bars) + len(figures) == len(lines)  # nothing was wrapped
    if width >= 100:
        assert "17 % 2,000/12,000 0.28 steps/s" in bars[-1] and bars[-1].endswith("10:00:00 left")
        assert "ledger npi_Deva −0.312, eng_Latn +0.012" in figures[-1]
    if width == 120:
        assert figures[-1] == f"  {LINE}"


def test_a_log_gets_a_line_ever_more_rarely_and_none_of_what_is_soon_done(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    written = shown_on(monkeypatch, None)
    with progress.bar("short", 5, "steps") as bar:
        for _ in range(5):
            clock.now += 11
            bar.advance(1, "loss 1")
    assert written.getvalue() == "  short: 5 steps in 55.0 s (0.091 steps/s) loss 1\n"
    written.truncate(0)
    minutes = []
    with progress.bar("long", 600, "steps") as bar:
        for step in range(600):
            clock.now += 10
            before = len(written.getvalue())
            bar.advance(1, "loss 1")
            if len(written.getvalue()) > before:
                minutes.append((step + 1) / 6)
    assert minutes == [1, 3, 7, 15, 25, 35, 45, 55, 65, 75, 85, 95]
    lines = written.getvalue().lstrip("\0").splitlines()
    assert lines[2] == "  long: 42 of 600 steps, 1:33:00 left  loss 1"
    assert len(lines) == 13


def test_the_line_tells_the_last_ten_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = StagePlan([random_example(0, 10)], [[0]] * 30, 1, 0)
    seen = Gauge(plan, CPU, Flops(10.0, 4.0, 2.0), rate=1000.0)
    monkeypatch.setattr(gauge, "peak_memory", lambda device: 7.4375)
    for step in range(1, 21):
        slow = step > 10
        figures = replace(
            STEP, step=step, tokens=10, loss_tokens=9, loss=float(step), seconds=4.0 if slow else 1.0
        )
        read = seen.read(figures)
    # 10 tokens, 9 learnt, 55 pairs
    assert read.utilization == pytest.approx((10 * 10 + 9 * 4 + 55 * 2) / (4.0 * 1000.0))
    assert (
        seen.line("ledger npi −0.1")
        == "loss 15.500  2 tokens/s  MFU 6.2%  7.4 GiB  ledger npi −0.1  lr 1.8e-04"
    )
    seen.read(replace(STEP, step=21, loss=float("nan"), skipped=True))
    assert seen.line("").startswith("loss 16.000  ") and "  skipped  lr" in seen.line("")


def test_necessary_flops_are_those_that_torch_counts(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    loaded.model.requires_grad_(True)
    example = random_example(1, 40)
    learnt = np.arange(40) > 20
    batch = collate([[0]], [replace(example, learnt=learnt)], 40, 0, CPU)
    with FlopCounterMode(display=False) as counter:
        token_losses(loaded, batch).sum().backward()  # type: ignore[no-untyped-call]
    products = sum(n for op, n in counter.get_flop_counts()["Global"].items() if "mm" in str(op))
    flops = necessary_flops(loaded)
    assert flops is not None
    counted = flops.token * 40 + flops.learnt * 19
    assert products == pytest.approx(counted, rel=1e-6)
    # queries times keys and weights times values: 2 x 64 each, in 2 layers, and twice that backward
    assert flops.pair == 3 * (2 * 64 + 2 * 64) * 2
    frozen = necessary_flops(with_adapter(tiny_settings))
    assert frozen == Flops(flops.token * 4 / 6, flops.learnt * 4 / 6, flops.pair)


def test_the_rate_is_measured_once_and_leaves_the_random_state_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    matrix_rate.cache_clear()
    before = torch.get_rng_state()
    started = time.perf_counter()
    rate = matrix_rate(CPU, torch.float32)
    assert time.perf_counter() - started < 5
    assert torch.equal(before, torch.get_rng_state())
    side = 512
    left = torch.ones(side, side)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(left, left)
        seconds.append(time.perf_counter() - started)
    assert 0.2 < rate / (2 * side**3 / min(seconds)) < 10
    assert matrix_rate(CPU, torch.float32) == rate
    assert len(re.findall("TFLOP/s a device, measured here for float32", capsys.readouterr().err)) == 1


def test_memory_is_the_peak_of_this_process() -> None:
    before = peak_memory(CPU)
    assert before is not None
    held = torch.ones(int((before + 0.25) * 2**30 / 4))
    del held
    after = peak_memory(CPU)
    assert after is not None and after > before + 0.2


def test_a_stage_logs_utilisation_and_memory(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    loaded = with_adapter(tiny_settings)
    plan = one_a_step(texts(loaded, ["Ram eats rice."]), [0] * 4)
    settings = settings_of(log_steps=3)
    train_stage(loaded, plan, settings, settings.stages[0], tmp_path, save_adapter)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 3, 4]
    assert all(0 < line["utilization"] < 1 and 0.1 < line["memory_gib"] < 50 for line in lines)
    assert trainable_parameters(loaded) and not (tmp_path / "tensorboard").exists()  # no tracker was given


def test_lines_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0, Trackers()) as log:
        for step in range(1, 6):
            log.write(replace(STEP, step=step), 1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "s", "st')  # torn by a kill
    with MetricsLog(tmp_path, 3, Trackers()) as log:
        log.write(replace(STEP, step=4, loss=float("inf"), skipped=True), 10)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["loss"] is None and lines[-1]["utilization"] is None
