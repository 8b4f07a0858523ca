"""Whole shot curves of base and adapted: anukul's scorer against lm-eval's HFLM, same prompts, same run.

    ANUKUL_REAL_DATA=FOLDER python benchmarks/evaluate_vs_lm_eval.py [--items 200] [--seeds 0,1,2] [--exemplars shared]

Each engine runs in a process of its own, so that its peak memory is its own. HFLM gets the batch size that is fastest
for it on a sample of the same prompts. Printed: the ratio of wall times, of forwarded tokens and of peak memory, and
how close the time comes to what the fewest tokens (one trie of all prompts) would take at HFLM's cost per token.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from memory import peak_mib
from models import VOCABULARY, llama_58m

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
SAMPLE = 96  # requests on which HFLM's batch size is chosen


def tasks(real: Path, items: int) -> list[Any]:
    """The four slices."""
    from anukul.config import TaskSettings

    paths = {
        "arc-easy": "llm-foundry/arc_easy.jsonl",
        "hellaswag": "hellaswag/hellaswag_val_first2000.txt",
        "piqa": "llm-foundry/piqa.jsonl",
        "winogrande": "llm-foundry/winogrande.jsonl",
    }
    return [
        TaskSettings(name=name, path=str(real / "bench" / path), language="eng_Latn", limit=items)
        for name, path in paths.items()
    ]


def variants(options: argparse.Namespace) -> list[Any]:
    """Every task at every shot count and seed."""
    from anukul.evaluate.tasks.run import variants_of
    from anukul.items.load import load_task

    return [
        variant
        for task in tasks(Path(os.environ["ANUKUL_REAL_DATA"]), options.items)
        for variant in variants_of(
            load_task(task), options.shots, options.seeds, options.exemplars == "per_item"
        )
    ]


def make_model(options: argparse.Namespace, folder: Path) -> None:
    """A random Llama in bf16, a tokenizer of the tasks' own text, and an adapter that changes the logits."""
    import torch

    from anukul.config import LoraSettings
    from anukul.model.adapter import add_adapter, save_adapter, trainable_parameters
    from anukul.model.base import load_base
    from anukul.model.build import save_base, train_tokenizer

    texts = sorted({text for variant in variants(options) for text in _texts(variant)})
    tokenizer = train_tokenizer(texts, VOCABULARY, 2048)
    model = llama_58m().to(torch.bfloat16)
    save_base(model, tokenizer, folder / "base")
    loaded = load_base(settings(folder))
    add_adapter(loaded, LoraSettings(rank=16, alpha=16), "frozen", 0)
    torch.manual_seed(1)
    for name, parameter in trainable_parameters(loaded).items():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.02)
    save_adapter(loaded, folder / "adapter")
    count = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"model: {count / 1e6:.1f} M parameters in bf16, vocabulary {len(tokenizer):,}, rank 16", flush=True
    )


def _texts(variant: Any) -> list[str]:
    return [text for item in variant.task.pool for text in (*item.contexts, *item.continuations)]


def settings(folder: Path) -> Any:
    """The model as both engines load it."""
    from anukul.config import ModelSettings

    return ModelSettings(path=str(folder / "base"), quantization="none", compute_dtype="bfloat16")


def run_engine(options: argparse.Namespace, folder: Path) -> None:
    """Score base, then adapted, with one engine; print one line of JSON."""
    import torch

    from anukul.evaluate.tasks.run import score_variants
    from anukul.model.adapter import load_adapter
    from anukul.model.base import load_base
    from anukul.scoring.harness import AnukulLM
    from anukul.scoring.scorer import Scorer

    loaded = load_base(settings(folder))
    load_adapter(loaded, folder / "adapter")
    loaded.model.to(torch.bfloat16)
    held = variants(options)
    report: dict[str, Any] = {"engine": options.engine}
    tokens = distinct = alone = 0
    lm: Any = None
    if options.engine == "hflm":
        lm, report["batch_size"] = _hflm(loaded, held)
    seconds, values, correct = 0.0, [], []
    for model in ("base", "adapted"):
        started = time.perf_counter()
        if options.engine == "hflm":
            with loaded.base_only() if model == "base" else torch.inference_mode():
                items = score_variants(lm, held, model)
        else:
            scorer = Scorer(loaded, options.token_budget, adapter=model == "adapted")
            items = score_variants(AnukulLM(scorer), held, model)
            tokens, distinct, alone = (
                tokens + scorer.unique_tokens,
                distinct + scorer.distinct_tokens,
                alone + scorer.alone_tokens,
            )
        seconds += time.perf_counter() - started
        values += [value for item in items for value in item.loglikelihoods]
        correct += [item.correct for item in items]
    report |= {"seconds": seconds, "tokens": tokens, "distinct": distinct, "alone": alone}
    report |= {"accuracy": float(np.mean(correct)), "requests": len(values)}
    report["peak_mib"] = peak_mib()
    np.save(folder / f"{options.engine}.npy", np.array(values))
    print(json.dumps(report), flush=True)


def _hflm(loaded: Any, held: list[Any]) -> tuple[Any, int]:
    """HFLM at its fastest batch size on a sample of the prompts."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    pairs = [
        pair for variant in held for index in range(len(variant.task.items)) for pair in variant.pairs(index)
    ]
    sample = random.Random(0).sample(pairs, min(SAMPLE, len(pairs)))
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0, metadata=("t", 0, 1))
        for pair in sample
    ]
    found: dict[int, float] = {}
    for size in BATCH_SIZES:
        lm = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=size, device="cpu")
        started = time.perf_counter()
        lm.loglikelihood(requests, disable_tqdm=True)
        found[size] = time.perf_counter() - started
    best = min(found, key=lambda size: found[size])
    return HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=best, device="cpu"), best


def main() -> None:
    """Run both engines and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    counts = lambda text: tuple(int(part) for part in text.split(","))  # noqa: E731  argparse wants a callable
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--shots", type=counts, default=(0, 1, 2, 5))
    parser.add_argument("--seeds", type=counts, default=(0, 1, 2))
    parser.add_argument("--exemplars", choices=("shared", "per_item"), default="shared")
    parser.add_argument("--token-budget", type=int, default=4096)
    parser.add_argument("--engine", choices=("hflm", "anukul"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        run_engine(options, options.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(options, folder)
        reports = {}
        for engine in ("anukul", "hflm"):
            command = [sys.executable, __file__, *sys.argv[1:], "--engine", engine, "--folder", name]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            reports[engine] = json.loads(output.splitlines()[-1])
            print(output.splitlines()[-1], flush=True)
        values = [np.load(folder / f"{engine}.npy") for engine in ("anukul", "hflm")]
    ours, theirs = reports["anukul"], reports["hflm"]
    ratio = theirs["seconds"] / ours["seconds"]
    limit = ours["alone"] / ours["distinct"]
    print(
        f"{options.exemplars} exemplars, {options.items} items, seeds {options.seeds}, shots {options.shots}:"
    )
    print(
        f"  time: {theirs['seconds']:.1f} s (HFLM, batch {theirs['batch_size']}) / "
        f"{ours['seconds']:.1f} s = {ratio:.2f}x"
    )
    print(
        f"  tokens: {ours['alone']:,} alone / {ours['tokens']:,} forwarded = {ours['alone'] / ours['tokens']:.2f}x"
    )
    print(f"  limit of unique tokens: {limit:.2f}x; reached {ratio / limit:.0%} of it")
    print(f"  peak memory: {theirs['peak_mib']:.0f} MiB (HFLM) / {ours['peak_mib']:.0f} MiB")
    print(
        f"  largest difference of a log-likelihood: {np.abs(values[0] - values[1]).max():.3f} nats in bf16; "
        f"accuracy {ours['accuracy']:.4f} and {theirs['accuracy']:.4f}"
    )


if __name__ == "__main__":
    main()
