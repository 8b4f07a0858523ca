"""The same architecture with random weights: what attention finds before anything is learned."""

import copy

import torch

from anukul.digests import digest
from anukul.errors import UserError
from anukul.model.loaded import Loaded


def random_like(loaded: Loaded, seed: int) -> Loaded:
    """Return a model of the base's configuration whose weights are drawn from `seed` as its own code initialises them.

    It has the base's tokenizer, stands on the same device in the compute dtype, and is not quantised: rounding noise to
    4 bits would be noise on noise. Raises UserError where it does not fit beside the base.
    """
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(loaded.causal_lm.config)
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(config, name):
            delattr(config, name)
    cuda = [loaded.device] if loaded.device.type == "cuda" else []
    try:
        # the caller's own random numbers go on as if nothing had been drawn
        with torch.random.fork_rng(devices=cuda), torch.device(loaded.device):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(
                config, dtype=loaded.compute_dtype, attn_implementation="sdpa"
            )
    except torch.OutOfMemoryError:
        raise UserError(
            "probe.random_models: a model with random weights does not fit in memory beside the base; set it to 0 to "
            "do without that baseline"
        ) from None
    model.eval()
    model.requires_grad_(False)
    name = digest([loaded.fingerprint, "random weights", seed])
    return Loaded(model, loaded.base_tokenizer, loaded.device, loaded.compute_dtype, name)
