"""The evaluate step: base and adapted are one model in memory, the adapter off and on."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from anukul.config import EvaluateSettings, RunConfig
from anukul.errors import UserError
from anukul.evaluate.agreement import load_pairs
from anukul.evaluate.bits_per_byte import load_lines
from anukul.evaluate.harness_tasks import Variant, score_variants, variants_of
from anukul.evaluate.knowledge import load_facts
from anukul.evaluate.scores import SCHEMA, Method, make_scores
from anukul.evaluate.tasks import load_task
from anukul.evaluate.whole_texts import Ranking, score_rankings
from anukul.model.adapter import load_adapter
from anukul.model.base import load_base
from anukul.model.loaded import Loaded
from anukul.records import Item, write_rows
from anukul.rundir import Result, write_json
from anukul.scoring.cache import ScoreCache
from anukul.scoring.harness import AnukulLM
from anukul.scoring.scorer import Scorer

PACKAGES = ("anukul", "torch", "transformers", "peft", "bitsandbytes", "lm-eval")


def run(config: RunConfig, root: Path) -> Result:
    """Score base and adapted on everything asked for; write evaluate/items.parquet and evaluate/scores.json.

    A killed run goes on from the forwards that evaluate/cache holds and ends with the same bytes.
    """
    settings = config.evaluate
    if settings is None:
        raise UserError("evaluate: this section is missing in run.yaml; add it or leave the step out")
    if config.train is None:
        raise UserError(
            "evaluate: there is no adapter to compare with the base; add a train section to run.yaml"
        )
    variants = [
        variant
        for task in settings.tasks
        for variant in variants_of(load_task(task), task.shots or settings.shots, settings.seeds)
    ]
    rankings = _rankings(config, settings)
    if not variants and not any(rankings.values()):
        raise UserError(
            "evaluate: nothing to score; name tasks, bits_per_byte, knowledge or agreement in run.yaml"
        )
    folder = root / "evaluate"
    loaded = load_base(config.model)
    load_adapter(loaded, root / "train" / config.train.stages[-1].name / "adapter")
    cache = ScoreCache(folder / "cache" / "scores.txt")
    items = []
    for model in ("base", "adapted"):
        items += _score_model(loaded, settings.token_budget, model, cache, variants, rankings)
    scores, retention = make_scores(items, Method(settings.bootstrap, settings.confidence, config.seed))
    write_rows(folder / "items.parquet", items, Item)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "confidence": settings.confidence,
        "scores": scores,
        "retention": retention,
        "seeds": list(settings.seeds),
        "signature": signature(settings),
    }
    write_json(folder / "scores.json", report)
    shutil.rmtree(folder / "cache")
    return Result(["items.parquet", "scores.json"], {"items": len(items), "scores": len(scores)})


def _rankings(config: RunConfig, settings: EvaluateSettings) -> dict[str, list[Ranking]]:
    """Read what is scored as whole texts, by the label of its progress bar."""
    found: dict[str, list[Ranking]] = {"facts": [], "minimal pairs": [], "held-out lines": []}
    if settings.knowledge:
        found["facts"] = load_facts(settings.knowledge)
    if settings.agreement:
        found["minimal pairs"] = load_pairs(settings.agreement, config.language, config.language)
    for text in settings.bits_per_byte:
        found["held-out lines"] += load_lines(text, config.language)
    return found


def _score_model(
    loaded: Loaded,
    token_budget: int,
    model: str,
    cache: ScoreCache,
    variants: list[Variant],
    rankings: dict[str, list[Ranking]],
) -> list[Item]:
    """Score everything with the adapter off (base) or on (adapted)."""
    scorer = Scorer(loaded, token_budget, adapter=model == "adapted", cache=cache)
    items = score_variants(AnukulLM(scorer, f"tasks, {model}"), variants, model)
    for label, held in rankings.items():
        if held:
            items += score_rankings(scorer, held, model, f"{label}, {model}")
    return items


def signature(settings: EvaluateSettings) -> str:
    """One line that says how the numbers were made, as sacrebleu's signatures do."""
    parts = {
        "shots": ",".join(map(str, settings.shots)),
        "seeds": ",".join(map(str, settings.seeds)),
        "exemplars": "nested,shared",
        "bootstrap": f"{settings.bootstrap},percentile,clustered",
        "confidence": f"{settings.confidence:g}",
        "p": "mcnemar-exact/bootstrap",
        "q": "bh",
        "budget": str(settings.token_budget),
        **{name: version(name) for name in PACKAGES},
    }
    return "|".join(f"{name}:{value}" for name, value in parts.items())
