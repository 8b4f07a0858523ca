"""A merged Llama as one GGUF file: written a tensor at a time, read back and compared a tensor at a time.

Names and layout are llama.cpp's for the architecture `llama`. It turns pairs of neighbouring dimensions where
transformers turns the first half of a head against the second, so the rows of the query and key projections are put
in another order.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul.errors import UserError
from anukul.export.gguf_tokenizer import GgufTokenizer
from anukul.rundir import read_json

SUPPORTED = ("llama", "mistral")  # model_type of config.json; both are `llama` to llama.cpp
LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
# llama.cpp's number of what most tensors of a file are held in (gguf.LlamaFileType)
FILE_TYPES = {"f16": 1, "q8_0": 7, "bf16": 32}
# How far a value may come back from what was written, as a share of the largest of its block of 32: half a step of
# 1/127 of it for q8_0 and the rounding of its scale to fp16; the rounding of 11 and 8 bits for f16 and bf16.
ROUNDING = {"F32": 0.0, "F16": 2**-11, "BF16": 2**-9, "Q8_0": 0.5 / 127 + 2**-10}
BLOCK = 32
F16_STEP = 2.0**-25  # half the least number above zero that fp16 holds
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the file: its name, where it comes from, its shape and how it is held."""

    name: str
    source: str  # in the merged model; empty for rotary factors
    shape: tuple[int, ...]
    kind: str  # F32 | F16 | BF16 | Q8_0


def check_supported(folder: Path) -> dict[str, Any]:
    """Return config.json of a merged model; raise UserError for what cannot be written for llama.cpp."""
    config: dict[str, Any] = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in SUPPORTED:
        raise UserError(
            f"export: gguf is written for models of the Llama architecture ({', '.join(SUPPORTED)}); this one is "
            f"'{kind}'. Convert {folder} with llama.cpp's convert_hf_to_gguf.py instead"
        )
    if config.get("sliding_window"):
        raise UserError(
            f"export: this {kind} has a sliding window of {config['sliding_window']} tokens, which llama.cpp's llama "
            "architecture does not have"
        )
    rope = _rope(config)
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3"):
        raise UserError(
            f"export: rotary embeddings of kind '{rope['rope_type']}' are not written to GGUF; default, linear and "
            "llama3 are"
        )
    if rope.get("partial_rotary_factor", 1.0) != 1.0 or config.get("hidden_act", "silu") != "silu":
        raise UserError("export: llama.cpp's llama turns whole heads and uses SiLU; this model does not")
    return config


def plan(folder: Path, config: dict[str, Any], kind: str) -> list[Tensor]:
    """List the tensors of the file; raise UserError for one that the architecture has no name for."""
    from safetensors import safe_open

    found = []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as weights:
            for source in weights.keys():  # noqa: SIM118 - it is no dict and cannot be iterated
                shape = tuple(weights.get_slice(source).get_shape())
                found.append(Tensor(_name(source), source, shape, _kind(shape, kind)))
    found.sort(key=lambda tensor: [int(part) if part.isdigit() else -1 for part in tensor.name.split(".")])
    if (_rope(config)).get("rope_type") == "llama3":
        found.append(Tensor("rope_freqs.weight", "", (_head_size(config) // 2,), "F32"))
    return found


def _name(source: str) -> str:
    module, _, leaf = source.rpartition(".")
    if module in OUTSIDE:
        return f"{OUTSIDE[module]}.{leaf}"
    parts = module.split(".", 3)
    if len(parts) == 4 and parts[:2] == ["model", "layers"] and parts[3] in LAYER:
        return f"blk.{parts[2]}.{LAYER[parts[3]]}.{leaf}"
    raise UserError(f"export: {source} has no name in llama.cpp's llama architecture")


def _kind(shape: tuple[int, ...], kind: str) -> str:
    """Vectors stay in fp32; rows that no blocks of 32 fill are held in fp16, as llama.cpp does."""
    if len(shape) < 2:
        return "F32"
    if kind == "q8_0" and shape[-1] % BLOCK:
        return "F16"
    return kind.upper()


def write(folder: Path, path: Path, name: str, kind: str, tokenizer: GgufTokenizer) -> list[Tensor]:
    """Write the merged model in `folder` to `path`; raise UserError where it cannot be held in `kind`."""
    import gguf

    config = check_supported(folder)
    tensors = plan(folder, config, kind)
    writer: Any = gguf.GGUFWriter(str(path), "llama")
    _describe(writer, config, name, kind, any(tensor.kind == "Q8_0" for tensor in tensors))
    _add_tokenizer(writer, folder, tokenizer)
    for tensor in tensors:
        held = gguf.GGMLQuantizationType[tensor.kind]
        block, size = gguf.GGML_QUANT_SIZES[held]
        stored = (*tensor.shape[:-1], tensor.shape[-1] // block * size)
        bytes_ = math.prod(stored)
        shape, dtype = (
            (tensor.shape, np.dtype(np.float32)) if tensor.kind == "F32" else (stored, np.dtype(np.uint8))
        )
        writer.add_tensor_info(tensor.name, shape, dtype, bytes_, raw_dtype=held)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, values in values_of(folder, config, tensors):
        data = gguf.quants.quantize(values, gguf.GGMLQuantizationType[tensor.kind])
        if tensor.kind in ("F16", "Q8_0") and not np.isfinite(_back(data, tensor.kind)).all():
            writer.close()
            raise UserError(f"export: {tensor.source} holds numbers beyond what {kind} can; take bf16")
        writer.write_tensor_data(np.ascontiguousarray(data))
    writer.close()
    return tensors


def values_of(folder: Path, config: dict[str, Any], tensors: list[Tensor]) -> Iterator[tuple[Tensor, Array]]:
    """Yield each tensor with its values in fp32, rows of queries and keys in llama.cpp's order."""
    import torch
    from safetensors import safe_open

    where: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as weights:
            where |= dict.fromkeys(weights.keys(), file)
    heads = int(config["num_attention_heads"])
    groups = {"attn_q": heads, "attn_k": int(config.get("num_key_value_heads") or heads)}
    for tensor in tensors:
        if not tensor.source:
            yield tensor, _rope_factors(config)
            continue
        with safe_open(str(where[tensor.source]), framework="pt") as weights:
            values: Array = weights.get_tensor(tensor.source).to(torch.float32).numpy()
        part = tensor.name.split(".")[-2]
        yield tensor, np.ascontiguousarray(permute(values, groups[part]) if part in groups else values)


def permute(values: Array, heads: int) -> Array:
    """Put the rows of each head from halves (transformers) into pairs (llama.cpp); for a weight or a bias."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def read_back(folder: Path, path: Path, tensors: list[Tensor]) -> dict[str, float]:
    """Read the file with gguf's reader; return the largest error by kind, as a share of the block's largest value.

    Raises UserError for a tensor that is missing, too many, of another shape, or further off than its rounding.
    """
    import gguf

    config = check_supported(folder)
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(str(path)).tensors}
    if set(found) != {tensor.name for tensor in tensors}:
        odd = sorted(set(found) ^ {tensor.name for tensor in tensors})
        raise UserError(f"export: {path.name} does not hold the tensors written: {', '.join(odd[:5])}")
    worst: dict[str, float] = {}
    for tensor, values in values_of(folder, config, tensors):
        held = found[tensor.name]
        back = _back(held.data, held.tensor_type.name).reshape(tuple(reversed(held.shape.tolist())))
        if back.shape != values.shape or held.tensor_type.name != tensor.kind:
            raise UserError(
                f"export: {path.name}: {tensor.name} came back as {held.tensor_type.name} {back.shape}"
            )
        error = _error(values, back, tensor.kind)
        if not error <= ROUNDING[tensor.kind] * (1 + 1e-5):
            raise UserError(
                f"export: {path.name}: {tensor.name} came back with an error of {error:.2g} of its block's largest "
                f"value; rounding to {tensor.kind} explains {ROUNDING[tensor.kind]:.2g}"
            )
        worst[tensor.kind] = max(worst.get(tensor.kind, 0.0), error)
    return worst


def _back(data: Array, kind: str) -> Array:
    import gguf

    values: Array = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind])
    return values


def _error(values: Array, back: Array, kind: str) -> float:
    """The largest error as a share of the largest value of its block; single numbers for what has no blocks."""
    block = BLOCK if kind == "Q8_0" else 1
    difference = np.abs(values - back).reshape(-1, block)
    if kind == "F16":  # below its least normal number fp16 has steps, not digits
        difference = np.maximum(difference - F16_STEP, 0.0)
    largest = np.abs(values).reshape(-1, block).max(-1)
    shares = difference.max(-1)[largest > 0] / largest[largest > 0]
    exact_zeros = difference.max(-1)[largest == 0]
    if exact_zeros.size and exact_zeros.max() > 0:
        return math.inf
    return float(shares.max()) if shares.size else 0.0


def _describe(writer: Any, config: dict[str, Any], name: str, kind: str, quantized: bool) -> None:
    """The keys that say what the model is."""
    heads = int(config["num_attention_heads"])
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(FILE_TYPES[kind])
    if quantized:
        writer.add_quantization_version(2)
    writer.add_vocab_size(int(config["vocab_size"]))
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
    writer.add_key_length(_head_size(config))
    writer.add_value_length(_head_size(config))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    rope = _rope(config)
    writer.add_rope_dimension_count(_head_size(config))
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    if rope.get("rope_type") == "linear":
        from gguf import RopeScalingType

        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))


def _add_tokenizer(writer: Any, folder: Path, tokenizer: GgufTokenizer) -> None:
    writer.add_tokenizer_model(tokenizer.model)
    writer.add_tokenizer_pre(tokenizer.pre)
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types(tokenizer.types)
    if tokenizer.scores is not None:
        writer.add_token_scores(tokenizer.scores)
        writer.add_add_space_prefix(tokenizer.space_prefix)
    if tokenizer.merges is not None:
        writer.add_token_merges(tokenizer.merges)
    ids = {token: number for number, token in enumerate(tokenizer.tokens)}
    settings = read_json(folder / "tokenizer_config.json")
    adders: dict[str, Callable[[int], None]] = {
        "bos_token": writer.add_bos_token_id,
        "eos_token": writer.add_eos_token_id,
        "unk_token": writer.add_unk_token_id,
        "pad_token": writer.add_pad_token_id,
    }
    for key, add in adders.items():
        token = settings.get(key)
        content = token.get("content") if isinstance(token, dict) else token
        if content in ids:
            add(ids[content])
    writer.add_add_bos_token(tokenizer.adds_bos)
    writer.add_add_eos_token(tokenizer.adds_eos)
    template = folder / "chat_template.jinja"
    chat = template.read_text(encoding="utf-8") if template.exists() else settings.get("chat_template")
    if isinstance(chat, str):
        writer.add_chat_template(chat)


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    rope: dict[str, Any] = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    return rope


def _head_size(config: dict[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _rope_factors(config: dict[str, Any]) -> Array:
    """What each frequency is divided by under Llama 3.1's scaling (transformers' `llama3`)."""
    rope = _rope(config)
    size = _head_size(config)
    frequencies = float(rope["rope_theta"]) ** -(np.arange(0, size, 2, dtype=np.float64) / size)
    lengths = 2 * math.pi / frequencies
    old = float(rope["original_max_position_embeddings"])
    low, high, factor = (float(rope[key]) for key in ("low_freq_factor", "high_freq_factor", "factor"))
    smooth = (old / lengths - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    found = np.where(lengths < old / high, 1.0, np.where(lengths > old / low, factor, between))
    return found.astype(np.float32)
