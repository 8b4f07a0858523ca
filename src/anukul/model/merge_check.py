"""Check merged weights layer by layer: what each layer gives with its adapter against what the file's weight gives.

The logits of a whole model hide a layer that lost a small change. Here each layer is asked by itself, on random
inputs, through peft's own forward and not through the formula that merged it.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from anukul.errors import UserError
from anukul.model.loaded import Loaded
from anukul.model.nf4 import unpacked
from anukul.model.vocabulary import set_aside

INPUTS = 64  # random vectors, or tokens, for each layer
MARGIN = 0.1  # of the change that may be missing or too much
DEVIATIONS = 6.0  # of what rounding, which is blind to the change, adds to that
# Half a unit in the last place, as a share of a number; the sums of the check itself are in fp32.
ROUNDING = {torch.bfloat16: 2.0**-9, torch.float16: 2.0**-12, torch.float32: 2.0**-18}
SUBNORMAL = {torch.float16: 2.0**-25}  # smaller numbers of fp16 have steps, not digits


@dataclass(frozen=True, slots=True)
class LayerCheck:
    """What the layers of a merged model hold of the change that the adapter makes."""

    layers: int  # with an adapter
    unchanged: int  # tensors without one, equal to the base's
    least_share: float | None  # of its change, over the layers whose change rounding does not hide
    least_layer: str


@torch.no_grad()
def check_layers(loaded: Loaded, folder: Path, dtype: torch.dtype) -> LayerCheck:
    """Compare every layer with the weight in `folder`; raise UserError naming a layer whose change was lost."""
    loaded.model.eval()
    with set_aside(loaded):
        weights = StoredWeights(folder)
        _check_new_rows(loaded, weights, dtype)
        return _check_layers(loaded, weights, dtype)


def _check_layers(loaded: Loaded, weights: "StoredWeights", dtype: torch.dtype) -> LayerCheck:
    shares: dict[str, float] = {}
    checked: set[str] = set()
    generator = torch.Generator().manual_seed(0)
    for name, module in _adapted(loaded.causal_lm, ""):
        stored = weights.get(f"{name}.weight") if f"{name}.weight" in weights.files else None
        if stored is None:  # a tied head: what it multiplies with is the embeddings in the file
            stored = weights.get(_embeddings(loaded))
        bias = weights.get(f"{name}.bias") if f"{name}.bias" in weights.files else None
        checked.add(name)
        with torch.autocast(loaded.device.type, enabled=False):
            share = _share(name, module, stored.to(loaded.device), bias, generator, dtype)
        if share is not None:
            shares[name] = share
    unchanged = _check_unchanged(loaded, weights, checked, dtype)
    if not checked:
        raise UserError("export: the adapter changes no layer of the base; there is nothing to merge")
    least = min(shares, key=lambda name: shares[name], default="")
    return LayerCheck(len(checked), unchanged, shares.get(least), least)


class StoredWeights:
    """The tensors of a folder of safetensors, read one at a time."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self.rows: dict[
            str, int
        ] = {}  # of tensors that are longer than the base's: how many rows the base has
        self.files: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            file: Any = safe_open(str(path), framework="pt")
            self.files |= dict.fromkeys(file.keys(), file)

    def get(self, name: str) -> Tensor:
        """Read one tensor onto the CPU; the rows of new pieces are left out."""
        tensor: Tensor = self.files[name].get_tensor(name)
        return tensor[: self.rows[name]] if name in self.rows else tensor


def _check_new_rows(loaded: Loaded, weights: StoredWeights, dtype: torch.dtype) -> None:
    """Compare the rows of new pieces, number by number, and leave them out of what is compared with the base."""
    held = loaded.vocabulary
    if held is None:
        return
    for module, rows in ((held.embeddings.inner, held.embeddings.rows), (held.head.inner, held.head.rows)):
        found = loaded.causal_lm.named_modules(remove_duplicate=False)
        name = next(f"{name}.weight" for name, other in found if other is module)
        if name not in weights.files:
            continue  # a tied head
        stored = weights.get(name)
        weights.rows[name] = len(stored) - len(rows)
        if not torch.equal(stored[weights.rows[name] :], rows.to(dtype).cpu()):
            raise UserError(f"export: the new pieces' rows of {name} are not the adapter's. Nothing was kept")


def _adapted(module: nn.Module, prefix: str) -> list[tuple[str, Any]]:
    """The outermost adapter layers by the names of what they stand in for."""
    found: list[tuple[str, Any]] = []
    for name, child in module.named_children():
        if hasattr(child, "base_layer") or hasattr(child, "original_module"):
            found.append((f"{prefix}{name}", child))
        else:
            found += _adapted(child, f"{prefix}{name}.")
    return found


def _check_equal(name: str, stored: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    if stored.shape != wanted.shape or not torch.equal(stored.cpu(), wanted.to(dtype).cpu()):
        raise UserError(
            f"export: {name} is not what the model has, and no adapter changes it. Nothing was kept"
        )


def _embeddings(loaded: Loaded) -> str:
    inputs = loaded.causal_lm.get_input_embeddings()
    return next(f"{name}.weight" for name, module in loaded.causal_lm.named_modules() if module is inputs)


def _share(
    name: str,
    module: Any,
    stored: Tensor,
    bias: Tensor | None,
    generator: torch.Generator,
    dtype: torch.dtype,
) -> float | None:
    """The share of the adapter's change that the stored weight holds; None where rounding is larger than the change."""
    weight = stored.float()
    looks_up = isinstance(_innermost(_base(module)), nn.Embedding)
    if looks_up:
        inputs = _tokens(module, weight.shape[0], generator).to(weight.device)
        found = weight[inputs]
    else:
        inputs = torch.randn(INPUTS, weight.shape[1], generator=generator).to(weight.device)
        found = functional.linear(inputs, weight, None if bias is None else bias.to(weight))
    with unpacked(module), _in_fp32(module):
        wanted, before = module(inputs).float(), _base(module)(inputs).float()
    change, got = wanted - before, found - before
    rest, size, moved = (float(tensor.norm()) for tensor in (found - wanted, wanted, change))
    step = SUBNORMAL.get(dtype, 0.0) * math.sqrt(found.numel() * (1 if looks_up else inputs.shape[1]))
    allowed = 2 * ROUNDING[dtype] * max(size, float(before.norm())) + step
    share = float((got * change).sum()) / moved**2 if moved else 1.0
    noise = DEVIATIONS * allowed / (moved * math.sqrt(found.numel())) if moved else math.inf
    if rest > allowed or abs(share - 1) > MARGIN + noise:
        raise UserError(
            f"export: {name}: the merged weight holds {share:.1%} of what the adapter changes in this layer, and its "
            f"output is {rest / max(size, 1e-30):.2g} off where rounding explains {allowed / max(size, 1e-30):.2g}. "
            "Nothing was kept"
        )
    return share if noise < MARGIN else None


@contextmanager
def _in_fp32(module: Any) -> Iterator[Any]:
    """Let one layer compute in fp32 in the block."""
    held = [
        (parameter, parameter.data)
        for parameter in module.parameters()
        if parameter.is_floating_point() and getattr(parameter, "quant_state", None) is None
    ]
    computing = [(part, part.compute_dtype) for part in module.modules() if hasattr(part, "compute_dtype")]
    try:
        for parameter, data in held:
            parameter.data = data.float()
        for part, _ in computing:
            part.compute_dtype = torch.float32
        yield module
    finally:
        for parameter, data in held:
            parameter.data = data
        for part, dtype in computing:
            part.compute_dtype = dtype


def _base(module: Any) -> Any:
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module.original_module


def _innermost(module: Any) -> Any:
    while hasattr(module, "base_layer"):
        module = module.base_layer
    return module


def _tokens(module: Any, rows: int, generator: torch.Generator) -> Tensor:
    """Tokens to look up: those that were trained where only some were, and others drawn from all."""
    drawn = torch.randint(rows, (16 * INPUTS,), generator=generator)
    adapter = getattr(module, "token_adapter", None)
    if adapter is None:
        return drawn
    trained = [index for indices in adapter.token_indices.values() for index in indices]
    return torch.cat([drawn, torch.tensor(trained[: 16 * INPUTS])])


def _check_unchanged(loaded: Loaded, weights: StoredWeights, adapted: set[str], dtype: torch.dtype) -> int:
    """Compare what no adapter touches with the base, number by number; return how many tensors that were."""
    count = 0
    for name, parameter in loaded.causal_lm.named_parameters():
        if name not in weights.files or any(name.startswith(f"{layer}.") for layer in adapted):
            continue
        if getattr(parameter, "quant_state", None) is not None:
            continue  # a 4-bit layer without an adapter; only its dequantised weight is in the file
        _check_equal(name, weights.get(name), parameter, dtype)
        count += 1
    return count
