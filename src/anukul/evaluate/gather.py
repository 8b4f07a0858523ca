"""Read everything that evaluation asks before a model is loaded, so that a fault is told at once."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from anukul import progress
from anukul.config import EvaluateSettings, RunConfig, TaskSettings
from anukul.digests import digest
from anukul.errors import UserError
from anukul.evaluate.agreement import TASK as AGREEMENT
from anukul.evaluate.agreement import load_pairs
from anukul.evaluate.bits_per_byte import load_lines
from anukul.evaluate.flips import ItemKey, Shown, shown_items
from anukul.evaluate.knowledge.clozes import Cloze, score_clozes, shown_clozes
from anukul.evaluate.knowledge.corpus_probe import Probe, make_probe, write_probe
from anukul.evaluate.knowledge.facts import load_facts
from anukul.evaluate.tasks.hub import Harness, as_loaded, load_harness, load_written
from anukul.evaluate.tasks.lm_eval_files import write_tasks
from anukul.evaluate.tasks.run import Variant, own_variant, score_generated, score_variants, variants_of
from anukul.evaluate.translation import Prompt, make_prompts
from anukul.evaluate.whole_texts import Ranking, score_rankings
from anukul.items.load import LoadedTask, load_task
from anukul.items.presets import expand
from anukul.model.loaded import Loaded
from anukul.records import Item
from anukul.scoring.cache import BatchCache
from anukul.scoring.harness import AnukulLM
from anukul.scoring.scorer import Scorer

WRITTEN = "lm_eval"  # folder of the local tasks in lm-eval's form


@dataclass(slots=True)
class Gathered:
    """What is asked of both models."""

    tasks: list[LoadedTask] = field(default_factory=list)
    variants: list[Variant] = field(default_factory=list)
    generated: list[Harness] = field(default_factory=list)  # lm-eval tasks whose answers are generated
    rankings: dict[str, list[Ranking]] = field(default_factory=dict)  # by the label of their progress bar
    clozes: dict[str, list[Cloze]] = field(default_factory=dict)
    stated_in: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # languages that state a fact, by item
    object_first: int = 0
    probe: Probe | None = None
    translation: list[Prompt] = field(default_factory=list)
    sources: list[dict[str, str]] = field(default_factory=list)  # task, source, weakness
    outputs: list[str] = field(default_factory=list)  # files written on the way

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked."""
        asked = [*self.rankings.values(), *self.clozes.values()]
        return not (self.variants or self.generated or self.translation or any(asked))

    def shown(self) -> dict[ItemKey, Shown]:
        """Return the texts of all items."""
        rankings = [ranking for held in self.rankings.values() for ranking in held]
        clozes = [cloze for held in self.clozes.values() for cloze in held]
        return shown_items(self.tasks, rankings) | shown_clozes(clozes)


def gather(config: RunConfig, settings: EvaluateSettings, root: Path) -> Gathered:
    """Read tasks, facts, pairs, texts and lines; write the local tasks in lm-eval's form and the corpus probe."""
    found = Gathered(
        rankings={"facts": [], "minimal pairs": [], "held-out lines": []},
        clozes={"facts as clozes": [], "corpus probe": []},
    )
    folder = root / "evaluate"
    local = []
    for task, weakness in expand(settings, config.language):
        if task.harness is None:
            local.append(load_task(task))
        else:
            _add_by_name(found, task, weakness, settings)
    names = write_tasks(local, folder / WRITTEN)
    for loaded in local:
        _add_local(found, loaded, names[loaded.settings.name], settings, folder / WRITTEN)
    _add_texts(found, config, settings)
    if settings.corpus_probe:
        found.probe = make_probe(config, settings.corpus_probe, root)
        found.clozes["corpus probe"] = found.probe.clozes
        found.outputs += write_probe(found.probe, folder)
    if settings.translation:
        found.translation = make_prompts(config, settings.translation)
    found.outputs += [f"{WRITTEN}/{file.name}" for file in written_files(folder)]
    return found


def written_files(folder: Path) -> Iterator[Path]:
    """Yield the files of the local tasks in lm-eval's form."""
    return (file for file in sorted((folder / WRITTEN).glob("*.*")) if not file.name.startswith("."))


def _add_by_name(found: Gathered, task: TaskSettings, weakness: str, settings: EvaluateSettings) -> None:
    """Add a task that lm-eval knows, with our exemplars or its own prompts; what the hub gave is told by its digest."""
    harness = load_harness(task, weakness)
    read = digest([[identifier, dict(doc)] for identifier, _, _, doc in harness.documents()])
    named = f"lm-eval {version('lm-eval')}: {task.harness}, items {read[:16]}"
    source = {"task": task.name, "source": named, "weakness": weakness}
    if harness.output_type == "generate_until" and task.shots == "lm-eval":
        found.generated.append(harness)
    elif task.shots == "lm-eval":
        variant = own_variant(harness, str(task.harness))
        found.tasks.append(variant.task)
        found.variants.append(variant)
    else:
        loaded = as_loaded(harness)
        found.tasks.append(loaded)
        found.variants += _variants(loaded, settings)
    found.sources.append(source)


def _add_local(
    found: Gathered, loaded: LoadedTask, names: list[str], settings: EvaluateSettings, folder: Path
) -> None:
    """Add a task read from a file or dataset folder; minimal pairs are scored as whole texts."""
    task = loaded.settings
    found.sources.append({"task": task.name, "source": loaded.source, "weakness": ""})
    if loaded.is_pairs:
        if task.shots not in (None, (0,)):
            raise UserError(f"task '{task.name}': minimal pairs are whole texts and take no shots")
        if task.name == AGREEMENT:
            raise UserError(f"task '{task.name}': this name is that of evaluate.agreement; choose another")
        found.rankings["minimal pairs"] += _pair_rankings(loaded)
        return
    found.tasks.append(loaded)
    if task.shots == "lm-eval":
        if len(names) > 1:
            raise UserError(
                f"task '{task.name}': its rows are of different shapes, which are {len(names)} tasks to lm-eval; "
                "with `shots: lm-eval` put each shape into a file of its own"
            )
        variant = own_variant(load_written(task, names[0], folder), names[0])
        found.variants.append(variant)
    else:
        found.variants += _variants(loaded, settings)


def _variants(loaded: LoadedTask, settings: EvaluateSettings) -> list[Variant]:
    task = loaded.settings
    shots = settings.shots if task.shots is None or task.shots == "lm-eval" else task.shots
    per_item = (task.exemplars or settings.exemplars) == "per_item"
    return variants_of(loaded, shots, settings.seeds, per_item)


def _pair_rankings(loaded: LoadedTask) -> list[Ranking]:
    task = loaded.settings
    return [
        Ranking(
            "agreement",
            task.name,
            task.language,
            task.role,
            item.id,
            item.cluster,
            item.split,
            item.phenomenon,
            item.continuations,
            item.gold,
        )
        for item in loaded.items
    ]


def _add_texts(found: Gathered, config: RunConfig, settings: EvaluateSettings) -> None:
    """Add facts, minimal pairs of `agreement`, and held-out lines."""
    if settings.knowledge:
        facts = load_facts(settings.knowledge)
        found.rankings["facts"] = facts.rankings
        found.clozes["facts as clozes"] = facts.clozes
        found.stated_in, found.object_first = facts.stated_in, facts.object_first
        if facts.object_first:
            progress.say(
                f"  facts: {facts.object_first:,} of {len(facts.clozes):,} statements begin with their object; as "
                "clozes they are ranked as full statements"
            )
    if settings.agreement:
        found.rankings["minimal pairs"] += load_pairs(settings.agreement, config.language, config.language)
    for text in settings.bits_per_byte:
        found.rankings["held-out lines"] += load_lines(text, config.language)


def score(loaded: Loaded, token_budget: int, model: str, cache: BatchCache, found: Gathered) -> list[Item]:
    """Score everything but the translations with the adapter off (base) or on (adapted)."""
    scorer = Scorer(loaded, token_budget, adapter=model == "adapted", cache=cache)
    requests = sum(item.options for variant in found.variants for item in variant.task.items)
    with scorer.showing(f"tasks, {model}" if requests else None, requests):
        items = score_variants(AnukulLM(scorer), found.variants, model)
    for harness in found.generated:
        name = harness.settings.name
        items += score_generated(AnukulLM(scorer, f"{name}, {model}"), harness, model)
    for label, held in found.rankings.items():
        if held:
            items += score_rankings(scorer, held, model, f"{label}, {model}")
    for label, clozes in found.clozes.items():
        if clozes:
            items += score_clozes(AnukulLM(scorer, f"{label}, {model}"), clozes, model)
    return items


def more_scores(found: Gathered, knowledge: dict[str, Any]) -> dict[str, Any]:
    """Return what stands in scores.json beside the scores: where tasks come from, knowledge, the probe."""
    report: dict[str, Any] = {}
    if found.sources:
        report["tasks"] = found.sources
    if knowledge:
        report["knowledge"] = {**knowledge, "object_first": found.object_first}
    if found.probe:
        report["corpus_probe"] = found.probe.as_json()
    return report
