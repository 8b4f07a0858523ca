"""What a stage will do, decided before its first step: examples, replay, packed rows, steps.

The plan depends on the seed and the data only, so the data cursor of a checkpoint is nothing but a step number.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anukul.config import Stage, TrainSettings
from anukul.errors import UserError
from anukul.train.doses import mix
from anukul.train.formats import Example, fit_to_context
from anukul.train.packing import pack


@dataclass(frozen=True, slots=True)
class StagePlan:
    """Packed rows in the order of training; a step takes `rows_per_step` of them."""

    examples: list[Example]
    rows: list[list[int]]
    rows_per_step: int
    left_out: int  # prompts longer than the context

    def used(self, steps: int) -> list[Example]:
        """The examples of the first `steps` steps, each as often as it is read."""
        return [self.examples[i] for step in range(steps) for row in self.step_rows(step) for i in row]

    @property
    def steps(self) -> int:
        """Optimizer steps of the stage."""
        return max(1, len(self.rows) // self.rows_per_step)

    def step_rows(self, step: int) -> list[list[int]]:
        """The rows of one step; fewer than `rows_per_step` only when the whole stage has fewer."""
        return self.rows[step * self.rows_per_step : (step + 1) * self.rows_per_step]


def plan_stage(
    own: Sequence[Example], replay: Sequence[Example], settings: TrainSettings, stage: Stage, seed: int
) -> StagePlan:
    """Mix, shuffle and pack; raise UserError where there is nothing to train on.

    Replay is drawn until its share of all tokens is `replay_share`; when the replay text is short it is read again
    from its start in a new order.
    """
    settings = settings.of(stage)
    context, share = settings.context, settings.replay_share
    rng = np.random.default_rng([seed, zlib.crc32(stage.name.encode())])
    own = mix(own, stage, context, seed)
    if stage.max_examples is not None and stage.max_examples < len(own):
        own = [own[i] for i in np.sort(rng.permutation(len(own))[: stage.max_examples])]
    fitting, left_out = fit_to_context(own, context)
    if not fitting:
        raise UserError(
            f"train.stages: stage '{stage.name}' ({stage.format}) has no example that fits context {context}; "
            "give it data (synth for translation and instruct, corpus for text) or a longer context"
        )
    replayed, _ = fit_to_context(replay, context)
    if share > 0 and not replayed:
        raise UserError(
            f"train: stage '{stage.name}' asks for a replay share of {share} but corpus.replay gave no text; "
            "add replay text or set train.replay_share to 0"
        )
    examples = [*fitting, *replayed]
    lengths = [len(example.ids) for example in examples]
    own_tokens = sum(lengths[: len(fitting)])
    rows: list[list[int]] = []
    rows_per_step = settings.batch_tokens // context
    remaining = stage.epochs
    while remaining > 0:
        part = min(1.0, remaining)
        remaining -= part
        chosen = rng.permutation(len(fitting))[: max(1, round(part * len(fitting)))]
        tokens = sum(lengths[i] for i in chosen) if part < 1.0 else own_tokens
        if stage.max_steps is not None and share > 0:
            # what is cut off after packing is not in proportion: draw no more than the steps will hold
            room = (stage.max_steps * rows_per_step - len(rows)) * context * (1 - share)
            held = np.cumsum([lengths[i] for i in chosen])
            chosen = chosen[: int(np.searchsorted(held, room)) + 1]
            tokens = int(held[len(chosen) - 1])
            remaining = remaining if tokens < room else 0.0
        drawn = _draw(lengths, len(fitting), tokens * share / (1 - share), rng)
        order = rng.permutation(np.concatenate([chosen, drawn]).astype(np.int64))
        rows += pack(lengths, context, order.tolist())
    if stage.max_steps is not None:
        rows = rows[: stage.max_steps * rows_per_step]
    return StagePlan(examples, rows, rows_per_step, left_out)


def _draw(lengths: list[int], first: int, tokens: float, rng: np.random.Generator) -> list[int]:
    """Draw replay examples (numbers from `first` on) until they hold `tokens` tokens, each once before any twice."""
    drawn: list[int] = []
    held = 0
    while held < tokens:
        for index in rng.permutation(len(lengths) - first):
            # the nearer side of the target, so that the share holds on small stages too
            if held + lengths[first + index] / 2 > tokens:
                return drawn
            drawn.append(int(first + index))
            held += lengths[first + index]
    return drawn
