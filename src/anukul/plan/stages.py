"""What each stage will do: rows, tokens, steps, operations, and the share of its time that the ledger takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anukul.config import RunConfig, Stage, TrainSettings
from anukul.errors import UserError
from anukul.model.loaded import Loaded
from anukul.model.weightless import build_weightless, weightless
from anukul.plan.fertility import Fertility
from anukul.plan.memory_cpu import NO_DATA, Batches, DataBytes
from anukul.plan.rows import Sample, count_inputs, sample_replay, sample_stage
from anukul.train.dry_run import fullest
from anukul.train.formats import Example, Formatter
from anukul.train.packing import collate
from anukul.train.plan import StagePlan, plan_stage
from anukul.train.probes import load_probes
from anukul.train.readings import cadence, predicted_share

if TYPE_CHECKING:
    from anukul.model.shape import Shape

MADE_UP = 512  # examples of one length that stand for rows that nobody has seen


@dataclass(frozen=True, slots=True)
class Probes:
    """What one scoring of the ledger's probes asks."""

    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage takes; all counts are of the whole stage."""

    stage: Stage
    rows: int | None  # of its own data; None where nobody knows
    source: str  # where that is known from
    how: str  # how tokens were counted
    exact: bool  # by the plan that training itself will make
    batches: Batches  # those that take the most memory, of the rows that were looked at
    data: DataBytes
    tokens: float = 0.0  # BOS and end tokens included; 0 where they are not known
    learnt: float = 0.0
    replay: float = 0.0
    steps: int = 0
    full: float = 0.0  # share of the cells of the packed rows that hold a token
    flops: float = 0.0  # forward and backward, nothing counted twice
    ledger_every: int = 0  # steps from one reading to the next
    ledger_share: float = 0.0  # seconds of it per second of training
    left_out: float = 0.0  # rows that are longer than the context


def cost_of(
    config: RunConfig,
    shape: "Shape",
    stage: Stage,
    root: Path,
    formatter: Formatter | None,
    fertility: dict[str, Fertility],
    probes: Probes | None,
) -> StageCost:
    """Count a stage: on its data where they stand in the run folder, else on rows as long as the held-out lines.

    `formatter` is None where the tokenizer is not there: tokens are then unknown, and the micro-batch is full.
    """
    settings = config.train
    assert settings is not None
    sample = sample_stage(root, stage, formatter) if formatter else None
    source, how = "rows of the run folder", ""
    if sample is not None:
        count = len(sample.examples)
        how = "every row tokenised" if sample.whole else f"{count:,} rows tokenised, spread evenly"
    rows: int | None = sample.rows if sample else None
    if sample is None:
        rows, source = count_inputs(config, stage)
        if rows and formatter and fertility:
            sample = _made_up(config, stage, rows, fertility)
            how = "assumed as long as the held-out lines"
    if sample is None:
        batches = _full_batches(settings)
        reason = "no tokenizer" if formatter is None else "no held-out text to measure rows by"
        how = reason if rows is not None else source
        return StageCost(stage, rows, source, how, False, batches, NO_DATA)
    replay = sample_replay(root, formatter) if formatter and settings.of(stage).replay_share > 0 else None
    return _counted(config, shape, stage, sample, replay, source, how, probes)


def _counted(
    config: RunConfig,
    shape: "Shape",
    stage: Stage,
    sample: Sample,
    replay: Sample | None,
    source: str,
    how: str,
    probes: Probes | None,
) -> StageCost:
    settings = config.train
    assert settings is not None
    share = settings.of(stage).replay_share
    exact = sample.whole and how.startswith("every") and (share == 0 or (replay is not None and replay.whole))
    planned, scale = stage, 1.0
    if not exact:
        used = min(sample.rows, stage.max_examples or sample.rows)
        scale = used * stage.epochs / len(sample.examples)
        without = {"epochs": 1.0, "max_examples": None, "max_steps": None}
        planned = stage.model_copy(update=without | ({} if replay else {"replay_share": 0.0}))
    plan = plan_stage(sample.examples, replay.examples if replay else [], settings, planned, config.seed)
    if not exact and share > 0 and replay is None:
        scale /= 1 - share  # as much as if the rows of replay were as long as the stage's own
    counts = _counts(plan, settings, exact)
    steps = plan.steps if exact else max(1, int(len(plan.rows) * scale / plan.rows_per_step))
    if not exact and stage.max_steps is not None and steps > stage.max_steps:
        scale *= stage.max_steps / steps
        steps = stage.max_steps
    tokens, learnt, pairs, replayed, cells = (value * scale for value in counts)
    every, ledger = 0, 0.0
    if probes and settings.ledger:
        held = steps * plan.rows_per_step * settings.context
        asked = settings.ledger
        every = cadence(asked.every_steps, steps, probes.tokens, held, asked.max_cost_share)
        ledger = predicted_share(steps, every, probes.tokens, held)
    return StageCost(
        stage=stage,
        rows=sample.rows,
        source=source,
        how=how,
        exact=exact,
        batches=_most(plan, settings),
        data=_data(sample, replay),
        tokens=tokens,
        learnt=learnt,
        replay=replayed if replay else tokens * share,
        steps=steps,
        full=tokens / max(1.0, cells),
        flops=necessary_flops(shape, tokens, learnt, pairs),
        ledger_every=every,
        ledger_share=ledger,
        left_out=plan.left_out / sample.share,
    )


def _counts(plan: StagePlan, settings: TrainSettings, trained_only: bool) -> tuple[float, ...]:
    """Tokens, learnt tokens, pairs of positions that see each other, replay tokens and cells of a plan's rows."""
    rows = plan.rows[: plan.steps * plan.rows_per_step] if trained_only else plan.rows
    used = [plan.examples[index] for row in rows for index in row]
    lengths = np.array([len(example.ids) for example in used], dtype=np.float64)
    replayed = np.array([example.replay for example in used], dtype=np.float64)
    learnt = sum(int(example.learnt[1:].sum()) for example in used)
    pairs = float((lengths * (lengths + 1) / 2).sum())
    cells = len(rows) * settings.context
    return float(lengths.sum()), float(learnt), pairs, float((lengths * replayed).sum()), float(cells)


def necessary_flops(shape: "Shape", tokens: float, learnt: float, pairs: float) -> float:
    """Operations that no trainer can leave out, as `train.gauge` counts them; the adapter's few per cent are not.

    A frozen weight takes 2 for each token forward and 2 backward, the head so for learnt tokens only. Attention takes 4
    for each number of the hidden state, layer and pair of tokens forward, and twice that backward.
    """
    head = 4.0 * shape.hidden * shape.vocabulary
    return 4.0 * shape.linear_parameters * tokens + head * learnt + 12.0 * shape.hidden * shape.layers * pairs


def _most(plan: StagePlan, settings: TrainSettings) -> Batches:
    """The micro-batches that take the most memory, as training picks the one that it sizes its memory by."""
    (_, learnt), (_, seen) = fullest(plan, settings)
    made = [
        collate(rows, plan.examples, settings.context, 0, torch.device("cpu"))
        for rows in ([learnt] if seen == learnt else [learnt, seen])
    ]
    return Batches(made[0], made[-1])


def _full_batches(settings: TrainSettings) -> Batches:
    """A micro-batch as large as it can be: one text in each row, all of it learnt."""
    size = settings.rows_per_micro_batch
    one = Example(np.zeros(settings.context, np.int32), np.ones(settings.context, np.bool_))
    batch = collate([[0]] * size, [one], settings.context, 0, torch.device("cpu"))
    return Batches(batch, batch)


def _data(sample: Sample, replay: Sample | None) -> DataBytes:
    held = [each for each in (sample, replay) if each is not None]
    examples = sum(each.example_bytes for each in held)
    reading = max(each.row_bytes + each.encoding_bytes for each in held)
    return DataBytes(reading + examples, examples)


def _made_up(config: RunConfig, stage: Stage, rows: int, fertility: dict[str, Fertility]) -> Sample | None:
    """Examples whose sides are as long as the held-out lines of their languages."""
    target = fertility.get(config.language) or fertility.get(config.base_language)
    source = fertility.get(config.base_language) or target
    if target is None or source is None:
        return None
    near, far = round(target.tokens_per_line), round(source.tokens_per_line)
    given = {"translation": far, "instruct": near}.get(stage.format, 0)
    learnt = near + far if stage.format == "bilingual" else near
    marks = np.arange(given + learnt + 2) > given
    made = Example(np.zeros(len(marks), np.int32), marks, splittable=given == 0)
    count = min(rows, MADE_UP)
    return Sample(rows, [made] * count, count / rows, 0.0)


def count_probes(config: RunConfig, tokenizer: Any) -> Probes | None:
    """Return what a reading of the ledger asks, counted by its own code; None without a ledger or its files."""
    ledger = config.train.ledger if config.train else None
    if ledger is None:
        return None
    with weightless():
        loaded: Loaded = build_weightless(config.model, tokenizer, packed=False, layers=1)
    try:
        found = load_probes(ledger.probes, loaded)
    except UserError:
        return None  # said elsewhere: the file is among those that are not there yet
    return Probes(len(found.requests), found.tokens(loaded.max_positions))
