"""LoRA on every linear layer of the decoder, optionally the embeddings in full; saved as a PEFT folder."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from anukul.config import LoraSettings
from anukul.errors import UserError
from anukul.model.loaded import Loaded
from anukul.rundir import digest, hash_path, read_json, write_json

CONFIG = "adapter_config.json"
MODULE_LISTS = ("target_modules", "modules_to_save")


def add_adapter(loaded: Loaded, lora: LoraSettings, embeddings: Literal["frozen", "full"], seed: int) -> None:
    """Attach a new trainable adapter; the same seed gives the same initial weights.

    With `embeddings: full` the input embeddings are trained as well, and the output head: as one tensor where the
    base ties them, as two where it does not.
    """
    from peft import LoraConfig, get_peft_model

    tied = bool(loaded.model.config.tie_word_embeddings)
    saved = None
    if embeddings == "full":
        saved = ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]
    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.rank_stabilized,
        target_modules="all-linear",
        modules_to_save=saved,
        ensure_weight_tying=tied and embeddings == "full",
    )
    with _quiet():
        loaded.model = get_peft_model(loaded.model, config)
    for parameter in loaded.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def load_adapter(loaded: Loaded, folder: Path, trainable: bool = False) -> None:
    """Attach the adapter saved in `folder`; raise UserError where it does not fit the base."""
    from peft import PeftModel

    if not (folder / CONFIG).exists():
        raise UserError(f"{folder}: no adapter here ({CONFIG} is missing); run `anukul train` first")
    try:
        with _quiet():
            loaded.model = PeftModel.from_pretrained(
                loaded.model, str(folder), is_trainable=trainable, autocast_adapter_dtype=True
            )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{folder}: the adapter does not fit this base: {str(error).splitlines()[0]}"
        ) from None
    loaded.fingerprint = digest([loaded.fingerprint, hash_path(folder)])
    if not trainable:
        loaded.model.eval()


def save_adapter(loaded: Loaded, folder: Path) -> None:
    """Save the adapter (and trained embeddings) as a PEFT folder; the same adapter gives the same bytes."""
    with _quiet():
        loaded.model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    # peft writes the names of target modules in the order of a set, which differs from process to process
    config = read_json(folder / CONFIG)
    ordered = {
        name: sorted(value) if name in MODULE_LISTS and value else value for name, value in config.items()
    }
    write_json(folder / CONFIG, ordered)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what peft 0.21 says about transformers 5.23, which no user can act on."""
    logging.getLogger("peft").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
        )
        yield


def trainable_parameters(loaded: Loaded) -> dict[str, nn.Parameter]:
    """Return {name: parameter} of everything that is trained, each tensor once, in a fixed order."""
    return {name: p for name, p in loaded.model.named_parameters() if p.requires_grad}


def is_embedding(name: str) -> bool:
    """Whether a trainable parameter belongs to the embeddings or the output head (its own learning rate)."""
    return "lora_" not in name and ("embed_tokens" in name or "lm_head" in name)
