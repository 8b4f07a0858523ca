"""Load a base model and its tokenizer from a Hugging Face folder or the hub, quantised as asked."""

import os
from pathlib import Path
from typing import Any

import torch

from anukul.config import ModelSettings
from anukul.configfile import check_model, check_tokenizer, is_local
from anukul.digests import commit_of, commits_of, hash_model
from anukul.errors import UserError
from anukul.model import nf4
from anukul.model.loaded import DTYPES, Loaded, pick_device


def load_base(settings: ModelSettings, device: torch.device | None = None) -> Loaded:
    """Load base weights and tokenizer; raise UserError where the folder is not a usable base.

    `device` is where the weights are held; default: this process's own.
    """
    _quiet()
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    check_model(settings)
    # a branch may move while we load: all of the base comes from the commit that it stands for now
    commits = commits_of(settings)
    tokenizer = load_tokenizer(settings, commits.tokenizer)
    device = device or pick_device()
    compute_dtype = DTYPES[settings.compute_dtype]
    quantization = nf4.quantization_config(compute_dtype) if settings.quantization == "nf4" else None
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(Path(settings.path).expanduser()) if is_local(settings.path) else settings.path,
            revision=commits.model,
            quantization_config=quantization,
            # as stored, unless more digits were asked for
            dtype=compute_dtype if compute_dtype == torch.float32 else "auto",
            attn_implementation="sdpa",
            device_map={"": device} if device.type == "cuda" else None,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"model.path: {settings.path}: cannot be loaded: {_first_line(error)}") from None
    if settings.quantization == "nf4":
        nf4.settle(model, settings.dequantize, compute_dtype)
    model.to(device)
    model.eval()
    model.requires_grad_(False)
    if model.get_input_embeddings().weight.shape[0] < len(tokenizer):
        rows = model.get_input_embeddings().weight.shape[0]
        raise UserError(
            f"model.path: {settings.path}: the tokenizer has {len(tokenizer)} tokens but the model only {rows} "
            "embedding rows; give the tokenizer that belongs to this base"
        )
    return Loaded(model, tokenizer, device, compute_dtype, hash_model(settings, commits))


def load_tokenizer(settings: ModelSettings, commit: str | None = None) -> Any:
    """Load the tokenizer from `settings.tokenizer` or `settings.path`; raise UserError where there is none.

    `commit` is that of its repository on the hub, where it is known already.
    """
    _quiet()
    from transformers import AutoTokenizer

    where = settings.tokenizer or settings.path
    key = "model.tokenizer" if settings.tokenizer else "model.path"
    check_tokenizer(settings)
    commit = commit or commit_of(where, settings.revision if where == settings.path else None)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(Path(where).expanduser()) if is_local(where) else where, revision=commit
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{key}: {where}: the tokenizer cannot be loaded: {_first_line(error)}") from None
    # lengths are ours to mind: texts are cut or windowed where they are used, and a warning would only confuse
    tokenizer.model_max_length = int(1e9)
    if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
        raise UserError(f"{key}: {where}: the tokenizer has neither a BOS nor an EOS token, one is needed")
    return tokenizer


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _quiet() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    nf4.quiet_bitsandbytes()
