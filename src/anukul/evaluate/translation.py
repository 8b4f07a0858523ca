"""Translation both ways at several shots, generated greedily and scored with chrF++ (Popovic 2017) by sacrebleu."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest, Result

from anukul import languages, progress, stats
from anukul.config import RunConfig, TranslationSettings
from anukul.evaluate.scores import Method, add_q
from anukul.items.parallel import Line, exemplars, load_lines
from anukul.records import Translation
from anukul.scoring.harness import AnukulLM

from lm_eval.api.instance import Instance  # isort: skip  # after scoring.harness, which quiets lm-eval

STOP = "\n"
SACREBLEU_SEED = "12345"  # its own default, fixed here whatever the environment says


@dataclass(frozen=True, slots=True)
class Prompt:
    """A line to be translated in one direction after some exemplars."""

    direction: str
    source_language: str
    target_language: str
    shots: int
    line: Line
    text: str

    @property
    def source(self) -> str:
        """The side given."""
        return self.line.base if self.direction == "to_target" else self.line.target

    @property
    def reference(self) -> str:
        """The side asked for."""
        return self.line.target if self.direction == "to_target" else self.line.base


def make_prompts(config: RunConfig, settings: TranslationSettings) -> list[Prompt]:
    """Return every prompt: directions, then shot counts, then lines; exemplars are shared and nested in the count."""
    asked, rest = load_lines(settings)
    drawn = exemplars(rest, settings, config.seed)
    prompts = []
    for direction in settings.directions:
        codes = (config.base_language, config.language)
        source, target = codes if direction == "to_target" else codes[::-1]
        words = _tag(config, target), languages.load(source).name, languages.load(target).name
        for shots in sorted(settings.shots):
            solved = [_solved(line, direction, words) for line in drawn[:shots]]
            for line in asked:
                text = "\n\n".join([*solved, _asked(line, direction, words)])
                prompts.append(Prompt(direction, source, target, shots, line, text))
    return prompts


def _tag(config: RunConfig, code: str) -> str:
    """What the last translation stage of training wrote before text that is translated into `code`.

    No side of these lines is machine-made, as far as is known.
    """
    stages = config.train.stages if config.train else ()
    last = next((stage for stage in reversed(stages) if stage.format == "translation"), None)
    return last.translation.tag(code) if last else ""


def _asked(line: Line, direction: str, words: tuple[str, str, str]) -> str:
    """The same words as in the translation stage of training: its tag, and the names of both languages."""
    tag, source, target = words
    given = line.base if direction == "to_target" else line.target
    return f"{tag}{source}: {given}\n{target}:"


def _solved(line: Line, direction: str, words: tuple[str, str, str]) -> str:
    answer = line.target if direction == "to_target" else line.base
    return f"{_asked(line, direction, words)} {answer}"


def translate(lm: AnukulLM, prompts: Sequence[Prompt], max_new_tokens: int, model: str) -> list[Translation]:
    """Generate and return one row per prompt; a prompt that does not fit in the window loses its start, and it is said.

    At most half of the window is generated.
    """
    limit = min(max_new_tokens, lm.max_length // 2)
    if limit < max_new_tokens and model == "base":
        progress.say(f"  translation: at most {limit} tokens are generated, half of this base's window")
    settings = {"until": [STOP], "max_gen_toks": limit, "do_sample": False}
    requests = [
        Instance(request_type="generate_until", doc={}, arguments=(prompt.text, settings), idx=0)
        for prompt in prompts
    ]
    texts = [text.strip() for text in lm.generate_until(requests)]
    cut = [len(lm.tok_encode(prompt.text)) > lm.max_length - limit for prompt in prompts]
    if any(cut) and model == "base":
        progress.say(
            f"  translation: {sum(cut):,} of {len(cut):,} prompts do not fit in the window and lose their start"
        )
    metric = CHRF(word_order=2)
    return [
        Translation(
            model=model,
            direction=prompt.direction,
            source_language=prompt.source_language,
            target_language=prompt.target_language,
            shots=prompt.shots,
            line=prompt.line.number,
            source=prompt.source,
            reference=prompt.reference,
            hypothesis=text,
            chrf=round(float(metric.sentence_score(text, [prompt.reference]).score), 4),
            prompt_cut=was_cut,
        )
        for prompt, text, was_cut in zip(prompts, texts, cut, strict=True)
    ]


def score_translations(rows: Sequence[Translation], method: Method) -> list[dict[str, Any]]:
    """Return one row per direction and shot count: corpus chrF++ of both models with intervals, and the paired test."""
    groups: dict[tuple[str, int], dict[str, list[Translation]]] = {}
    for row in rows:
        groups.setdefault((row.direction, row.shots), {}).setdefault(row.model, []).append(row)
    scores = [_score(held["base"], held["adapted"], method) for held in groups.values()]
    add_q(scores)
    return scores


def _score(base: list[Translation], adapted: list[Translation], method: Method) -> dict[str, Any]:
    if [row.line for row in base] != [row.line for row in adapted]:
        raise ValueError("base and adapted did not translate the same lines")
    references = [row.reference for row in base]
    systems: list[tuple[str, Sequence[str]]] = [
        (model, [row.hypothesis for row in rows]) for model, rows in (("base", base), ("adapted", adapted))
    ]
    counted = [segment_statistics(texts, references) for _, texts in systems]
    values = [float(chrf(held.sum(0)[None])[0]) for held in counted]
    picks = np.random.default_rng(method.seed).integers(len(base), size=(method.resamples, len(base)))
    drawn = [chrf(np.stack([held[pick].sum(0) for pick in picks])) for held in counted]
    sides = [
        *zip(values, drawn, strict=True),
        (values[1] - values[0], drawn[1] - drawn[0]),
    ]
    intervals = [stats.interval(value, sample, method.confidence) for value, sample in sides]
    with _fixed_seed():
        test = PairedTest(systems, {"chrF++": CHRF(word_order=2)}, [references], "bs", method.resamples)
        signatures, results = test()
    name = next(iter(signatures))
    tested = results[name][1]
    assert isinstance(tested, Result) and tested.p_value is not None
    first = base[0]
    return {
        "direction": first.direction,
        "source_language": first.source_language,
        "target_language": first.target_language,
        "shots": first.shots,
        "metric": "chrF++",
        "n": len(base),
        **{
            key: {"value": held.value, "low": held.low, "high": held.high}
            for key, held in zip(("base", "adapted", "difference"), intervals, strict=True)
        },
        # equal texts leave nothing to test; sacrebleu's formula would give the smallest p there
        "p": 1.0 if systems[0][1] == systems[1][1] else float(tested.p_value),
        "q": None,
        "empty": {key: sum(not text for text in texts) for key, texts in systems},
        "prompts_cut": sum(row.prompt_cut for row in base),
        "signature": str(signatures[name]),
    }


def segment_statistics(texts: Sequence[str], references: Sequence[str]) -> stats.Floats:
    """Return sacrebleu's sufficient statistics `[segments, 3 * orders]`: n-grams of text and reference, and matches."""
    found = CHRF(word_order=2)._extract_corpus_statistics(texts, [references])
    return np.asarray(found, dtype=np.float64)


def chrf(summed: stats.Floats) -> stats.Floats:
    """Return chrF++ `[samples]`, 0 to 100, of summed statistics `[samples, 3 * orders]`, as sacrebleu computes it.

    Precision and recall are averaged over the orders that both sides have; recall counts twice (beta 2).
    """
    made, wanted, matched = (summed[:, place::3] for place in range(3))
    both = (made > 0) & (wanted > 0)
    orders = np.maximum(both.sum(1), 1)
    precision = np.where(both, matched / np.maximum(made, 1), 0.0).sum(1) / orders
    recall = np.where(both, matched / np.maximum(wanted, 1), 0.0).sum(1) / orders
    total = 4 * precision + recall
    scores: stats.Floats = np.where(
        total > 0, 100 * 5 * precision * recall / np.where(total > 0, total, 1.0), 0.0
    )
    return scores


@contextmanager
def _fixed_seed() -> Iterator[None]:
    """Let sacrebleu's paired test draw from its default seed."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = SACREBLEU_SEED
    try:
        yield
    finally:
        if before is None:
            del os.environ["SACREBLEU_SEED"]
        else:
            os.environ["SACREBLEU_SEED"] = before
