"""Tiny random models of many architectures, their attention sharp enough for a wrong mask to show."""

from typing import Any

import torch

from anukul.model.loaded import Loaded

WINDOW = 5
EAGER = ("gemma2-softcap",)  # its library has no SDPA for it
ARCHITECTURES = (
    "llama",
    "llama-all-key-heads",
    "mistral-window",
    "qwen2-bias",
    "qwen3-norm",
    "gemma3-windows",
    "gemma2-softcap",
    "phi3-fused",
    "phi3-window",
    "olmo2-wide-norm",
    "gpt-neox-interleaved",
    "gpt2-fused",
)


def small_model(name: str, seed: int = 0) -> Any:
    """A model of 2 layers with 4 heads of 8 (2 key heads where they may be shared), 400 tokens, window 256."""
    import transformers as hf

    common = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    rope = {**common, "intermediate_size": 64, "max_position_embeddings": 256}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # Phi's own are beyond 400 tokens
    grouped = {**rope, "num_key_value_heads": 2}
    windows = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
    configs = {
        "llama": lambda: hf.LlamaConfig(**grouped),
        "llama-all-key-heads": lambda: hf.LlamaConfig(**rope),
        "mistral-window": lambda: hf.MistralConfig(**grouped, sliding_window=WINDOW),
        "qwen2-bias": lambda: hf.Qwen2Config(**grouped),
        "qwen3-norm": lambda: hf.Qwen3Config(**grouped, head_dim=8),
        "gemma3-windows": lambda: hf.Gemma3TextConfig(**grouped, **windows, head_dim=8),
        "gemma2-softcap": lambda: hf.Gemma2Config(
            **grouped, **windows, head_dim=8, attn_logit_softcapping=2.0, attn_implementation="eager"
        ),
        "phi3-fused": lambda: hf.Phi3Config(**grouped, **ends),
        "phi3-window": lambda: hf.Phi3Config(**grouped, **ends, sliding_window=WINDOW),
        "olmo2-wide-norm": lambda: hf.Olmo2Config(**grouped),
        "gpt-neox-interleaved": lambda: hf.GPTNeoXConfig(**rope),
        "gpt2-fused": lambda: hf.GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4, n_positions=256),
        "gpt-oss-sinks": lambda: hf.GptOssConfig(
            **grouped, **windows, head_dim=8, num_local_experts=2, num_experts_per_tok=1
        ),
        "bloom-alibi": lambda: hf.BloomConfig(vocab_size=400, hidden_size=32, n_layer=2, n_head=4),
    }
    config = configs[name]()
    config.initializer_range = 0.3
    torch.manual_seed(seed)
    model = hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for key, parameter in model.named_parameters():
        if "norm" in key or key.endswith("bias"):  # ones and zeros would hide what they do
            parameter.data.add_(torch.randn_like(parameter) * 0.3)
    return model.requires_grad_(False)


def small_loaded(name: str, seed: int = 0) -> Loaded:
    """The same, loaded, without a tokenizer."""
    model = small_model(name, seed)
    if not hasattr(model.config, "max_position_embeddings"):
        model.config.max_position_embeddings = 256
    return Loaded(model, None, torch.device("cpu"), torch.float32, "small")
