"""The ledger's probe sets: read and encoded once, then scored in one call for each state of the model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import log
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from anukul.config import HeldOutText, LedgerProbes, ProbeTask, RunConfig, TaskSettings, resolve
from anukul.digests import digest
from anukul.errors import UserError
from anukul.items.lines import load_held_out
from anukul.items.load import TaskItem, load_task, predicted
from anukul.items.rows import check_finite, strictly_best
from anukul.model.loaded import Loaded, plain_attention, uncompiled
from anukul.scoring.scorer import Scorer, rolling_windows
from anukul.scoring.trie import Request, window

Floats = NDArray[np.float64]
Kind = Literal["bits_per_byte", "accuracy"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One line or question of a probe set, and which of all requests are its own."""

    name: str
    cluster: str
    owners: tuple[tuple[int, int], ...]  # first and last + 1 request of each option; one option for a line
    size: int  # UTF-8 bytes of a line, 1 for a question
    question: TaskItem | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """The lines of one language, or the questions of one task."""

    kind: Kind
    name: str  # of the language, or of the task
    language: str
    asked: tuple[Asked, ...]

    @property
    def sizes(self) -> Floats:
        """What each item weighs, `[items]`."""
        return np.array([item.size for item in self.asked], dtype=np.float64)

    @property
    def clusters(self) -> list[str]:
        """Which items belong together, `[items]`."""
        return [item.cluster for item in self.asked]

    def values(self, scores: Sequence[tuple[float, bool]], model: str) -> Floats:
        """Return what each item counts, `[items]`: bits of a line, 1 or 0 for a question."""
        found = []
        for item in self.asked:
            options = [_joined(scores[first:last]) for first, last in item.owners]
            check_finite([value for value, _ in options], self.name, item.name, model)
            if item.question is None:
                found.append(-options[0][0] / log(2))
            elif item.question.is_pair:
                found.append(float(strictly_best([value for value, _ in options]) == item.question.gold))
            else:
                found.append(float(predicted(item.question, options) == item.question.gold))
        return np.array(found)


@dataclass(frozen=True, slots=True)
class ProbeSet:
    """All probes, and the requests that one scoring of them asks."""

    probes: tuple[Probe, ...]
    requests: tuple[Request, ...]

    def tokens(self, max_positions: int) -> int:
        """Tokens of one scoring if nothing were shared between requests."""
        return sum(len(window(request, max_positions)) for request in self.requests)

    def digest(self) -> str:
        """What decides a model's scores on the probes: the token ids and how they make up items."""
        asked = [
            [probe.kind, probe.name, [[item.owners, item.size] for item in probe.asked]]
            for probe in self.probes
        ]
        return digest([asked, [[request.context, request.continuation] for request in self.requests]])

    def score(self, scorer: Scorer, model: str) -> list[Floats]:
        """Score the probes with one state of the model; return the values `[items]` of each probe."""
        with untouched(scorer.loaded):
            scores = scorer.score(self.requests)
        return [probe.values(scores, model) for probe in self.probes]


@contextmanager
def untouched(loaded: Loaded) -> Iterator[None]:
    """Score in the block without a trace in training: its random state, attention, compiled parts and weights stay."""
    trained = [(parameter, parameter.requires_grad) for parameter in loaded.model.parameters()]
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    with torch.random.fork_rng(devices), plain_attention(loaded), uncompiled(loaded):
        try:
            yield
        finally:
            # switching an adapter off and on again also sets what may receive a gradient
            for parameter, wanted in trained:
                if parameter.requires_grad != wanted:
                    parameter.requires_grad_(wanted)


def load_probes(settings: LedgerProbes, loaded: Loaded) -> ProbeSet:
    """Read and encode the probe sets; raise UserError for a file or a row that cannot be scored."""
    probes: list[Probe] = []
    requests: list[Request] = []
    for language in dict.fromkeys(text.language for text in settings.bits_per_byte):
        lines: list[tuple[str, str]] = []
        for text in settings.bits_per_byte:
            if text.language == language:
                lines += [(f"{text.name}, line {number}", line) for number, line in load_held_out(text)]
        asked = _encode_texts([line for _, line in lines], loaded, requests)
        items = [
            Asked(name, name, (owner,), len(line.encode("utf-8")))
            for (name, line), owner in zip(lines, asked, strict=True)
        ]
        probes.append(Probe("bits_per_byte", language, language, tuple(items)))
    probes += [_questions(task, loaded, requests) for task in settings.tasks]
    return ProbeSet(tuple(probes), tuple(requests))


def _encode_texts(texts: Sequence[str], loaded: Loaded, requests: list[Request]) -> list[tuple[int, int]]:
    """Add the windows of whole texts after BOS to the requests; return which are each text's."""
    encoded = loaded.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    owners = []
    for tokens in encoded:
        first = len(requests)
        requests += rolling_windows(tokens, loaded.prefix_id, loaded.max_positions)
        owners.append((first, len(requests)))
    return owners


def _questions(task: ProbeTask, loaded: Loaded, requests: list[Request]) -> Probe:
    """Add the questions of a task, without shots, to the requests."""
    from anukul.scoring.harness import AnukulLM  # loads lm-eval, which texts alone do not need

    read = load_task(TaskSettings(**task.model_dump(), shots=(0,)))
    items: list[Asked] = []
    if read.is_pairs:
        texts = [text for question in read.items for text in question.continuations]
        owners = iter(_encode_texts(texts, loaded, requests))
        for question in read.items:
            both = (next(owners), next(owners))
            items.append(Asked(question.id, question.cluster, both, 1, question))
        return Probe("accuracy", task.name, task.language, tuple(items))
    pairs = [question.pair(option) for question in read.items for option in range(question.options)]
    joints = [question.delimiter for question in read.items for _ in range(question.options)]
    scorer = Scorer(loaded, adapter=loaded.vocabulary is None or loaded.vocabulary.active)
    encoded = AnukulLM(scorer).encode_pairs(
        [(context, joint + end) for (context, end), joint in zip(pairs, joints, strict=True)]
    )
    if not all(request.continuation for request in encoded):
        raise UserError(f"train.ledger.probes: task '{task.name}': a choice is empty to this tokenizer")
    start = 0
    for question in read.items:
        first = len(requests)
        requests += encoded[start : start + question.options]
        start += question.options
        owners_of = tuple((place, place + 1) for place in range(first, len(requests)))
        items.append(Asked(question.id, question.cluster, owners_of, 1, question))
    return Probe("accuracy", task.name, task.language, tuple(items))


def _joined(scores: Sequence[tuple[float, bool]]) -> tuple[float, bool]:
    """One score of a text that was cut into windows."""
    return sum((value for value, _ in scores), 0.0), all(greedy for _, greedy in scores)


def overlaps(config: RunConfig, probes: LedgerProbes) -> list[str]:
    """Name the probes of which evaluate scores lines too: what was chosen by them is not held out."""
    evaluate = config.evaluate
    if evaluate is None:
        return []
    texts = [
        text.name
        for text in probes.bits_per_byte
        if any(_share_lines(text, other) for other in evaluate.bits_per_byte)
    ]
    scored = {resolve(task.path) for task in evaluate.tasks if task.path}
    return texts + [task.name for task in probes.tasks if resolve(task.path) in scored]


def _share_lines(one: HeldOutText, other: HeldOutText) -> bool:
    last, other_last = (text.skip + text.limit if text.limit else None for text in (one, other))
    apart = (last is not None and last <= other.skip) or (other_last is not None and other_last <= one.skip)
    return resolve(one.path) == resolve(other.path) and not apart
