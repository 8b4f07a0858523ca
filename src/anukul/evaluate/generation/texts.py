"""Free generation in the target language: base and adapted go on from the same prompts, greedily and sampled."""

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from anukul import languages, progress
from anukul.config import GenerationSettings
from anukul.digests import digest
from anukul.errors import UserError
from anukul.evaluate.generation.fidelity import measure
from anukul.evaluate.generation.prompt_set import Prompt
from anukul.model.generate import Generated, Sampling, generate
from anukul.model.loaded import Loaded
from anukul.records import Generation
from anukul.scoring.cache import BatchCache

GREEDY_SEED = -1


@dataclass(frozen=True, slots=True)
class Job:
    """One text to be made."""

    mode: str  # greedy | sampled
    seed: int
    prompt: Prompt
    ids: tuple[int, ...]


def check_window(settings: GenerationSettings, loaded: Loaded) -> None:
    """Raise UserError where the texts asked for leave no room for a prompt."""
    if settings.max_new_tokens >= loaded.max_positions:
        raise UserError(
            f"evaluate.generation.max_new_tokens: {settings.max_new_tokens} must be less than the model's window of "
            f"{loaded.max_positions} tokens, so that there is room for a prompt"
        )


def generate_all(
    loaded: Loaded,
    settings: GenerationSettings,
    prompts: Sequence[Prompt],
    language: str,
    seed: int,
    cache: BatchCache,
) -> list[Generation]:
    """Make every text of both models and measure it; rows by model, mode, seed, prompt.

    `seed` is the run's; a sampled text's own seed comes from it, the text's seed and the prompt's id, so that it
    does not change when prompts are added, and is the same for both models.
    """
    check_window(settings, loaded)
    target = languages.load(language)
    rows = []
    for model in ("base", "adapted"):
        jobs = _jobs(loaded, settings, prompts, model)
        made = _make(loaded, settings, jobs, model, seed, cache)
        for job, text in zip(jobs, made, strict=True):
            found = measure(text.text, target)
            rows.append(
                Generation(
                    model=model,
                    mode=job.mode,
                    seed=job.seed,
                    prompt_id=job.prompt.id,
                    topic=job.prompt.topic,
                    length=job.prompt.length,
                    prompt=job.prompt.text,
                    text=text.text,
                    tokens=text.tokens,
                    end=text.end,
                    identified=found.identified,
                    language=found.language,
                    script=found.script,
                    function_words=found.function_words,
                    repetition=found.repetition,
                    loop=found.loop,
                    words=found.words,
                )
            )
    return rows


def _jobs(loaded: Loaded, settings: GenerationSettings, prompts: Sequence[Prompt], model: str) -> list[Job]:
    tokenizer = loaded.tokenizer_of(model == "adapted")
    encoded = tokenizer([prompt.text for prompt in prompts], add_special_tokens=False, verbose=False)
    ids = [(loaded.prefix_id, *(int(token) for token in row)) for row in encoded["input_ids"]]
    kinds = [("greedy", GREEDY_SEED), *(("sampled", seed) for seed in settings.seeds)]
    return [
        Job(mode, seed, prompt, tokens)
        for mode, seed in kinds
        for prompt, tokens in zip(prompts, ids, strict=True)
    ]


def _make(
    loaded: Loaded,
    settings: GenerationSettings,
    jobs: Sequence[Job],
    model: str,
    seed: int,
    cache: BatchCache,
) -> list[Generated]:
    """Make the texts of one model, batch by batch, longest prompts first so that a lack of memory shows at once."""
    made: dict[int, Generated] = {}
    adapter = nullcontext() if model == "adapted" else loaded.base_only()
    with progress.bar(f"generation, {model}", len(jobs), "texts") as bar, adapter:
        for mode in ("greedy", "sampled"):
            order = sorted(
                (index for index, job in enumerate(jobs) if job.mode == mode),
                key=lambda index: (-len(jobs[index].ids), index),
            )
            for first in range(0, len(order), settings.batch_rows):
                batch = order[first : first + settings.batch_rows]
                part = [jobs[index] for index in batch]
                sampling = (
                    None
                    if mode == "greedy"
                    else Sampling(
                        settings.temperature, settings.top_p, tuple(_seed(seed, job) for job in part)
                    )
                )
                texts = _batch(loaded, settings.max_new_tokens, part, model, sampling, cache)
                made |= dict(zip(batch, texts, strict=True))
                bar.advance(len(batch))
    return [made[index] for index in range(len(jobs))]


def _batch(
    loaded: Loaded,
    limit: int,
    jobs: Sequence[Job],
    model: str,
    sampling: Sampling | None,
    cache: BatchCache,
) -> list[Generated]:
    """Make one batch, or take it from the cache."""
    drawn = [sampling.temperature, sampling.top_p, sampling.seeds] if sampling else None
    key = digest([loaded.fingerprint, model, limit, drawn, [job.ids for job in jobs]])
    held = cache.get(key)
    if held is not None:
        return [Generated(text, tokens, end) for text, tokens, end in held]
    made = generate(loaded, [job.ids for job in jobs], limit, sampling=sampling)
    cache.put(key, [(one.text, one.tokens, one.end) for one in made])
    return made


def _seed(seed: int, job: Job) -> int:
    hashed = hashlib.sha256(f"{seed}\t{job.seed}\t{job.prompt.id}".encode()).digest()
    return int.from_bytes(hashed[:8], "big") >> 1
