"""The part of the evaluate step that generates: texts, their measures, and the judge where there is one."""

from pathlib import Path
from typing import Any

from anukul import languages
from anukul.config import GenerationSettings, RunConfig
from anukul.evaluate.generation.prompt_set import Prompt, load_prompts
from anukul.evaluate.generation.scores import summarize
from anukul.evaluate.generation.texts import generate_all
from anukul.evaluate.judge.compare import check_judge, dump_line, judge
from anukul.evaluate.judge.scores import summarize_judge
from anukul.evaluate.scores import Method
from anukul.model.loaded import Loaded
from anukul.records import Generation, write_rows
from anukul.rundir import Result, write_atomic
from anukul.scoring.cache import BatchCache


def prepare(config: RunConfig, settings: GenerationSettings) -> list[Prompt]:
    """Read the prompts and see that the judge can be asked; UserError before any model is loaded."""
    if settings.judge:
        check_judge(settings.judge)
    return load_prompts(settings, config.language)


def run_generation(
    loaded: Loaded,
    config: RunConfig,
    settings: GenerationSettings,
    prompts: list[Prompt],
    folder: Path,
    cache: BatchCache,
    method: Method,
) -> tuple[dict[str, Any], Result]:
    """Write generations.parquet and verdicts.jsonl; return the `generation` of scores.json, and what was written."""
    rows = generate_all(loaded, settings, prompts, config.language, config.seed, cache)
    summary = summarize(rows, settings, prompts, languages.load(config.language), method)
    write_rows(folder / "generations.parquet", rows, Generation)
    result = Result(["generations.parquet"], {"generated_texts": len(rows)})
    summary["judge"] = None
    if settings.judge:
        judged = judge(rows, settings.judge, config.language, folder)
        write_atomic(folder / "verdicts.jsonl", b"".join(dump_line(line) for line in judged.lines))
        summary["judge"] = summarize_judge(judged, settings.judge, method)
        result.outputs.append("verdicts.jsonl")
        result.rows["verdicts"] = len(judged.lines)
    return summary, result
