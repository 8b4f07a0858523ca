"""The logits that everything is trained and scored on are the model's own, scaled and capped as it does."""

from typing import Any

import pytest
import torch

from anukul.errors import UserError
from anukul.model.loaded import Loaded, check_logits, hidden_states, logits

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
KINDS = {
    "llama": {},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 6.0},
    "gemma2": {"final_logit_softcapping": 3.0, "head_dim": 8, "query_pre_attn_scalar": 8},
}


def model_of(kind: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SIZES, **KINDS[kind])
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def load(model: Any) -> Loaded:
    return Loaded(model, None, torch.device("cpu"), torch.float32, "x")


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_the_models_own(kind: str) -> None:
    loaded = load(model_of(kind))
    check_logits(loaded)
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        states = hidden_states(loaded, ids)
        ours, theirs = logits(loaded, states), loaded.causal_lm(input_ids=ids).logits
        plain = loaded.causal_lm.get_output_embeddings()(states)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert (kind == "llama") == torch.equal(ours, plain)  # the scale or the cap is there to be seen


def test_a_model_with_other_logits_is_refused() -> None:
    model = model_of("llama")
    own = model.forward

    def forward(*args: Any, **keywords: Any) -> Any:
        output = own(*args, **keywords)
        output.logits = output.logits * 2
        return output

    model.forward = forward
    with pytest.raises(
        UserError, match=r"LlamaForCausalLM makes its logits in a way that anukul does not follow"
    ):
        check_logits(load(model))
