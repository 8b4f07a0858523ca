"""Run the tasks through lm-eval: one lm-eval task for each task x shots x seed, scored together."""

import gc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from anukul.config import TaskSettings
from anukul.errors import UserError
from anukul.evaluate.tasks.hub import FEWSHOT_SEED, Harness, generation_requests, own_prompts
from anukul.evaluate.tasks.shots import draw_exemplars, prompt
from anukul.items.load import LoadedTask, TaskItem, predicted
from anukul.items.rows import check_finite
from anukul.records import Item
from anukul.scoring.harness import AnukulLM
from anukul.scoring.portions import PORTION_CHARACTERS, portions

from lm_eval.api.instance import Instance  # isort: skip  # after scoring.harness, which quiets lm-eval
from lm_eval.api.metrics import mean  # isort: skip
from lm_eval.api.task import Task  # isort: skip


@dataclass(frozen=True, slots=True)
class Variant:
    """One task at one shot count and seed, with the prompts of its items."""

    task: LoadedTask
    shots: int
    seed: int
    exemplars: tuple[tuple[TaskItem, ...], ...]  # per item
    written: tuple[tuple[tuple[str, str], ...], ...] = ()  # lm-eval's own (prompt, continuation), per item

    @property
    def name(self) -> str:
        """Name of the lm-eval task."""
        return f"{self.task.settings.name}-{self.shots}-{self.seed}"

    def pairs(self, index: int) -> list[tuple[str, str]]:
        """Return (prompt, continuation after its delimiter) for each option of an item."""
        if self.written:
            return list(self.written[index])
        item = self.task.items[index]
        head = self.task.description
        options = [item.pair(option) for option in range(item.options)]
        return [
            (f"{head}{prompt(self.exemplars[index], context)}", f"{item.delimiter}{continuation}")
            for context, continuation in options
        ]


def variants_of(
    task: LoadedTask, shots: Sequence[int], seeds: Sequence[int], per_item: bool = False
) -> list[Variant]:
    """Return the task at each seed and shot count; exemplars are nested in the shot count, `per_item` or shared."""
    variants = []
    for seed in seeds:
        drawn = draw_exemplars(task.pool, task.items, seed, max(shots), task.settings.name, per_item)
        for count in sorted(shots):
            exemplars = tuple(tuple(chosen[:count]) for chosen in drawn)
            variants.append(Variant(task, count, seed, exemplars))
    return variants


def own_variant(harness: Harness, name: str) -> Variant:
    """Return a task with lm-eval's own prompts, count of shots and exemplars."""
    task, pairs, shots = own_prompts(harness, name)
    return Variant(task, shots, FEWSHOT_SEED, (), tuple(tuple(held) for held in pairs))


class PromptTask(Task):  # type: ignore[misc]  # lm-eval ships no types
    """An lm-eval task whose prompts are already written; its documents are indices (`rows`) into a variant."""

    VERSION = 1
    OUTPUT_TYPE = "multiple_choice"

    def __init__(self, variant: Variant, rows: range) -> None:
        self.variant = variant
        self.rows = rows
        super().__init__(config={"task": variant.name, "num_fewshot": 0, "output_type": self.OUTPUT_TYPE})

    def download(self, data_dir: Any = None, cache_dir: Any = None, download_mode: Any = None) -> None:
        """The documents are in memory."""
        self.dataset = {"test": [{"index": index} for index in self.rows]}

    def has_training_docs(self) -> bool:
        """None: exemplars are in the prompts."""
        return False

    def has_validation_docs(self) -> bool:
        """None."""
        return False

    def has_test_docs(self) -> bool:
        """Always."""
        return True

    def test_docs(self) -> list[dict[str, int]]:
        """The documents."""
        return self.dataset["test"]

    def doc_to_text(self, doc: dict[str, int]) -> str:
        """The prompt of the first option."""
        return self.variant.pairs(doc["index"])[0][0]

    def doc_to_target(self, doc: dict[str, int]) -> int:
        """The index of the right option."""
        return self.variant.task.items[doc["index"]].gold

    def build_all_requests(self, **_: Any) -> None:
        """Make the requests without lm-eval's few-shot sampling and its progress bar."""
        docs = self.test_docs()
        self._instances = [request for doc in docs for request in self.construct_requests(doc, "")]

    def construct_requests(self, doc: dict[str, int], ctx: str, **_: Any) -> list[Instance]:
        """One log-likelihood request for each option."""
        return [
            Instance(
                request_type="loglikelihood",
                doc=doc,
                arguments=pair,
                idx=option,
                metadata=(self.variant.name, doc["index"] - self.rows.start, 1),
            )
            for option, pair in enumerate(self.variant.pairs(doc["index"]))
        ]

    def process_results(self, doc: dict[str, int], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
        """lm-eval's own accuracy, which the step compares with ours."""
        prediction = predicted(self.variant.task.items[doc["index"]], results)
        return {"acc": float(prediction == self.doc_to_target(doc))}

    def aggregation(self) -> dict[str, Any]:
        """Mean."""
        return {"acc": mean}

    def higher_is_better(self) -> dict[str, bool]:
        """Yes."""
        return {"acc": True}


def score_variants(lm: AnukulLM, variants: Sequence[Variant], model: str) -> list[Item]:
    """Score all variants through lm-eval and return their items; raise UserError for a score that is not finite.

    The items are scored a part at a time, so that lm-eval's requests and samples take a bounded memory; an item's
    prompts at all its shots and seeds stand in one part, where the scorer shares them.
    """
    from lm_eval.evaluator import evaluate

    found: dict[str, list[Item]] = {variant.name: [] for variant in variants}
    for part in _parts(variants):
        tasks = {variant.name: PromptTask(variant, rows) for variant, rows in part}
        results = evaluate(lm, {"tasks": tasks, "groups": {}}, bootstrap_iters=0, log_samples=True)
        for variant, rows in part:
            samples = sorted(results["samples"][variant.name], key=lambda sample: int(sample["doc_id"]))
            for index, sample in zip(rows, samples, strict=True):
                scores = [(float(value), bool(greedy)) for value, greedy in sample["filtered_resps"]]
                found[variant.name].append(_item(variant, variant.task.items[index], scores, model))
        # requests, samples and tasks hold one another: left to itself Python keeps those of several parts
        del tasks, results
        gc.collect()
    return [item for items in found.values() for item in items]


def _parts(variants: Sequence[Variant]) -> Iterator[list[tuple[Variant, range]]]:
    """Cut the items of all tasks into parts whose prompts hold about PORTION_CHARACTERS."""
    groups: dict[int, list[Variant]] = {}
    for variant in variants:
        groups.setdefault(id(variant.task), []).append(variant)
    rows = [(group, index) for group in groups.values() for index in range(len(group[0].task.items))]
    sizes = (
        sum(len(prompt) + len(end) for variant in group for prompt, end in variant.pairs(index))
        for group, index in rows
    )
    for part in portions(sizes, PORTION_CHARACTERS):
        taken: dict[int, list[int]] = {}
        for group, index in rows[part.start : part.stop]:
            taken.setdefault(id(group[0].task), []).append(index)
        yield [
            (variant, range(indices[0], indices[-1] + 1))
            for task, indices in taken.items()
            for variant in groups[task]
        ]


def score_generated(lm: AnukulLM, harness: Harness, model: str) -> list[Item]:
    """Generate the answers of a task with lm-eval's prompts, filters and first metric; return its items."""
    settings = harness.settings
    made, shots = generation_requests(harness)
    limits = [int(request.args[1].get("max_gen_toks") or 0) for *_, request in made]
    if max(limits) >= lm.max_length:
        raise UserError(
            f"task '{settings.name}': it generates up to {max(limits)} tokens, which do not fit in this base's "
            f"window of {lm.max_length}; leave the task out"
        )
    requests = [request for *_, request in made]
    for request, text in zip(requests, lm.generate_until(requests), strict=True):
        request.resps.append(text)
    for task in harness.tasks.values():
        task._instances = [request for *_, owner, _, request in made if owner is task]
        task.apply_filters()
    items = []
    for identifier, cluster, task, doc, request in made:
        answer = next(iter(request.filtered_resps.values()))
        name, value = next(iter(task.process_results(doc, [answer]).items()))
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise UserError(
                f"task '{settings.name}': its metric '{name}' is no share from 0 to 1 (here {value!r:.60}), "
                "which is all that is compared yet; leave the task out"
            )
        items.append(_generated_item(settings, identifier, cluster, shots, float(value), model))
    return items


def _generated_item(
    settings: TaskSettings, identifier: str, cluster: str, shots: int, value: float, model: str
) -> Item:
    return Item(
        model=model,
        kind="multiple_choice",
        task=settings.name,
        language=settings.language,
        role=settings.role,
        shots=shots,
        seed=FEWSHOT_SEED,
        item=identifier,
        cluster=cluster,
        split="",
        phenomenon="",
        gold=-1,
        prediction=-1,
        correct=value,
        correct_norm=math.nan,
        chance=0.0,
        loglikelihoods=[0.0],
        byte_counts=[0],
    )


def _item(variant: Variant, item: TaskItem, scores: list[tuple[float, bool]], model: str) -> Item:
    settings = variant.task.settings
    values = [value for value, _ in scores]
    check_finite(values, settings.name, item.id, model)
    texts = [item.pair(option)[1] for option in range(item.options)]
    sizes = [len(text.encode("utf-8")) for text in texts]
    prediction = predicted(item, scores)
    correct_norm = math.nan
    if len(item.continuations) > 1:
        # lm-eval's acc_norm counts characters; with its prompts the number is to be compared with published ones
        norms = [len(text) for text in texts] if variant.written else sizes
        normed = [value / size for value, size in zip(values, norms, strict=True)]
        correct_norm = float(normed.index(max(normed)) == item.gold)
    return Item(
        model=model,
        kind="multiple_choice",
        task=settings.name,
        language=settings.language,
        role=settings.role,
        shots=variant.shots,
        seed=variant.seed,
        item=item.id,
        cluster=item.cluster,
        split=item.split,
        phenomenon="",
        gold=item.gold,
        prediction=prediction,
        correct=float(prediction == item.gold),
        correct_norm=correct_norm,
        chance=0.0 if item.is_cloze else 1 / item.options,
        loglikelihoods=values,
        byte_counts=sizes,
    )
