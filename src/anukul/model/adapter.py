"""LoRA on every linear layer of the decoder, optionally on the embeddings or these in full; saved as a PEFT folder."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812  the usual name
from torch import Tensor, nn

from anukul.config import LoraSettings
from anukul.digests import digest, hash_path
from anukul.errors import UserError
from anukul.model.loaded import Loaded
from anukul.model.lora_variants import (
    doubled,
    load_variant,
    make_dora,
    save_variant,
    start_from_principal,
)
from anukul.model.vocabulary import load_vocabulary, save_vocabulary, set_aside
from anukul.rundir import read_json, write_json

CONFIG = "adapter_config.json"
MODULE_LISTS = ("target_modules", "modules_to_save")
TIED_NAMES = {"embed_tokens", "lm_head"}  # what peft 0.21 can tie
EMBEDDING_NAMES = TIED_NAMES | {"embed_in", "embed_out", "wte", "word_embeddings"}


def add_adapter(
    loaded: Loaded, lora: LoraSettings, embeddings: Literal["frozen", "lora", "full"], seed: int
) -> None:
    """Attach a new trainable adapter; the same seed gives the same initial weights.

    With `embeddings: full` the input embeddings are trained as well, and the output head; with `lora` both get low-rank
    changes of the same rank as every other layer. Where the base ties the two they stay one: one tensor, or one pair of
    low-rank factors, is trained for both.
    """
    from peft import LoraConfig, get_peft_model

    tied = bool(loaded.model.config.tie_word_embeddings)
    targets: str | list[str] = "all-linear"
    saved = None
    if embeddings != "frozen":
        names = _embedding_names(loaded, tied)
        if embeddings == "full":
            saved = names[:1] if tied else names
        else:
            targets = sorted({*_linear_names(loaded), *names})
    pissa = lora.init == "pissa"
    rank, alpha = doubled(lora) if pissa else (lora.rank, lora.alpha)
    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.rank_stabilized,
        target_modules=targets,
        modules_to_save=saved,
        ensure_weight_tying=tied and embeddings != "frozen",
    )
    with _quiet():
        loaded.model = get_peft_model(loaded.model, config)
    _share_factors(loaded)
    if pissa:
        start_from_principal(loaded, lora.rank)
    if lora.dora:
        make_dora(loaded)
    for parameter in loaded.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _embedding_names(loaded: Loaded, tied: bool) -> list[str]:
    """What the base calls its input embeddings and its output head, in this order."""
    names = []
    for wanted in (loaded.model.get_input_embeddings(), loaded.model.get_output_embeddings()):
        path = next(name for name, module in loaded.model.named_modules() if module is wanted)
        names.append(path.rpartition(".")[2])
    known = TIED_NAMES if tied else EMBEDDING_NAMES
    if not known.issuperset(names):
        raise UserError(
            f"train.embeddings: this base calls its embeddings {' and '.join(names)}"
            f"{' and ties them' if tied else ''}, which is not supported; use `embeddings: frozen`"
        )
    return names


def _linear_names(loaded: Loaded) -> set[str]:
    """The names of the linear layers of the decoder, as `all-linear` of peft takes them: the head left out."""
    head = loaded.model.get_output_embeddings()
    found = loaded.model.named_modules()
    return {
        name.rpartition(".")[2]
        for name, module in found
        if isinstance(module, nn.Linear) and module is not head
    }


class _Transposed(nn.Module):
    """A linear layer without bias whose weight is the transpose of a factor that belongs to the embeddings."""

    def __init__(self, factor: nn.Parameter) -> None:
        super().__init__()
        self.factor = factor  # [in, out]

    @property
    def weight(self) -> Tensor:
        """`[out, in]`; a view of the factor, gradients flow to it."""
        return self.factor.t()

    def forward(self, states: Tensor) -> Tensor:
        """Return `[..., out]` for `[..., in]`."""
        return F.linear(states, self.weight)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Stand in the file as peft's own head does, so that peft by itself can read it."""
        destination[f"{prefix}weight"] = self.weight.detach().contiguous()


def _share_factors(loaded: Loaded) -> None:
    """Make the head of a tied base use the low-rank factors of the embeddings themselves.

    peft 0.21 gives the head parameters of its own on the same memory: each would have its own gradient and its own
    moments in the optimizer, and both would write to that memory.
    """
    model = loaded.causal_lm
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    if not (model.config.tie_word_embeddings and hasattr(inputs, "lora_embedding_A")):
        return
    outputs.kwargs.pop(
        "tied_adapter", None
    )  # views of the factors, which no copy of the layer could take along
    for adapter in list(outputs.lora_A):
        outputs.lora_A[adapter] = _Transposed(inputs.lora_embedding_B[adapter])
        outputs.lora_B[adapter] = _Transposed(inputs.lora_embedding_A[adapter])


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
    _load_in_full_precision(loaded, folder)
    _share_factors(loaded)
    load_variant(loaded, folder, trainable)
    load_vocabulary(loaded, folder, trainable)
    loaded.fingerprint = digest([loaded.fingerprint, hash_path(folder)])
    if not trainable:
        loaded.model.eval()


def _load_in_full_precision(loaded: Loaded, folder: Path) -> None:
    """Read embeddings that were trained in full once more, into fp32.

    peft 0.21 turns low-rank factors to fp32 before it reads them, but copies of whole modules keep the base's dtype: in
    bf16 they would be rounded, and stand still wherever an update is smaller than a step of bf16.
    """
    from peft import load_peft_weights, set_peft_model_state_dict
    from peft.utils import ModulesToSaveWrapper

    copies = [module for module in loaded.model.modules() if isinstance(module, ModulesToSaveWrapper)]
    rounded = [p for copy in copies for p in copy.modules_to_save.parameters() if p.dtype != torch.float32]
    if rounded:
        for parameter in rounded:
            parameter.data = parameter.data.float()
        set_peft_model_state_dict(loaded.model, load_peft_weights(str(folder), device="cpu"))


def save_adapter(loaded: Loaded, folder: Path) -> None:
    """Save the adapter (and trained embeddings) as a PEFT folder; the same adapter gives the same bytes.

    New pieces go beside it, into the folder `vocabulary`: tokenizer and rows.
    """
    with _quiet(), set_aside(loaded):
        loaded.model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    # peft writes the names of target modules in the order of a set, which differs from process to process
    config = read_json(folder / CONFIG)
    ordered = {
        name: sorted(value) if name in MODULE_LISTS and value else value for name, value in config.items()
    }
    write_json(folder / CONFIG, ordered)
    save_variant(loaded, folder)
    save_vocabulary(loaded, folder)


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
    """Whether a trainable parameter belongs to the embeddings or the output head (its own learning rate).

    Low-rank factors of them and rows of new pieces count; adapters of other layers do not.
    """
    return not EMBEDDING_NAMES.isdisjoint(name.split("."))


def is_second_factor(name: str) -> bool:
    """Whether a trainable parameter is a B, the factor on the side of a layer's output."""
    return "lora_B" in name.split(".")


def is_magnitude(name: str) -> bool:
    """Whether a trainable parameter is DoRA's length of a layer's rows."""
    return "lora_magnitude_vector" in name.split(".")
