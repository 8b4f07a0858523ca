"""Merge an adapter into the very weights it was trained on, tensor by tensor, into an ordinary model folder.

What is merged into are the weights that training multiplied with: NF4-rounded ones dequantised to the compute dtype.
Each tensor is added to in fp32 and rounded once. No second model is ever in memory: what is held beside the loaded one
is a shard, and a few copies of one tensor.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anukul.errors import UserError
from anukul.model.loaded import DTYPES, Loaded
from anukul.model.lora_variants import Magnitudes
from anukul.model.vocabulary import MoreEmbeddings, MoreHead, write_tokenizer
from anukul.rundir import write_json


@dataclass(frozen=True, slots=True)
class Merged:
    """What was written."""

    parameters: int
    bytes: int
    files: list[str]  # the weight files
    tied: bool  # whether input embeddings and output head are one tensor in the file


@torch.no_grad()
def merge_into(loaded: Loaded, folder: Path, dtype: str, shard_bytes: int) -> Merged:
    """Write the model with its adapter merged in, its tokenizer and its generation settings to `folder`.

    Input embeddings and output head are written as one tensor only where they really are the same after merging: a
    base that ties them may have been given an adapter that changed only one (transformers#45127, peft#2777). Raises
    UserError for a layer whose adapter cannot be merged, and for weights that are not finite in `dtype`.
    """
    model = loaded.causal_lm
    weights, tied = merged_weights(loaded, DTYPES[dtype])
    files, sizes, parameters = _write_shards(weights, folder, shard_bytes)
    config = copy.deepcopy(model.config)
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(config, name):
            delattr(config, name)
    config.tie_word_embeddings = tied
    config.vocab_size = loaded.vocabulary_rows
    config.dtype = DTYPES[dtype]
    config.architectures = [type(model).__name__]
    config.save_pretrained(str(folder))
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(str(folder))
    _save_tokenizer(loaded, folder)
    return Merged(parameters, sum(sizes.values()), files, tied)


def merged_weights(loaded: Loaded, dtype: torch.dtype) -> tuple[Iterator[tuple[str, Tensor]], bool]:
    """Return the merged weights one at a time as (name in the checkpoint, CPU tensor), and whether the head is tied."""
    model = loaded.causal_lm
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    head = next((name for name, module in model.named_modules() if module is outputs), "")
    tied = bool(model.config.tie_word_embeddings) and _same(inputs, outputs, loaded, dtype)

    def weights() -> Iterator[tuple[str, Tensor]]:
        for name, tensor in _effective(model, "", loaded.compute_dtype):
            if tied and name == f"{head}.weight":
                continue
            cast = tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach()
            # the ends of the range, for a mask of a large tensor would be as large again
            if cast.is_floating_point() and not all(bool(torch.isfinite(end)) for end in torch.aminmax(cast)):
                raise UserError(
                    f"export: {name} is not finite in {str(dtype).removeprefix('torch.')}; "
                    "take another export.dtype, or an earlier checkpoint if it was not finite before"
                )
            yield name, cast.to("cpu").contiguous()

    return weights(), tied


def _same(inputs: nn.Module, outputs: nn.Module, loaded: Loaded, dtype: torch.dtype) -> bool:
    """Whether input embeddings and output head are the same numbers after merging."""
    pair = [dict(_effective(module, "", loaded.compute_dtype)) for module in (inputs, outputs)]
    if any(set(weights) != {"weight"} for weights in pair):
        return False
    first, second = (weights["weight"] for weights in pair)
    # what only rounding sets apart is not the same: it would be written as one of the two
    return first.shape == second.shape and torch.equal(first.to(dtype), second.to(dtype))


def _effective(module: nn.Module, prefix: str, compute_dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) of what a module computes with, its adapter merged in; names are those of the base."""
    from peft.tuners.lora import LoraLayer
    from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper

    if isinstance(module, LoraLayer):
        yield from _lora(module, prefix, compute_dtype)
        return
    if isinstance(module, ModulesToSaveWrapper):
        active = module.active_adapters
        trained = module.modules_to_save[active[0]] if active else module.original_module
        yield from _effective(trained, prefix, compute_dtype)
        return
    if isinstance(module, MoreEmbeddings | MoreHead):
        base = dict(_effective(module.inner, "", compute_dtype))
        weight = base.pop("weight")
        yield f"{prefix}weight", torch.cat([weight.float(), module.rows.to(weight.device)])
        yield from ((f"{prefix}{name}", tensor) for name, tensor in base.items())
        return
    if isinstance(module, TrainableTokensWrapper):
        adapter = module.token_adapter
        yield f"{prefix}weight", adapter.get_merged_weights(adapter.active_adapters)
        return
    if type(module).__module__.startswith("peft."):
        raise UserError(
            f"export: {prefix.rstrip('.')}: an adapter layer of kind {type(module).__name__} cannot be merged; "
            "export the adapter by itself with --to adapter"
        )
    for name, parameter in module.named_parameters(recurse=False):
        packed = getattr(parameter, "quant_state", None) is not None
        yield f"{prefix}{name}", _dequantized(parameter, compute_dtype) if packed else parameter
    for name, buffer in module.named_buffers(recurse=False):
        if name not in module._non_persistent_buffers_set:
            yield f"{prefix}{name}", buffer
    for name, child in module.named_children():
        yield from _effective(child, f"{prefix}{name}.", compute_dtype)


def _lora(layer: Any, prefix: str, compute_dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """The weight and bias of a layer with LoRA, or one of its variants such as DoRA, merged in fp32."""
    base = dict(_effective(layer.get_base_layer(), "", compute_dtype))
    weight, bias = base.pop("weight").float(), base.pop("bias", None)
    for adapter in layer.active_adapters:
        if adapter not in layer.scaling:
            continue
        variant = layer.lora_variant.get(adapter)
        lengths = dict(layer.lora_magnitude_vector.items()).get(adapter)
        if variant is None:
            weight = weight + layer.get_delta_weight(adapter).float()
        elif isinstance(lengths, Magnitudes):
            weight = lengths.merged(weight + layer.get_delta_weight(adapter).float())
        else:
            weight = variant.merge_safe(layer, adapter, weight).float()
        if layer.lora_bias.get(adapter):
            if bias is None:
                raise UserError(
                    f"export: {prefix.rstrip('.')}: the adapter adds a bias where the base has none, which cannot be "
                    "merged; export the adapter by itself with --to adapter"
                )
            bias = bias.float() + layer.lora_B[adapter].bias.float() * layer.scaling[adapter]
    yield f"{prefix}weight", weight
    if bias is not None:
        yield f"{prefix}bias", bias
    for name, tensor in base.items():
        yield f"{prefix}{name}", tensor


def _dequantized(parameter: Any, dtype: torch.dtype) -> Tensor:
    """The NF4-rounded weight of a 4-bit layer in the compute dtype: what its forward multiplies with."""
    from bitsandbytes.functional import dequantize_4bit

    weight: Tensor = dequantize_4bit(parameter.data, parameter.quant_state).to(dtype)
    return weight


def _write_shards(
    weights: Iterator[tuple[str, Tensor]], folder: Path, shard_bytes: int
) -> tuple[list[str], dict[str, int], int]:
    """Write weights in the order given, a new file before one grows beyond `shard_bytes`; return names and sizes."""
    from safetensors.torch import save_file

    held: dict[str, Tensor] = {}
    parts: list[list[str]] = []
    sizes: dict[str, int] = {}
    parameters = 0

    def flush() -> None:
        if held:
            parts.append(list(held))
            save_file(held, str(folder / f"part-{len(parts)}"), metadata={"format": "pt"})
            held.clear()

    for name, tensor in weights:
        size = tensor.numel() * tensor.element_size()
        if sum(sizes[other] for other in held) + size > shard_bytes:
            flush()
        held[name], sizes[name] = tensor, size
        parameters += tensor.numel()
    flush()
    files = []
    for number in range(1, len(parts) + 1):
        whole = len(parts) == 1
        name = "model.safetensors" if whole else f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        part = folder / f"part-{number}"
        part.chmod(folder.stat().st_mode & 0o666)  # safetensors writes files that only their owner may read
        part.rename(folder / name)
        files.append(name)
    if len(parts) > 1:
        where = {name: file for file, names in zip(files, parts, strict=True) for name in names}
        total = {"total_parameters": parameters, "total_size": sum(sizes.values())}
        write_json(folder / "model.safetensors.index.json", {"metadata": total, "weight_map": where})
    return files, sizes, parameters


def _save_tokenizer(loaded: Loaded, folder: Path) -> None:
    """Save the tokenizer with the model's own window, which `load_tokenizer` had set aside."""
    if loaded.vocabulary is not None:
        # the files with the new pieces are kept as they were made: the library might write them otherwise
        write_tokenizer(loaded.vocabulary.files, folder)
        return
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.model_max_length = loaded.max_positions
    tokenizer.save_pretrained(str(folder))
