"""How well the device is used: utilisation, memory, and the progress line that tells them.

Utilisation is the time that a step's necessary FLOPs would take at the rate measured on this very device for large
matrix products in the compute dtype, over the time that the step took. Necessary is what no trainer can leave out: the
frozen base takes 2 FLOPs per weight of its linear layers and token forward and 2 backward (to the activations; a base
that is itself trained takes 2 more, to the weights), its head so for learnt tokens only; causal attention 4 x width per
pair of tokens of a document and layer forward, and twice that backward. What is computed twice counts once, and the
adapter's few per cent and padding not at all.
"""

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from anukul.model.adapter import is_embedding
from anukul.model.loaded import Loaded
from anukul.progress import say
from anukul.train.metrics import StepMetrics
from anukul.train.plan import StagePlan

SIZES = (256, 512, 1024, 2048, 4096, 8192)
ON_CPU = 2048  # larger ones run no faster on a CPU, and would hold 100 MiB that small runs never need
TRIALS = 3
LONGEST = 0.5  # seconds for the trials of one size
ROOM = 0.1  # of a GPU's free memory, for the matrices


@dataclass(frozen=True, slots=True)
class Flops:
    """Necessary FLOPs, by what they are for."""

    token: float
    learnt: float  # beside those of the token
    pair: float  # tokens of a document of which the later sees the earlier, itself included

    def of_step(self, plan: StagePlan, metrics: StepMetrics) -> float:
        """The necessary FLOPs of a step."""
        rows = plan.step_rows(metrics.step - 1)
        lengths = np.array([len(plan.examples[i].ids) for row in rows for i in row], np.float64)
        pairs = float((lengths * (lengths + 1) / 2).sum())
        return self.token * metrics.tokens + self.learnt * metrics.loss_tokens + self.pair * pairs


def necessary_flops(loaded: Loaded) -> Flops | None:
    """Count what a model needs; None for a mixture of experts, of which a token takes its own part."""
    model = loaded.causal_lm
    config = model.config.get_text_config()
    if any(parameter.dim() == 3 for parameter in model.parameters()):
        return None
    weights = sum(
        int(module.in_features) * int(module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "lora_" not in name and not is_embedding(name)
    )
    each = 4.0 if loaded.has_adapter else 6.0
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = 12.0 * width * config.num_attention_heads * config.num_hidden_layers
    return Flops(each * weights, each * config.hidden_size * loaded.vocabulary_rows, attention)


@cache
def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the FLOPs per second of a large matrix product on this device; takes a second at most.

    The products grow until one takes long enough; nothing is drawn from the random state that training uses.
    """
    cuda = device.type == "cuda"
    best = 0.0
    for size in SIZES:
        if not cuda and size > ON_CPU:
            break
        if cuda and 3 * size**2 * dtype.itemsize > ROOM * torch.cuda.mem_get_info(device)[0]:
            break
        generator = torch.Generator(device).manual_seed(0)
        block = torch.randn(SIZES[0], SIZES[0], generator=generator, device=device).to(dtype)
        left = block.repeat(size // SIZES[0], size // SIZES[0])
        right, product = left.t().contiguous(), torch.empty_like(left)
        seconds = min(_seconds(left, right, product) for _ in range(1 + TRIALS))  # the first one warms up
        best = max(best, 2 * size**3 / seconds)
        if 8 * seconds * TRIALS > LONGEST:
            break
    name = str(dtype).removeprefix("torch.")
    say(f"  MFU is against {best / 1e12:.3g} TFLOP/s a device, measured here for {name} matrix products")
    return best


def _seconds(left: torch.Tensor, right: torch.Tensor, product: torch.Tensor) -> float:
    if left.is_cuda:
        torch.cuda.synchronize(left.device)
    started = time.perf_counter()
    torch.mm(left, right, out=product)
    if left.is_cuda:
        torch.cuda.synchronize(left.device)
    return time.perf_counter() - started


def restart_peak() -> None:
    """Let the peak begin anew at what is held now, where the system can do that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device: torch.device) -> float | None:
    """Peak GiB since `restart_peak`: of tensors on a GPU, else of this process; None where a system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    text = status.read_text(encoding="ascii", errors="replace")
    peak = next(line for line in text.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 2**20


@dataclass(slots=True)
class Gauge:
    """Adds utilisation and memory to a step's figures, and says the last steps in a line."""

    plan: StagePlan
    device: torch.device
    flops: Flops | None
    rate: float  # FLOPs per second of all devices
    recent: deque[StepMetrics] = field(default_factory=lambda: deque(maxlen=10))

    @classmethod
    def of(cls, loaded: Loaded, plan: StagePlan, devices: int) -> "Gauge":
        """Measure the device and count what the model needs."""
        rate = matrix_rate(loaded.device, loaded.compute_dtype)
        return cls(plan, loaded.device, necessary_flops(loaded), rate * devices)

    def read(self, metrics: StepMetrics) -> StepMetrics:
        """Return a step's figures with utilisation and memory; remember them for the line."""
        utilization = None
        if self.flops is not None:
            utilization = self.flops.of_step(self.plan, metrics) / (metrics.seconds * self.rate)
        read = replace(metrics, utilization=utilization, memory_gib=peak_memory(self.device))
        self.recent.append(read)
        return read

    def line(self, ledger: str) -> str:
        """The last ten steps in a line: mean loss without skipped steps, tokens/s, utilisation, memory, `ledger`."""
        seen, newest = self.recent, self.recent[-1]
        good = [metrics.loss for metrics in seen if not metrics.skipped]
        seconds = sum(metrics.seconds for metrics in seen)
        parts = [f"loss {sum(good) / len(good):.3f}" if good else "loss -"]
        parts.append(f"{sum(metrics.tokens for metrics in seen) / seconds:,.0f} tokens/s")
        if newest.utilization is not None:
            used = sum((metrics.utilization or 0.0) * metrics.seconds for metrics in seen)
            share = used / seconds
            parts.append(f"MFU {share:{'.0%' if share >= 0.1 else '.1%'}}")
        if newest.memory_gib is not None:
            whole = ""
            if self.device.type == "cuda":
                whole = f" of {torch.cuda.get_device_properties(self.device).total_memory / 2**30:.0f}"
            parts.append(f"{newest.memory_gib:.1f}{whole} GiB")
        if newest.skipped:
            parts.append("skipped")
        return "  ".join(part for part in (*parts, ledger, f"lr {newest.learning_rate:.1e}") if part)
