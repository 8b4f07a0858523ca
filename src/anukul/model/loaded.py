"""A model in memory: base weights, an optional adapter that can be switched, tokenizer, device, precision.

Everything that runs a model (train, scoring, probe) goes through `hidden_states` and `logits` here, so that base
and adapted, training and evaluation share one numerical path.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from anukul.errors import UserError


@dataclass(slots=True)
class Loaded:
    """A causal LM ready to run; `model` is a Hugging Face model, or a PEFT model around one."""

    model: Any
    tokenizer: Any
    device: torch.device
    compute_dtype: torch.dtype
    fingerprint: str  # of base weights + tokenizer + quantization + adapter

    @property
    def causal_lm(self) -> Any:
        """The Hugging Face causal LM inside, adapter layers injected where there are any."""
        return self.model.get_base_model() if self.has_adapter else self.model

    @property
    def has_adapter(self) -> bool:
        """Whether a PEFT adapter is attached."""
        return hasattr(self.model, "peft_config")

    @property
    def max_positions(self) -> int:
        """The longest sequence in tokens that the model was made for."""
        return int(self.model.config.max_position_embeddings)

    @property
    def prefix_id(self) -> int:
        """The token that starts a text: BOS, or EOS where the tokenizer has no BOS."""
        bos = self.tokenizer.bos_token_id
        return int(bos if bos is not None else self.tokenizer.eos_token_id)

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the compute dtype; weights keep theirs."""
        if self.compute_dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.compute_dtype)

    @contextmanager
    def base_only(self) -> Iterator[None]:
        """Switch the adapter off inside the block: the model is then exactly the base."""
        if not self.has_adapter:
            yield
            return
        with self.model.disable_adapter():
            yield


def not_followed(keywords: Mapping[str, Any]) -> list[str]:
    """Return what a base's attention asks for, by the keywords handed to it, that no attention of ours computes."""
    return sorted(name for name in ("position_bias", "s_aux", "softcap") if keywords.get(name) is not None)


@contextmanager
def attention_function(
    loaded: Loaded, name: str, attend: Callable[..., Any], mask: Callable[..., Any]
) -> Iterator[None]:
    """Let the model attend by `attend` in the block, its masks made by `mask`; afterwards it is as it was.

    Raises UserError where the model does not go through the attention interface of transformers.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    model = loaded.causal_lm
    before = model.config._attn_implementation
    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, mask)
    try:
        model.set_attn_implementation(name)
        if model.config._attn_implementation != name:
            raise UserError(f"model: {type(model).__name__} does not let its attention function be chosen")
        yield
    finally:
        model.set_attn_implementation(before)


def hidden_states(
    loaded: Loaded,
    ids: Tensor,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
    layout: object | None = None,
) -> Tensor:
    """Return final hidden states `[batch, length, hidden]` for token ids `[batch, length]`.

    `positions` is `[batch, length]`; `mask` is boolean `[batch, 1, length, length]`, True where query (third axis)
    sees key (fourth axis); None means plain causal attention. `layout` goes to the attention function that the model
    was given (`documents.packed_attention`, `trie_attention.trie_attention`) and takes the place of a mask.
    """
    decoder = loaded.causal_lm.get_decoder()
    more = {} if layout is None else {"layout": layout}
    output = decoder(input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False, **more)
    states: Tensor = output.last_hidden_state
    return states


def logits(loaded: Loaded, states: Tensor) -> Tensor:
    """Return logits `[..., vocabulary]` for hidden states `[..., hidden]`, in the compute dtype."""
    head: nn.Module = loaded.causal_lm.get_output_embeddings()
    output: Tensor = head(states)
    return output


def pick_device() -> torch.device:
    """The CUDA device of this process where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
