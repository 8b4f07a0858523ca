"""The evaluate step: base and adapted are one model in memory, the adapter off and on."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from anukul.config import EvaluateSettings, RunConfig, TranslationSettings
from anukul.errors import UserError
from anukul.evaluate.flips import find_flips
from anukul.evaluate.gather import WRITTEN, Gathered, gather, more_scores, score
from anukul.evaluate.generation.step import prepare, run_generation
from anukul.evaluate.knowledge.facts import summarize
from anukul.evaluate.scores import SCHEMA, Method, make_scores, more_families
from anukul.evaluate.translation import score_translations, translate
from anukul.model.adapter import load_adapter
from anukul.model.base import load_base
from anukul.model.loaded import Loaded
from anukul.records import Flip, Item, Translation, write_rows
from anukul.rundir import Result, write_json
from anukul.scoring.budget import kept_budget
from anukul.scoring.cache import BatchCache
from anukul.scoring.harness import AnukulLM
from anukul.scoring.scorer import Scorer

TRANSLATION_ROWS = 32  # prompts in one batch
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
    found = gather(config, settings, root)
    prompts = prepare(config, settings.generation) if settings.generation else []
    if found.is_empty and not prompts:
        raise UserError(
            "evaluate: nothing to score; name tasks, bits_per_byte, knowledge or agreement in run.yaml"
        )
    folder = root / "evaluate"
    loaded = load_base(config.model)
    load_adapter(loaded, root / "train" / config.train.stages[-1].name / "adapter")
    cache = BatchCache(folder / "cache" / "batches.jsonl")
    budget = settings.token_budget or kept_budget(loaded, folder / "cache" / "token_budget")
    items = []
    for model in ("base", "adapted"):
        items += score(loaded, budget, model, cache, found)
    method = Method(settings.bootstrap, settings.confidence, config.seed)
    made = make_scores(items, method)
    flips = find_flips(items, found.shown())
    knowledge = summarize(items, found.stated_in, config.language, config.base_language, method)
    write_rows(folder / "items.parquet", items, Item)
    write_rows(folder / "flips.parquet", flips, Flip)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "confidence": settings.confidence,
        **made.as_json(),
        "seeds": list(settings.seeds),
        "signature": signature(settings, budget),
        **more_scores(found, knowledge),
    }
    more = Result(found.outputs, {})
    if settings.translation:
        report["translation"], rows = _translations(
            loaded, settings.translation, budget, cache, found, method
        )
        write_rows(folder / "translations.parquet", rows, Translation)
        more = Result([*more.outputs, "translations.parquet"], {"translations": len(rows)})
    if settings.generation:
        report["generation"], made_texts = run_generation(
            loaded, config, settings.generation, prompts, folder, cache, method
        )
        more = Result([*more.outputs, *made_texts.outputs], {**more.rows, **made_texts.rows})
    report["families"] |= more_families(report)
    write_json(folder / "scores.json", report)
    shutil.rmtree(folder / "cache")
    shutil.rmtree(folder / WRITTEN / "__pycache__", ignore_errors=True)
    return Result(
        ["items.parquet", "flips.parquet", "scores.json", *more.outputs],
        {"items": len(items), "flips": len(flips), "scores": len(made.scores), **more.rows},
    )


def _translations(
    loaded: Loaded,
    translation: TranslationSettings,
    budget: int,
    cache: BatchCache,
    found: Gathered,
    method: Method,
) -> tuple[list[dict[str, Any]], list[Translation]]:
    """Translate with both models; return the scores and the rows."""
    rows = []
    for model in ("base", "adapted"):
        scorer = Scorer(loaded, budget, adapter=model == "adapted", cache=cache)
        lm = AnukulLM(scorer, f"translation, {model}", TRANSLATION_ROWS)
        rows += translate(lm, found.translation, translation.max_new_tokens, model)
    return score_translations(rows, method), rows


def signature(settings: EvaluateSettings, budget: int) -> str:
    """One line that says how the numbers were made, as sacrebleu's signatures do."""
    parts = {
        "shots": ",".join(map(str, settings.shots)),
        "seeds": ",".join(map(str, settings.seeds)),
        "exemplars": f"nested,{settings.exemplars}",
        "bootstrap": f"{settings.bootstrap},percentile-expanded,clustered",
        "confidence": f"{settings.confidence:g}",
        "p": "mcnemar-exact/bootstrap",
        "q": "bh,by-family",
        "budget": str(budget),
        **{name: version(name) for name in PACKAGES},
    }
    return "|".join(f"{name}:{value}" for name, value in parts.items())
