"""A model in memory: base weights, an optional adapter that can be switched, tokenizer, device, precision.

Everything that runs a model (train, scoring, probe) goes through `hidden_states` and `logits` here, so that base
and adapted, training and evaluation share one numerical path.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anukul.errors import UserError

if TYPE_CHECKING:
    from anukul.model.vocabulary import Vocabulary

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
LOGITS_AGREE = 0.05  # nats; equal but for the order of rounding in bf16


@dataclass(slots=True)
class Loaded:
    """A causal LM ready to run; `model` is a Hugging Face model, or a PEFT model around one."""

    model: Any
    base_tokenizer: Any
    device: torch.device
    compute_dtype: torch.dtype
    fingerprint: str  # of base weights + tokenizer + quantization + adapter
    vocabulary: "Vocabulary | None" = None  # what the adapter has beyond the base's pieces

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the state that the model is in: inside `base_only` it is the base's own."""
        return self.tokenizer_of(self.vocabulary is not None and self.vocabulary.active)

    def tokenizer_of(self, adapter: bool) -> Any:
        """The tokenizer of base (False) or adapted (True); the same one where the adapter has no new pieces."""
        return self.vocabulary.tokenizer if adapter and self.vocabulary is not None else self.base_tokenizer

    @property
    def vocabulary_rows(self) -> int:
        """Logits that the model gives for a token, in the state that it is in."""
        if self.vocabulary is not None:
            new = int(self.vocabulary.about["new_rows"]) if self.vocabulary.active else 0
            return int(self.vocabulary.about["base_rows"]) + new
        return int(self.causal_lm.get_output_embeddings().weight.shape[0])

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
        """Switch the adapter off inside the block: the model is then exactly the base, and so is the tokenizer."""
        more = self.vocabulary.off() if self.vocabulary is not None else nullcontext()
        with more, self.model.disable_adapter() if self.has_adapter else nullcontext():
            yield


def not_followed(keywords: Mapping[str, Any]) -> list[str]:
    """Return what a base's attention asks for, by the keywords handed to it, that no attention of ours computes."""
    return sorted(name for name in ("position_bias", "s_aux", "softcap") if keywords.get(name) is not None)


@contextmanager
def attention_function(
    loaded: Loaded, name: str, attend: Callable[..., Any], mask: Callable[..., Any] | None
) -> Iterator[None]:
    """Let the model attend by `attend` in the block, its masks made by `mask`; afterwards it is as it was.

    Without `mask` transformers makes none, nor does it look at the positions, for which it would wait for the device.
    Raises UserError where the model does not go through the attention interface of transformers.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    model = loaded.causal_lm
    before = model.config._attn_implementation
    AttentionInterface.register(name, attend)
    if mask is not None:
        AttentionMaskInterface.register(name, mask)
    try:
        model.set_attn_implementation(name)
        if model.config._attn_implementation != name:
            raise UserError(f"model: {type(model).__name__} does not let its attention function be chosen")
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def plain_attention(loaded: Loaded) -> Iterator[None]:
    """Let the model attend as it was loaded (SDPA) in the block, whatever it was given around it."""
    model = loaded.causal_lm
    before = model.config._attn_implementation
    if before == "sdpa":
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def uncompiled(loaded: Loaded) -> Iterator[None]:
    """Run the model's modules as they are in the block, also those that were compiled for training.

    They were compiled for the one shape of training's batches; every other shape would be compiled anew.
    """
    compiled = [(module, module._compiled_call_impl) for module in loaded.model.modules()]
    for module, _ in compiled:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in compiled:
            module._compiled_call_impl = call


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
    """Return logits `[..., vocabulary]` for hidden states `[..., hidden]`, in the compute dtype.

    As the model's own forward makes them: scaled where it scales them (Cohere, Granite), capped where it caps them
    (Gemma). `check_logits` finds a model that does something else.
    """
    model = loaded.causal_lm
    config = model.config.get_text_config()
    output: Tensor = model.get_output_embeddings()(states)
    multiplier = getattr(model, "logit_scale", None)
    if isinstance(multiplier, int | float):
        output = output * multiplier
    divisor = getattr(config, "logits_scaling", None)
    if divisor is not None:
        output = output / divisor
    cap = getattr(config, "final_logit_softcapping", None)
    return output if cap is None else torch.tanh(output / cap) * cap


@torch.no_grad()
def check_logits(loaded: Loaded) -> None:
    """Raise UserError where `logits` of `hidden_states` are not the model's own: it must not be trained on others."""
    rows = int(loaded.causal_lm.config.get_text_config().vocab_size)
    ids = torch.arange(5, 21, device=loaded.device)[None] % rows
    training = loaded.model.training
    loaded.model.eval()
    with loaded.autocast():
        ours = logits(loaded, hidden_states(loaded, ids)).float().log_softmax(-1)
        theirs = loaded.causal_lm(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
    loaded.model.train(training)
    # a broken weight makes both no number; it is told where it stands in the way
    if not torch.allclose(ours, theirs, rtol=0, atol=LOGITS_AGREE, equal_nan=True):
        raise UserError(
            f"model: {type(loaded.causal_lm).__name__} makes its logits in a way that anukul does not follow (they "
            f"differ by {float((ours - theirs).abs().max()):.3g} nats); take another base"
        )


def pick_device() -> torch.device:
    """The CUDA device of this process where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
