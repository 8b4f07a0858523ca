"""The two engines of `train_vs_trl.py`, each on the same base, adapter, examples per step and learning rates."""

import gc
import importlib.util
import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from anukul.train.plan import StagePlan
from memory import peak_mib, resident_mib
from training_setup import Clock, Job, learnt_tokens, make_plan
from training_trl import counting, own_rows, sft_trainer

SAMPLE_ROWS = 8  # in a step of the sample
CHOSEN = ("micro", "attention", "checkpointing", "compile")
NEAR = 1.03  # of candidates this near to the fastest, the smallest batch is taken: it needs the least memory


def run(job: Job) -> dict[str, Any]:
    """Train with one engine; return its times, losses and peak memory."""
    before = resident_mib()
    engine = _Anukul(job) if job.engine == "anukul" else _Trl(job)
    loaded, loading = resident_mib(), peak_mib()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    rates = Path(job.folder) / f"learning_rates-{job.context}.json"
    trained = engine.train(job, engine.plan, json.loads(rates.read_text()) if rates.exists() else [])
    wall = time.perf_counter() - started
    if job.engine == "anukul":  # TRL follows the schedule that was run
        rates.write_text(json.dumps(trained.learning_rates))
    report: dict[str, Any] = {name: getattr(job, name) for name in ("engine", "layout", *CHOSEN)}
    report |= asdict(trained)
    report |= {"before_mib": before, "loaded_mib": loaded, "peak_mib": max(loading, peak_mib())}
    report["wall_seconds"] = wall  # of the whole call, with what precedes the first step
    if job.engine == "trl" and job.layout == "packed":
        report |= {"rows": len(engine.plan.rows), "own_rows": own_rows(job, engine.plan)}
    return report


def sample(job: Job) -> dict[str, Any]:
    """Find the fastest batch (attention, checkpointing, compilation) of one engine and layout on a few small steps."""
    whole = job.batch_tokens
    steps = job.warm_up + 1  # only the last is timed
    job = replace(job, steps=steps, batch_tokens=min(whole, SAMPLE_ROWS * job.context))
    engine = _Anukul(job) if job.engine == "anukul" else _Trl(job)
    plan = engine.plan
    fewest = min(sum(len(row) for row in plan.step_rows(step)) for step in range(plan.steps))
    sizes = [size for size in _sizes(job) if job.layout == "packed" or size.micro <= fewest]
    found = [(_rate(engine, candidate), candidate) for candidate in sizes]
    fastest = max(rate for rate, _ in found)
    if not fastest:
        raise SystemExit(f"{job.engine} {job.layout}: no batch fits this device")
    rate, best = next((rate, candidate) for rate, candidate in found if rate * NEAR >= fastest)
    for other in _others(best, sizes):
        tried = _rate(engine, other)
        if tried > rate:
            rate, best = tried, other
    parts = 1 if job.layout == "packed" else whole // job.batch_tokens
    chosen = {name: getattr(best, name) for name in CHOSEN}
    return chosen | {"micro": best.micro * parts, "rate": rate}


def _rate(engine: "_Anukul | _Trl", job: Job) -> float:
    """Learnt tokens per second of the last step; 0 where the device has no room for it."""
    try:
        trained = engine.train(job, engine.plan, [])
        rate = trained.learnt[-1] / trained.seconds[-1]
    except torch.OutOfMemoryError:
        rate = 0.0
    except RuntimeError as error:
        if not job.compile:
            raise
        print(f"    cannot be compiled: {str(error).splitlines()[0]}", file=sys.stderr)
        rate = 0.0
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    print(
        f"    {_describe(job)}: {f'{rate:,.0f}/s' if rate else 'does not run'}", file=sys.stderr, flush=True
    )
    return rate


def _sizes(job: Job) -> list[Job]:
    """The batch sizes tried, the smallest need of memory first."""
    rows = job.batch_tokens // job.context
    sizes = [size for size in (1, 2, 4, 8, 16) if rows % size == 0]
    # without packing a step is cut into parts: more of them are smaller batches
    if job.layout != "packed":
        sizes = sizes[::-1]
    checkpointing = job.engine == "trl" and torch.cuda.is_available()
    return [replace(job, micro=size, checkpointing=checkpointing) for size in sizes]


def _others(best: Job, sizes: list[Job]) -> list[Job]:
    """Other ways than the plainest: of attention at the batch found, of memory at and below it."""
    if not torch.cuda.is_available():
        return [replace(best, attention="eager")] if best.engine == "trl" else []
    if best.engine == "anukul":
        return [replace(best, compile=True)]
    flash = importlib.util.find_spec("flash_attn") is not None
    attentions = ["sdpa", "flash_attention_2"] if flash else ["sdpa"]
    smaller = [size for size in sizes if best.layout != "packed" or size.micro <= best.micro]
    return [
        *(replace(best, attention=attention) for attention in attentions[1:]),
        *(replace(size, attention=name, checkpointing=False) for size in smaller for name in attentions),
        replace(best, compile=True),
    ]


def _describe(job: Job) -> str:
    what = f"{job.micro} rows at once" if job.layout == "packed" else f"a step in {job.micro} parts"
    if job.engine == "trl":
        what += f", {job.attention}{', checkpointing' if job.checkpointing else ''}"
    return f"{job.engine} {job.layout}, {what}{', compiled' if job.compile else ''}"


@dataclass(frozen=True, slots=True)
class Trained:
    """What was seen of a training: one number for every step, but times between the steps only."""

    seconds: list[float]
    core_seconds: list[float]
    losses: list[float]
    learning_rates: list[float]
    learnt: list[int]


class _Anukul:
    """Through anukul's own `train_stage`."""

    def __init__(self, job: Job) -> None:
        from anukul.model.adapter import load_adapter
        from anukul.model.base import load_base

        self.loaded = load_base(job.model)
        load_adapter(self.loaded, job.adapter_folder, trainable=True)
        self.plan = make_plan(job, self.loaded.tokenizer)

    def train(self, job: Job, plan: StagePlan, _: list[float]) -> Trained:
        from anukul.model.adapter import save_adapter
        from anukul.train.loop import train_stage

        folder = Path(job.folder) / "anukul"
        shutil.rmtree(folder, ignore_errors=True)  # an earlier training must not be gone on with
        self.loaded.model.zero_grad(set_to_none=True)  # of a candidate that ran out of memory
        clock = Clock()
        train_stage(self.loaded, plan, job.settings, job.stage, folder, save_adapter)
        seconds, used = clock.seconds(plan.steps)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        rates = [line["learning_rate"] for line in lines]
        return Trained(seconds, used, [line["loss"] for line in lines], rates, learnt_tokens(plan))


class _Trl:
    """TRL's SFTTrainer over PEFT and bitsandbytes."""

    def __init__(self, job: Job) -> None:
        from anukul.model.base import load_tokenizer

        self.job = job
        self.tokenizer = load_tokenizer(job.model)
        self.plan = make_plan(job, self.tokenizer)
        self.model = self._load(job)

    def _load(self, job: Job) -> Any:
        """The base as TRL's users load it, with the adapter that both engines start from."""
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        nf4 = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        base = AutoModelForCausalLM.from_pretrained(
            job.base_folder,
            quantization_config=nf4 if job.quantization == "nf4" else None,
            dtype=torch.bfloat16,
            attn_implementation=job.attention,
            device_map={"": 0} if torch.cuda.is_available() else None,
        )
        return PeftModel.from_pretrained(base, str(job.adapter_folder), is_trainable=True)

    def train(self, job: Job, plan: StagePlan, rates: list[float]) -> Trained:
        """Train `plan`; `rates` are the learning rates of its steps, empty for a constant one."""
        from transformers import set_seed

        set_seed(0)
        self.model.get_base_model().set_attn_implementation(job.attention)
        # what earlier candidates may have left
        self.model.gradient_checkpointing_disable()
        self.model.zero_grad(set_to_none=True)
        trainer = sft_trainer(job, self.model, self.tokenizer, plan, rates)
        counted: list[int] = []
        trainer.data_collator = counting(trainer.data_collator, counted)
        clock = Clock()
        trainer.train()
        seconds, used = clock.seconds(plan.steps)
        accumulated = trainer.args.gradient_accumulation_steps
        starts = range(0, plan.steps * accumulated, accumulated)
        learnt = [sum(counted[start : start + accumulated]) for start in starts]
        if job.layout != "grouped" and learnt != learnt_tokens(plan):
            raise SystemExit(f"TRL learnt {learnt} tokens in its steps, the plan has {learnt_tokens(plan)}")
        lines = [line for line in trainer.state.log_history if "loss" in line]
        rates = [line["learning_rate"] for line in lines]
        return Trained(seconds, used, [line["loss"] for line in lines], rates, learnt)
