"""TRL's side of `train_vs_trl.py`: an SFTTrainer whose optimizer steps hold the examples of a plan."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from anukul.train.plan import StagePlan
from training_setup import Job


def sft_trainer(job: Job, model: Any, tokenizer: Any, plan: StagePlan, rates: list[float]) -> Any:
    """An SFTTrainer that trains the plan's steps: each on its own examples, in the layout asked for.

    Only the order of the examples and the learning rates are taken out of the trainer's hands, so that its losses can
    be compared; with `layout: grouped` it orders the examples itself.
    """
    import transformers
    from torch.optim.lr_scheduler import LambdaLR
    from torch.utils.data import DataLoader
    from trl import SFTConfig, SFTTrainer

    packed, cuda = job.layout == "packed", torch.cuda.is_available()
    rows = job.batch_tokens // job.context
    batches = [] if packed else _parts(plan, job.micro)
    per_step = round(len(_order(plan)) / plan.steps)
    settings = job.settings

    class Trainer(SFTTrainer):
        def compute_loss(self, *given: Any, **named: Any) -> Any:
            chosen = transformers.Trainer if job.loss == "transformers" else SFTTrainer
            return chosen.compute_loss(self, *given, **named)

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            self.lr_scheduler = LambdaLR(
                optimizer or self.optimizer,
                lambda step: rates[min(step, len(rates) - 1)] / job.learning_rate if rates else 1.0,
            )
            return self.lr_scheduler

        def get_train_dataloader(self) -> Any:
            if job.layout != "padded":
                return super().get_train_dataloader()
            dataset = self._remove_unused_columns(self.train_dataset, description="training")
            return self.accelerator.prepare(
                DataLoader(dataset, batch_sampler=_Batches(batches), collate_fn=self.data_collator)
            )

    arguments = SFTConfig(
        output_dir=str(Path(job.folder) / "trl"),
        max_steps=plan.steps,
        per_device_train_batch_size=job.micro if packed else max(1, per_step // job.micro),
        gradient_accumulation_steps=rows // job.micro if packed else job.micro,
        learning_rate=job.learning_rate,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_gradient_norm,
        optim="adamw_torch_fused" if job.optimizer == "adamw" else "adamw_bnb_8bit",
        bf16=True,
        use_cpu=not cuda,
        gradient_checkpointing=job.checkpointing,
        torch_compile=job.compile,
        use_liger_kernel=cuda,
        packing=packed,
        packing_strategy="bfd",
        max_length=job.context,
        dataset_kwargs={"skip_prepare_dataset": True},
        train_sampling_strategy="group_by_length" if job.layout == "grouped" else "sequential",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=cuda,
    )
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=_dataset(job, plan),
        processing_class=tokenizer,
    )


def counting(collate: Any, counted: list[int]) -> Any:
    """The collator, noting how many tokens of every batch are learnt."""

    def count(rows: list[dict[str, Any]]) -> Any:
        batch = collate(rows)
        counted.append(int((batch["labels"][:, 1:] != -100).sum()))
        return batch

    return count


def own_rows(job: Job, plan: StagePlan) -> int:
    """How many rows TRL's own packing makes of the same examples."""
    from trl import pack_dataset

    alone = _dataset(replace(job, layout="padded"), plan)
    return len(pack_dataset(alone, job.context, "bfd"))


class _Batches:
    """Batches of example numbers, as a DataLoader wants them."""

    batch_size = None
    drop_last = False

    def __init__(self, batches: list[list[int]]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _order(plan: StagePlan) -> list[int]:
    return [index for step in range(plan.steps) for row in plan.step_rows(step) for index in row]


def _parts(plan: StagePlan, parts: int) -> list[list[int]]:
    """Every step's examples by length, cut into `parts` batches of like numbers of tokens; places in `_order`."""
    batches: list[list[int]] = []
    first = 0
    for step in range(plan.steps):
        held = [index for row in plan.step_rows(step) for index in row]
        lengths = [len(plan.examples[index].ids) for index in held]
        places = sorted(range(len(held)), key=lambda place: -lengths[place])
        if len(held) < parts:
            raise SystemExit(f"a step of {len(held)} examples cannot be cut into {parts} batches")
        cut: list[list[int]] = [[]]
        done = 0
        for number, place in enumerate(places):
            full = done * parts >= len(cut) * sum(lengths)
            # as many examples must be left as parts are still empty
            if cut[-1] and len(cut) < parts and (full or len(places) - number <= parts - len(cut)):
                cut.append([])
            cut[-1].append(first + place)
            done += lengths[place]
        batches += cut
        first += len(held)
    return batches


def _dataset(job: Job, plan: StagePlan) -> Any:
    """Tokenised rows for TRL, prompts masked: anukul's own packed rows, or one example a row."""
    from datasets import Dataset

    packed = job.layout == "packed"
    rows = (
        [row for step in range(plan.steps) for row in plan.step_rows(step)]
        if packed
        else [[index] for index in _order(plan)]
    )
    held: dict[str, list[list[int]]] = {"input_ids": [], "labels": []}
    if packed:
        held["seq_lengths"] = [[len(plan.examples[i].ids) for i in row] for row in rows]
    for row in rows:
        ids: list[int] = []
        labels: list[int] = []
        for index in row:
            example = plan.examples[index]
            ids += example.ids.tolist()
            labels += [
                int(token) if learnt and place else -100
                for place, (token, learnt) in enumerate(zip(example.ids, example.learnt, strict=True))
            ]
        held["input_ids"].append(ids)
        held["labels"].append(labels)
    return Dataset.from_dict(held)
