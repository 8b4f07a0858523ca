"""Load a GGUF file through transformers' own reader, which shares no code with what wrote it."""

from pathlib import Path
from typing import Any

import torch

from anukul.digests import hash_file
from anukul.errors import UserError
from anukul.model.loaded import Loaded, pick_device
from anukul.model.merge_check import StoredWeights
from anukul.rundir import read_json


def load_gguf(model: Path, file: Path) -> tuple[Loaded, list[str]]:
    """Load `file`, made from the merged model in the folder `model`; return it with what could not be read from it.

    Weights, sizes and tokenizer come from the file alone. Transformers does not read the scaling of rotary embeddings;
    it is taken from the merged model, and that is said. Raises UserError where the file cannot be loaded.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    notes = []
    here, name = str(file.parent), file.name
    try:
        config = AutoConfig.from_pretrained(here, gguf_file=name)
        made_from = read_json(model / "config.json")
        rope = made_from.get("rope_parameters") or {}
        if rope.get("rope_type", "default") != "default":
            config.rope_parameters = rope
            notes.append(
                "the scaling of rotary embeddings was taken from the merged model, not from the file"
            )
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            here, gguf_file=name, config=config, dtype=torch.float32, attn_implementation="sdpa"
        )
        tokenizer = AutoTokenizer.from_pretrained(here, gguf_file=name)
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{file}: cannot be loaded by transformers: {reason}") from None
    tokenizer.model_max_length = int(1e9)
    device = pick_device()
    loaded.to(device).eval().requires_grad_(False)
    return Loaded(loaded, tokenizer, device, torch.float32, hash_file(file)), notes


@torch.no_grad()
def farthest_weight(loaded: Loaded, model: Path) -> tuple[str, float]:
    """Return the tensor of a loaded GGUF file that is farthest from the merged model's, as a share of its norm.

    The reader undoes the order of rows and the names by itself, so that a mistake of the writer shows here even where
    it hardly changes the logits. Raises UserError for a tensor that is missing or of another shape.
    """
    stored = StoredWeights(model)
    held = loaded.causal_lm.state_dict()
    worst, most = "", -1.0
    for name in stored.files:
        wanted = stored.get(name).float()
        if name not in held or held[name].shape != wanted.shape:
            raise UserError(f"export: {name} of the merged model did not come back from the GGUF file")
        error = float((held[name].cpu().float() - wanted).norm() / wanted.norm().clamp_min(1e-30))
        if not error <= most:
            worst, most = name, error
    return worst, most
