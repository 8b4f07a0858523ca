"""The export step: the last adapter merged, alone, or as GGUF; each checked in a fresh process before it stands."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anukul.config import ModelSettings, RunConfig
from anukul.errors import UserError
from anukul.export import gguf_file
from anukul.export.card import card_files
from anukul.export.gguf_tokenizer import convert
from anukul.export.reload import Task
from anukul.export.texts import TextSet, check_texts
from anukul.export.verify import check, free, only_whole, refer, work_folder
from anukul.model.adapter import load_adapter
from anukul.model.base import load_base
from anukul.model.loaded import DTYPES, Loaded, pick_device
from anukul.model.merge import merge_into
from anukul.model.merge_check import check_layers
from anukul.progress import say
from anukul.rundir import Result, read_json, write_json

DATA = "data.json"  # beside an adapter: where its text comes from, under which licenses
FILES = "model"  # the folder of an export that is handed on
MERGED = "the merged model"
ADAPTED = "the adapter on its base"


def adapter_folder(config: RunConfig, root: Path) -> Path:
    """The adapter of the last stage."""
    if config.train is None:
        raise UserError("export: there is no adapter to export; the config needs a train section")
    return root / "train" / config.train.stages[-1].name / "adapter"


def run_merged(config: RunConfig, root: Path) -> Result:
    """Merge the adapter into its base and write an ordinary model folder, export/merged/model.

    Raises UserError, and leaves nothing, where the model that comes back differs from the adapter on its base.
    """
    settings = config.export
    dtype = settings.dtype or config.model.compute_dtype
    folder = root / "export" / "merged"
    sets = check_texts(config, root)
    loaded = _adapted(config, root)
    _need_room(folder, _parameters(loaded) * DTYPES[dtype].itemsize)
    with work_folder(folder) as work, only_whole(folder / FILES) as files:
        reference = refer(loaded, sets, work)
        merged = merge_into(loaded, files, dtype, int(settings.shard_gb * 1e9))
        layers = check_layers(loaded, files, DTYPES[dtype])
        free(loaded)
        task = Task(_merged_settings(files, dtype))
        record = check(reference, task, work, settings, MERGED, ADAPTED)
        more = {
            "dtype": dtype,
            "parameters": merged.parameters,
            "tied_embeddings": merged.tied,
            "layers": asdict(layers),
        }
        write_json(files / "verify.json", {**record, **more})
        _add_card(root, files, "merged", {MERGED: record})
        _add_data(config, root, files)
    say(f"  {folder / FILES}: {merged.parameters:,} parameters, {merged.bytes / 1e9:.2f} GB in {dtype}")
    return Result([FILES], {"parameters": merged.parameters, "weight_files": len(merged.files)})


def run_adapter(config: RunConfig, root: Path) -> Result:
    """Copy the adapter with its card to export/adapter/model, and load it again on its base."""
    folder = root / "export" / "adapter"
    source = adapter_folder(config, root)
    sets = check_texts(config, root)
    loaded = _adapted(config, root)
    with work_folder(folder) as work, only_whole(folder / FILES) as files:
        reference = refer(loaded, sets, work)
        free(loaded)
        shutil.copytree(source, files, dirs_exist_ok=True, copy_function=shutil.copyfile)
        task = Task(config.model, adapter=str(files))
        record = check(reference, task, work, config.export, "the copy of the adapter", ADAPTED)
        write_json(files / "verify.json", record)
        _add_card(root, files, "adapter", {"the copy of the adapter": record})
    return Result([FILES], {"files": sum(1 for path in (folder / FILES).rglob("*") if path.is_file())})


def run_gguf(config: RunConfig, root: Path) -> Result:
    """Write the merged model of export/merged as export/gguf/<type>/model/<name>-<type>.gguf and read it back.

    Raises UserError for an architecture or tokenizer that llama.cpp's llama does not have, and, leaving nothing, where
    a tensor, the text cut into tokens, or the logits come back differently.
    """
    settings = config.export
    kind = settings.gguf
    folder = root / "export" / "gguf" / kind
    source = root / "export" / "merged" / FILES
    sets = check_texts(config, root)
    shape = gguf_file.check_supported(source)
    flat = [text for texts in sets for text in texts.texts]
    tokenizer = convert(source, int(shape["vocab_size"]), flat)
    size = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    _need_room(folder, size * (4 if shape.get("dtype") == "bfloat16" else 2) // 4)
    name = f"{config.name}-{kind}.gguf"
    with work_folder(folder) as work, only_whole(folder / FILES) as files:
        tensors = gguf_file.write(source, files / name, config.name, kind, tokenizer)
        worst = gguf_file.read_back(source, files / name, tensors)
        say(f"  {name}: {len(tensors)} tensors read back equal up to rounding ({_shares(worst)})")
        record = _compare_gguf(config, sets, source, files / name, work)
        record["notes"] += tokenizer.notes
        fallback = sorted(tensor.name for tensor in tensors if kind == "q8_0" and tensor.kind == "F16")
        if fallback:
            record["notes"].append(
                f"{len(fallback)} tensors have rows that no blocks of 32 fill, and are in f16"
            )
        more = {"type": kind, "tensors": len(tensors), "largest_error": worst, "pre_tokenizer": tokenizer.pre}
        write_json(files / "verify.json", {**record, **more})
        merged = read_json(source / "verify.json")
        _add_card(root, files, "gguf", {MERGED: merged, "the GGUF file": record})
        _add_data(config, root, files)
    for note in record["notes"]:
        say(f"  {note}")
    return Result([FILES], {"tensors": len(tensors)})


def _compare_gguf(
    config: RunConfig, sets: list[TextSet], source: Path, path: Path, work: Path
) -> dict[str, Any]:
    dtype = read_json(source / "verify.json")["dtype"]
    settings = _merged_settings(source, dtype)
    loaded = load_base(settings)
    reference = refer(loaded, sets, work)
    free(loaded)
    return check(reference, Task(settings, gguf=str(path)), work, config.export, "the GGUF file", MERGED)


def _adapted(config: RunConfig, root: Path) -> Loaded:
    folder = adapter_folder(config, root)
    settings = config.model
    if pick_device().type == "cpu":
        # bitsandbytes repacks 4-bit weights in place there when it evaluates: they could not be merged afterwards
        settings = settings.model_copy(update={"dequantize": "cached"})
    loaded = load_base(settings)
    load_adapter(loaded, folder)
    return loaded


def _merged_settings(folder: Path, dtype: str) -> ModelSettings:
    """Run as a user will: in the type of the file, without autocast."""
    return ModelSettings(path=str(folder), quantization="none", compute_dtype="float32")


def _parameters(loaded: Loaded) -> int:
    """Parameters of the base: 4-bit weights hold two in a byte."""
    return int(loaded.causal_lm.num_parameters())


def _need_room(folder: Path, size: int) -> None:
    """Raise UserError where the disk has no room for `size` bytes and a tenth more."""
    folder.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < 1.1 * size:
        raise UserError(
            f"{folder}: about {1.1 * size / 1e9:.1f} GB are needed and {free_bytes / 1e9:.1f} GB are free"
        )


def _shares(worst: dict[str, float]) -> str:
    return ", ".join(f"{kind} {error:.2g}" for kind, error in sorted(worst.items()))


def _add_data(config: RunConfig, root: Path, files: Path) -> None:
    """Put beside the weights what stands beside the adapter's: sources, licenses, translators, doses."""
    data = adapter_folder(config, root) / DATA
    if data.exists():
        shutil.copyfile(data, files / DATA)


def _add_card(root: Path, files: Path, kind: str, records: dict[str, dict[str, Any]]) -> None:
    found = card_files(root, kind, records)
    if not found:
        say("  no model card: the report step is not done; run `anukul report` and export again with --redo")
    for name, content in found.items():
        target = files / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, target)
        else:
            target.write_bytes(content)
