"""The model card: Hugging Face front matter, then what was measured, on what data, and what it is not for."""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from anukul import __version__, languages
from anukul.licenses import noncommercial
from anukul.report.data import Evaluation, RunData, Score
from anukul.report.format import count, listing, percent, plural
from anukul.report.load import HELD
from anukul.report.loaddata import load_data
from anukul.report.page import title_of
from anukul.report.sections.provenance import reproduce
from anukul.report.summary import answers, metric_word, primary
from anukul.report.verdicts import everything_at_chance, verdict

MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")


def escape(text: str) -> str:
    """Return `text` so that Markdown shows it as it is, on one line."""
    return MARKUP.sub(r"\\\1", " ".join(str(text).split())).replace("\\<", "&lt;").replace("\\>", "&gt;")


def render(data: RunData, figures: list[tuple[str, str]]) -> str:
    """Return report/README.md; `figures` are (file stem, caption)."""
    from jinja2 import Environment, StrictUndefined

    # Markdown, not HTML: the `md` filter escapes, and every text from the run goes through it
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters["md"] = escape
    template = (
        resources.files("anukul.report").joinpath("templates", "card.md.jinja").read_text(encoding="utf-8")
    )
    config = data.config
    stages = [
        (
            stage.name,
            stage.format,
            count(stage.rows.get("steps")),
            count(stage.rows.get("tokens")),
            f"{percent(stage.replay_asked)} / {percent(stage.replay_reached)}",
        )
        for stage in data.stages
    ]
    return environment.from_string(template).render(
        front=yaml.safe_dump(front_matter(data), allow_unicode=True, sort_keys=False, width=120),
        title=escape(title_of(data)),
        base=f"[{config.model.path}](https://huggingface.co/{config.model.path})"
        if on_hub(config.model.path)
        else escape(Path(config.model.path).name),
        target=data.language(config.language),
        version=__version__,
        answers=answers(data),
        confidence=f"{100 * (data.evaluation.confidence if data.evaluation else 0.95):g} %",
        holdings=[(HELD[h.file], h.source, h.license, count(h.rows)) for h in data.holdings],
        synthetic=_synthetic(data),
        translators=_translators(data),
        doses=_doses(data),
        stages=stages,
        lora=_lora(data),
        limits=limits(data),
        license_note=license_note(data),
        reproduce=reproduce(data),
        figures=figures,
    )


def _synthetic(data: RunData) -> str:
    """Return how much of the pairs and instructions a machine wrote; "" where it wrote nothing."""
    found = []
    for name, words in (("pairs", "pairs have a side"), ("instructions", "instructions")):
        held = [one for one in data.holdings if one.file == f"synth/{name}.parquet"]
        made = sum(one.rows for one in held if one.origin == "synthetic")
        if made:
            found.append(f"{count(made)} of {count(sum(one.rows for one in held))} {words}")
    return listing(found)


def _translators(data: RunData) -> list[str]:
    """Return who made the machine-made sides, and under which license."""
    found = (data.synth or {}).get("translators") or []
    return [f"{one.get('id') or one.get('model')} ({one.get('license')})" for one in found]


def _doses(data: RunData) -> list[tuple[str, str]]:
    """Return what each stage saw, by tokens."""
    doses = load_data(data.root, tuple(stage.name for stage in data.stages)).doses
    found = []
    for stage, saw in doses.items():
        shares: dict[str, float] = {}
        for one in saw:
            shares[str(one["origin"])] = shares.get(str(one["origin"]), 0.0) + float(one["share"])
        parts = [
            f"{name} {percent(share)}" for name, share in sorted(shares.items(), key=lambda item: -item[1])
        ]
        found.append((stage, ", ".join(parts)))
    return found


def _lora(data: RunData) -> str:
    train = data.config.train
    if train is None:
        return ""
    sizes = {train.of(stage).batch_tokens: None for stage in train.stages}
    variant = f" ({train.lora.variant})" if train.lora.variant else ""
    held = {"nf4": "4-bit NF4", "none": data.config.model.compute_dtype}[data.config.model.quantization]
    return (
        f"LoRA of rank {train.lora.rank} and alpha {train.lora.alpha:g}{variant} on every linear layer; "
        f"frozen weights in {held}; context {train.context:,} tokens, "
        f"{' / '.join(f'{size:,}' for size in sizes)} tokens per step, seed {data.config.seed}."
    )


def front_matter(data: RunData) -> dict[str, Any]:
    """Return the YAML front matter that the Hugging Face hub reads."""
    config = data.config
    front: dict[str, Any] = {
        "language": [language_code(config.language), language_code(config.base_language)],
        "license": "other",
        "license_name": "see-license-section",
        **(
            {"base_model": config.model.path, "base_model_relation": "adapter"}
            if on_hub(config.model.path)
            else {}
        ),
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["anukul", "lora", "continual-pretraining", "low-resource", config.language],
    }
    sources = sorted({held.source for held in data.holdings if held.source not in ("", "unknown")})
    if sources:
        front["x_training_sources"] = sources
    if data.evaluation:
        front["model-index"] = [{"name": title_of(data), "results": _results(data.evaluation, data)}]
    return front


def on_hub(path: str) -> bool:
    """Return whether a model path is written as a hub name, `owner/name`, and is no folder here."""
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", path)) and not Path(path).exists()


def language_code(code: str) -> str:
    """Return the code that the hub knows a language by: ISO 639-1 where there is one."""
    if code not in languages.available():
        return code.partition("_")[0]
    language = languages.load(code)
    return language.iso639_1 or language.iso639_3


def _results(evaluation: Evaluation, data: RunData) -> list[dict[str, Any]]:
    return [_result(score, data) for score in primary(evaluation.scores) if score.adapted.value is not None]


def _result(score: Score, data: RunData) -> dict[str, Any]:
    def ends(value: float | None, low: float | None, high: float | None) -> list[float | None]:
        return [None if end is None else round(end, 4) for end in (value, low, high)]

    value, low, high = ends(score.adapted.value, score.adapted.low, score.adapted.high)
    base, base_low, base_high = ends(score.base.value, score.base.low, score.base.high)
    task = {"type": "text-generation", "name": score.kind.replace("_", " ")}
    language = language_code(score.language) if score.language else "und"
    choice = score.kind == "multiple_choice"
    metric = {
        "type": score.metric,
        "value": value,
        "name": ", ".join(
            [metric_word(score), *([plural(score.shots, "shot")] if choice else []), score.role]
        ),
        "confidence_interval": [low, high],
        "n": score.n,
        "base_value": base,
        "base_confidence_interval": [base_low, base_high],
        "verdict": verdict(score),
    }
    return {
        "task": task,
        "dataset": {"name": score.task, "type": score.task, "config": language},
        "metrics": [metric],
    }


def limits(data: RunData) -> list[str]:
    """Return what a user must know before using the model, from what was and was not measured."""
    found = []
    if data.evaluation is None:
        found.append("It was not evaluated: nothing is known of what it learned or forgot.")
    else:
        rows = primary(data.evaluation.scores)
        choices = [s for s in rows if s.kind == "multiple_choice"]
        old = [
            s
            for s in data.evaluation.scores
            if s.kind == "knowledge" and s.split == "base" and not s.phenomenon
        ]
        worse = [s for s in (*rows, *old) if verdict(s) == "worse"]
        if worse:
            names = listing(sorted({f"{s.task} ({data.language(s.language)})" for s in worse}))
            found.append(f"It is measurably worse than its base on {names}.")
        if everything_at_chance(choices):
            found.append("On every multiple-choice task it is at the level of guessing.")
        found.append(
            "No detectable change is not proof of no change: a loss smaller than the intervals would not show."
        )
    if data.probe is None:
        found.append("Its attention heads were not probed.")
    found.append("It was not trained or tested to be safe, and can write false, unfair or harmful text.")
    found.append("It may know only the kinds of text named above, in the standard written language.")
    return found


def license_note(data: RunData) -> str:
    """Return what the licenses of the training rows and of the translator ask for."""
    named = sorted({held.license for held in data.holdings if held.license not in ("", "unknown")})
    made = {str(one.get("license") or "") for one in (data.synth or {}).get("translators") or []}
    named = sorted({*named, *made} - {"", "unknown"})
    parts = [
        f"The base model's license applies. The training data is under {listing(named)}." if named else ""
    ]
    if not named:
        parts = ["The base model's license applies. No license of the training data is known."]
    if any(noncommercial(name) for name in named):
        parts.append("Part of it may not be used commercially, and that is carried into this adapter.")
    unknown = sorted({held.source for held in data.holdings if held.license in ("", "unknown")})
    if unknown:
        parts.append(
            f"The license of rows from {listing(unknown)} is not known: find out before you share the adapter."
        )
    return " ".join(parts)
