"""Variants of LoRA that need more of us than a flag of peft: PiSSA's start, and the norms of DoRA.

PiSSA (arXiv 2404.02948) starts B and A at the principal components of a weight, W ~ B0 A0, and takes these out of the
base. Here the base stays as it is, so that the adapter switched off is the base, and 4-bit weights need no second
rounding: a layer gives W + B A - B0 A0, of which B and A are trained. This is computed as B0 (A - A0) + (B - B0) A: in
bf16, small steps away from large numbers would be lost if B A and B0 A0 were rounded first. What is saved is plain LoRA
of twice the rank, [A; A0] and [B, -B0], which any peft puts on the untouched base.
"""

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F  # noqa: N812  the usual name
from torch import Tensor, nn

from anukul.config import LoraSettings
from anukul.errors import UserError
from anukul.model.loaded import Loaded, pick_device
from anukul.model.nf4 import dense_weight
from anukul.progress import bar
from anukul.rundir import read_json, write_json

ADAPTER = "default"  # what peft calls an adapter that was given no name
PISSA = "pissa.json"  # in the adapter's folder: the rank that is trained
# Smaller weights are decomposed in full; of larger ones a random subspace is made out, more than fast enough and exact
# to many digits for what stands out (arXiv 0909.4061; PiSSA's own fast start takes 4 iterations).
WHOLE = 1024
ITERATIONS = 4


class _Factor(nn.Module, ABC):
    """One of the two low-rank factors of a layer: what is trained, and what it started from."""

    start: Tensor

    def __init__(self, trained: Tensor, start: Tensor) -> None:
        super().__init__()
        # in rows, however the decomposition laid it out: fused optimizers go through weights and moments by address
        self.trained = nn.Parameter(trained.float().clone(memory_format=torch.contiguous_format))
        # a buffer: it is no one's to train, and sharding leaves buffers whole
        self.register_buffer("start", start.float().clone(), persistent=False)

    @property
    @abstractmethod
    def weight(self) -> Tensor:
        """The factor of twice the rank that the layer multiplies with; made anew at every call."""

    @abstractmethod
    def stored(self) -> Tensor:
        """The factor of twice the rank that stands in the file, from which both parts come back to the bit."""

    def forward(self, states: Tensor) -> Tensor:
        """Return `[..., out]` for `[..., in]`."""
        return F.linear(states, self.weight)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Stand in the file as plain LoRA."""
        destination[f"{prefix}weight"] = self.stored().detach().contiguous()


class FirstFactor(_Factor):
    """A, `[rank, in]`, and the A0 that it started from."""

    @property
    def weight(self) -> Tensor:
        """`[A - A0; A]`, `[2 rank, in]`."""
        return torch.cat([self.trained - self.start, self.trained])

    def stored(self) -> Tensor:
        """`[A; A0]`, `[2 rank, in]`."""
        return torch.cat([self.trained, self.start])


class SecondFactor(_Factor):
    """B, `[out, rank]`, and the B0 that it started from."""

    @property
    def weight(self) -> Tensor:
        """`[B0, B - B0]`, `[out, 2 rank]`."""
        return torch.cat([self.start, self.trained - self.start], dim=1)

    def stored(self) -> Tensor:
        """`[B, -B0]`, `[out, 2 rank]`."""
        return torch.cat([self.trained, -self.start], dim=1)


def doubled(lora: LoraSettings) -> tuple[int, float]:
    """Return rank and alpha of the plain LoRA that holds a PiSSA pair, whose scale is that of the pair."""
    return 2 * lora.rank, lora.alpha * (math.sqrt(2) if lora.rank_stabilized else 2)


@torch.no_grad()
def start_from_principal(loaded: Loaded, rank: int) -> None:
    """Let every low-rank pair of the model start at the principal components of its weight.

    The adapter must have been made with the rank and alpha of `doubled`. Draws random numbers for large weights. Raises
    UserError where a weight has fewer components than `rank`.
    """
    layers = _layers(loaded)
    with bar("principal components", len(layers), "layers") as shown:
        for name, layer in layers.items():
            weight = _dense(layer)
            if min(weight.shape) < rank:
                raise UserError(
                    f"train.lora.init: pissa: {name} has only {min(weight.shape)} components; "
                    f"take a train.lora.rank up to that, not {rank}"
                )
            # where the base is read into the machine's memory first, to be shared out over GPUs
            first, second = principal(weight.to(pick_device()).float(), rank, layer.scaling[ADAPTER])
            _set(layer, FirstFactor(first, first), SecondFactor(second, second), weight.device)
            shown.advance(1)


def principal(weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """Return A `[rank, in]` and B `[out, rank]` whose product times `scale` is the best of that rank for `weight`."""
    if min(weight.shape) <= WHOLE:
        left, sizes, right = torch.linalg.svd(weight, full_matrices=False)
    else:
        left, sizes, right = torch.svd_lowrank(weight, min(2 * rank, *weight.shape), niter=ITERATIONS)
        right = right.T
    roots = (sizes[:rank] / scale).sqrt()
    return roots[:, None] * right[:rank], left[:, :rank] * roots


def load_variant(loaded: Loaded, folder: Path, trainable: bool) -> None:
    """Give a loaded adapter the parts that peft does not know: the two halves of PiSSA's factors, DoRA's norms."""
    if (folder / PISSA).exists():
        rank = int(read_json(folder / PISSA)["rank"])
        for layer in _layers(loaded).values():
            first, second = layer.lora_A[ADAPTER].weight.data, layer.lora_B[ADAPTER].weight.data
            pair = FirstFactor(first[:rank], first[rank:]), SecondFactor(second[:, :rank], -second[:, rank:])
            _set(layer, *pair, first.device)
            for factor in pair:
                factor.requires_grad_(trainable)
    for layer in _layers(loaded).values():
        if ADAPTER in layer.lora_magnitude_vector:
            _set_magnitudes(layer, layer.lora_magnitude_vector[ADAPTER].weight)


def save_variant(loaded: Loaded, folder: Path) -> None:
    """Write into the adapter's folder what `load_variant` must know."""
    ranks = {
        layer.lora_A[ADAPTER].trained.shape[0]
        for layer in _layers(loaded).values()
        if isinstance(layer.lora_A[ADAPTER], FirstFactor)
    }
    for rank in ranks:  # one or none
        write_json(folder / PISSA, {"rank": rank})


class Magnitudes(nn.Module):
    """DoRA's (arXiv 2402.09353) trained length of every row of W + s B A, in the place of peft's own module.

    The same function, of which peft 0.21 builds B A as large as W in every forward, and a unit matrix of the inputs
    with it. The norm of a row needs neither: |w|^2 + 2 s b A w + s^2 b A A' b'. It is taken in fp32, so that a layer
    that is not trained yet is the base's to the bit; as in peft no gradient flows through it.
    """

    squares: Tensor

    def __init__(self, length: nn.Parameter | None, weight: Tensor, transposed: bool) -> None:
        super().__init__()
        self.register_buffer("squares", weight.float().square().sum(1), persistent=False)  # [out]
        self.weight = nn.Parameter(self.squares.sqrt()) if length is None else length  # [out]
        self.transposed = transposed  # the base holds its weight as [in, out]
        self.known: tuple[tuple[Any, ...], Tensor] | None = None

    def forward(
        self,
        states: Tensor,
        *,
        lora_A: nn.Module,  # noqa: N803  peft's names
        lora_B: nn.Module,  # noqa: N803
        scaling: float,
        base_layer: Any,
        base_result: Tensor | None = None,
        adapter_name: str = ADAPTER,
    ) -> Tensor:
        """Return what is added to the base's output `[..., out]` for its input `[..., in]`."""
        times = self.weight / self._norms(lora_A, lora_B, scaling, base_layer)
        change: Tensor = lora_B(lora_A(states))
        if base_result is None:  # with dropout the base's part is made again of what was left
            base_result = F.linear(states, self._turn(dense_weight(base_layer)).to(states.dtype))
        elif getattr(base_layer, "bias", None) is not None:
            base_result = base_result - base_layer.bias
        # what is small is rounded after it became small
        return base_result * (times - 1).to(change.dtype) + change * (times * scaling).to(change.dtype)

    @torch.no_grad()
    def merged(self, weight: Tensor) -> Tensor:
        """Return W + s B A, given as a whole and as the base holds its weight, with rows of the trained lengths."""
        rows = self._turn(weight)
        return self._turn(rows * (self.weight / torch.linalg.vector_norm(rows, dim=1))[:, None])

    def train(self, mode: bool = True) -> Self:
        """Forget the norms: weights may change from here on."""
        self.known = None
        return super().train(mode)

    def _norms(self, first: Any, second: Any, scale: float, base_layer: Any) -> Tensor:
        """The norms of the rows of W + s B A, `[out]`; outside training made once, as a text is made token by token."""
        if self.training:
            return self._measure(first, second, scale, base_layer)
        weights = [*first.parameters(), *second.parameters()]
        now = (base_layer.weight.dtype, *(weight._version for weight in weights))
        if self.known is None or self.known[0] != now:
            # kept beyond the block that asks for them first, they must be of use to any
            with torch.inference_mode(False):
                self.known = now, self._measure(first, second, scale, base_layer)
        return self.known[1]

    @torch.no_grad()
    def _measure(self, first: Any, second: Any, scale: float, base_layer: Any) -> Tensor:
        a, b = first.weight.float(), second.weight.float()
        with torch.autocast(a.device.type, enabled=False):
            base = self._turn(dense_weight(base_layer))
            across = F.linear(a.to(base.dtype), base).float().T  # [out, rank]
            change = 2 * scale * (across * b).sum(1) + scale**2 * ((b @ (a @ a.T)) * b).sum(1)
        norms: Tensor = (self.squares + change).sqrt()
        return norms

    def _turn(self, weight: Tensor) -> Tensor:
        return weight.T if self.transposed else weight


@torch.no_grad()
def make_dora(loaded: Loaded) -> None:
    """Make a new adapter one of DoRA: the trained lengths are at first those of the base's rows.

    What peft does where it is told `use_dora`, only that it would copy and multiply whole weights for it.
    """
    from peft.tuners.lora.variants import DoraLinearVariant

    loaded.model.peft_config[ADAPTER].use_dora = True
    for layer in _layers(loaded).values():
        layer.lora_variant[ADAPTER], layer.use_dora[ADAPTER] = DoraLinearVariant(), True
        _set_magnitudes(layer, None)


def _set_magnitudes(layer: Any, length: nn.Parameter | None) -> None:
    held = Magnitudes(length, _dense(layer), layer.fan_in_fan_out)
    layer.lora_magnitude_vector[ADAPTER] = held.train(layer.training)


def _set(layer: Any, first: FirstFactor, second: SecondFactor, device: torch.device) -> None:
    layer.lora_A[ADAPTER], layer.lora_B[ADAPTER] = first.to(device), second.to(device)


def _dense(layer: Any) -> Tensor:
    """The weight of a layer's base as `[out, in]`, in the type that it is held in or dequantised to."""
    weight = dense_weight(layer.get_base_layer())
    return weight.T if layer.fan_in_fan_out else weight


def _layers(loaded: Loaded) -> dict[str, Any]:
    """The linear layers with low-rank factors, by name; embeddings have theirs elsewhere."""
    found = loaded.model.named_modules()
    return {name: module for name, module in found if ADAPTER in getattr(module, "lora_A", ())}
