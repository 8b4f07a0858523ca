"""From generated texts to the `generation` of scores.json: every measure, base against adapted, paired by prompt."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anukul import stats
from anukul.config import GenerationSettings
from anukul.evaluate.generation.fidelity import measure
from anukul.evaluate.generation.prompt_set import LENGTHS, Prompt
from anukul.evaluate.scores import Method, add_q
from anukul.languages import Language
from anukul.records import Generation

ALL = "all"


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of the summary; `better` is higher, lower or "" where neither end is better."""

    name: str
    value: Callable[[Generation], float]
    better: str
    binary: bool


MEASURES = (
    Measure("language", lambda row: row.language, "higher", True),
    Measure("script", lambda row: row.script, "higher", False),
    Measure("function_words", lambda row: row.function_words, "", False),
    Measure("repetition", lambda row: row.repetition, "lower", False),
    Measure("loop", lambda row: row.loop, "lower", True),
    Measure("ended", lambda row: float(row.end == "ended"), "", True),
    Measure("words", lambda row: float(row.words), "", False),
    Measure("tokens", lambda row: float(row.tokens), "", False),
)


def summarize(
    rows: Sequence[Generation],
    settings: GenerationSettings,
    prompts: Sequence[Prompt],
    language: Language,
    method: Method,
) -> dict[str, Any]:
    """Return settings, one row for each mode x length x measure, and what each model's texts were identified as.

    `written` is the same measure on the prompts, which people wrote: what natural text scores.
    """
    written = {prompt.id: measure(prompt.text, language) for prompt in prompts}
    made: list[dict[str, Any]] = []
    for mode in ("greedy", "sampled"):
        of_mode = [row for row in rows if row.mode == mode]
        for length in (ALL, *LENGTHS):
            part = [row for row in of_mode if length in (ALL, row.length)]
            if not part:
                continue
            texts = [written[row.prompt_id] for row in part]
            for what in MEASURES:
                natural = (
                    float(np.mean([getattr(text, what.name) for text in texts]))
                    if what.name in ("language", "script", "function_words", "repetition", "loop")
                    else None
                )
                head = {"mode": mode, "length": length, "measure": what.name, "better": what.better}
                made.append({**head, **compare(part, what, method), "written": natural})
    add_q(made)
    return {
        "prompts": len(prompts),
        "max_new_tokens": settings.max_new_tokens,
        "seeds": list(settings.seeds),
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "rows": made,
        "identified": {
            model: dict(
                sorted(
                    Counter(row.identified for row in rows if row.model == model).items(),
                    key=lambda item: (-item[1], item[0]),
                )
            )
            for model in ("base", "adapted")
        },
    }


def compare(rows: Sequence[Generation], what: Measure, method: Method) -> dict[str, Any]:
    """Return n, prompts, both means and their difference with intervals, and p; texts of one prompt are a cluster."""
    values: dict[str, dict[tuple[str, int], float]] = {"base": {}, "adapted": {}}
    for row in rows:
        values[row.model][row.prompt_id, row.seed] = what.value(row)
    if values["base"].keys() != values["adapted"].keys():
        raise ValueError("base and adapted were not given the same prompts")
    keys = list(values["base"])
    base, adapted = (np.array([values[model][key] for key in keys]) for model in ("base", "adapted"))
    clusters = [prompt for prompt, _ in keys]
    columns = np.stack([base, adapted, adapted - base], axis=1)
    count = len(set(clusters))
    drawn = stats.bootstrap_ratios(columns, np.ones(len(keys)), method.seed, method.resamples, clusters)
    means = columns.mean(axis=0)
    found = [stats.interval(means[at], drawn[:, at], method.confidence, count) for at in range(3)]
    p = stats.bootstrap_p(drawn[:, 2], count)
    if what.binary:
        found[:2] = [rate(side, clusters, method) for side in (base, adapted)]
        p = stats.mcnemar_clustered(columns[:, 2], clusters)
    shown = dict(zip(("base", "adapted", "difference"), map(as_json, found), strict=True))
    if count < 2:  # one prompt says nothing of how prompts differ: no interval, and so no verdict
        shown = {name: {**part, "low": None, "high": None} for name, part in shown.items()}
    return {
        "n": len(keys),
        "prompts": count,
        **shown,
        "p": p,
        "q": None,
    }


def rate(values: stats.Floats, clusters: Sequence[str], method: Method) -> stats.Interval:
    """Return the mean of values in [0, 1] with Wilson's interval for as many trials as there are clusters.

    Averaging within a cluster, and ties that count half, only lower the variance: the interval is wide enough.
    """
    count = len(set(clusters))
    return stats.wilson(float(values.mean()) * count, count, method.confidence)


def as_json(found: stats.Interval) -> dict[str, float | None]:
    """Return value, low and high."""
    return {"value": found.value, "low": found.low, "high": found.high}
