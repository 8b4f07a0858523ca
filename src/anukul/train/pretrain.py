"""Pre-train the tiny base of the embedded world: tokenizer and Llama from nothing, by the ordinary loop."""

from pathlib import Path

from anukul.config import Stage, TrainSettings, WorldSettings
from anukul.model.adapter import trainable_parameters
from anukul.model.build import build_llama, save_base, train_tokenizer
from anukul.model.loaded import Loaded, pick_device
from anukul.progress import say
from anukul.train.formats import Formatter, Segment
from anukul.train.heap import keep_little
from anukul.train.loop import train_stage
from anukul.train.plan import plan_stage

CONTEXT = 256
BATCH_TOKENS = 2048
LEARNING_RATE = 3e-3
# Gives 3.6 tokens per Nepali word and 1.26 per English word, near Llama 3's 3.75 and 1.24 on FLORES-200.
TRACE_WEIGHT = 5


def pretrain(texts: list[str], traces: list[str], settings: WorldSettings, folder: Path) -> None:
    """Train a base on `texts` and save it in `folder` as a Hugging Face folder; logs stay in `folder`/pretrain.

    `traces` are those of the texts that are in the language to be learnt later. The tokenizer sees them
    TRACE_WEIGHT times, as tokenizers see languages more evenly than models do.
    """
    import torch

    keep_little()
    tokenizer = train_tokenizer([*texts, *traces * (TRACE_WEIGHT - 1)], settings.base_vocabulary)
    model = build_llama(
        len(tokenizer), settings.base_hidden, settings.base_layers, settings.base_heads, seed=settings.seed
    )
    device = pick_device()
    loaded = Loaded(model.to(device), tokenizer, device, torch.bfloat16, "")
    formatter = Formatter(tokenizer, loaded.prefix_id, "npi_Deva", "eng_Latn")
    examples = formatter.encode([[Segment(text, True)] for text in texts])
    tokens = sum(len(example.ids) for example in examples)
    epochs = settings.base_steps * BATCH_TOKENS / tokens + 0.5
    stage = Stage(name="base", format="text", epochs=epochs, max_steps=settings.base_steps)
    train = TrainSettings(
        stages=(stage,),
        context=CONTEXT,
        batch_tokens=BATCH_TOKENS,
        micro_batch_tokens=BATCH_TOKENS,
        learning_rate=LEARNING_RATE,
        embedding_learning_rate=LEARNING_RATE,
        weight_decay=0.01,
        replay_share=0.0,
        checkpoint_steps=10**9,
        log_steps=50,
    )
    plan = plan_stage(examples, [], train, stage, settings.seed)
    count = sum(parameter.numel() for parameter in trainable_parameters(loaded).values())
    say(
        f"  tiny base: {count:,} parameters, {len(tokenizer):,} tokens of vocabulary, {tokens:,} tokens of text"
    )
    train_stage(loaded, plan, train, stage, folder / "pretrain", lambda *_: None)
    save_base(loaded.model, tokenizer, folder)
