"""Whether training will train what was asked for, found out before the first long step.

Two or more real updates on one micro-batch, then everything is put back: weights, random state, and the optimizer,
which is one of the audit's own. Every tensor that is asked for must receive a gradient and move, nothing else may.
Tokens that the data uses but the base never learnt are named: their rows are near zero.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anukul.config import TrainSettings
from anukul.errors import UserError
from anukul.model.adapter import trainable_parameters
from anukul.model.loaded import Loaded
from anukul.model.sharded import own_part
from anukul.progress import say
from anukul.rundir import write_json
from anukul.train.distributed import ALONE, Processes
from anukul.train.formats import Example
from anukul.train.loss import token_losses
from anukul.train.memory import untouched
from anukul.train.optimizer import set_learning_rate
from anukul.train.packing import Batch

# The A of a low-rank pair has no gradient while B is zero, so one update is never enough; a module that most tokens
# pass by may need more.
UPDATES = 4
# A row that pre-training touched has nearly the norm of its neighbours; those it never touched are of the order of
# 1e-20 in Llama 3, or nothing but a decayed initialisation.
NEAR_ZERO = 1e-3  # of the median norm of the rows
NAMED = 8


@dataclass(frozen=True, slots=True)
class UntrainedToken:
    """A token of the data whose row is near zero."""

    id: int
    piece: str
    times: int  # in the examples of the stage
    where: str  # "embedding" or "output head"


@dataclass(frozen=True, slots=True)
class Findings:
    """What the audit found of a stage; written to audit.json."""

    trained: list[str]
    frozen: int  # tensors that stayed as they are
    tied: list[list[str]]  # the names of tensors that are one
    untrained_tokens: list[UntrainedToken]


def audit(
    loaded: Loaded,
    settings: TrainSettings,
    batch: Batch,
    examples: list[Example],
    make: Callable[[], torch.optim.Optimizer],
    folder: Path,
    processes: Processes = ALONE,
) -> Findings:
    """Audit the model on `batch`, write audit.json and say what was found; raise UserError where training would not
    do what the config asks for. The model is in training mode and afterwards as it was."""
    trained = trainable_parameters(loaded)
    faults = _not_attached(loaded, settings)
    if not trained:
        raise UserError("train: audit: nothing is trainable, neither an adapter nor a weight of the base")
    before = {name: parameter.detach().to("cpu", copy=True) for name, parameter in trained.items()}
    frozen = _fingerprints(loaded, set(trained))
    with untouched(loaded):
        silent = _updates(loaded, batch.to(loaded.device), trained, make())
    still = {name for name, p in trained.items() if torch.equal(p.detach().cpu(), before[name])}
    leaked = [name for name, found in _fingerprints(loaded, set(trained)).items() if found != frozen[name]]
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(before[name])
    for what, names in (
        ("receive no gradient", sorted(silent)),
        (
            "receive a gradient but do not move (is their learning rate too small for their size?)",
            sorted(still - silent),
        ),
        ("are not to be trained and changed", leaked),
    ):
        if names:
            faults.append(f"{len(names)} tensors {what}: {_some(names)}")
    if faults:
        raise UserError(f"train: audit: training would not do what the config asks for: {'; '.join(faults)}")
    found = Findings(sorted(trained), len(frozen), _tied(loaded), untrained_tokens(loaded, examples))
    if processes.is_main:
        write_json(folder / "audit.json", asdict(found))
    _report(found, bool(settings.embeddings != "frozen"))
    return found


def _updates(
    loaded: Loaded, batch: Batch, trained: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> set[str]:
    """Update the weights until every one has had a gradient, at most `UPDATES` times; return those that had none."""
    silent = set(trained)
    set_learning_rate(optimizer, 1.0)
    for update in range(UPDATES):
        with loaded.autocast():
            loss = token_losses(loaded, batch).mean()
        if update == 0 and not bool(torch.isfinite(loss)):
            raise UserError(
                f"train: audit: the loss is {float(loss.detach())} before the first step: a weight of the base is no "
                "number, or the data uses a token that the base never learnt"
            )
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships it without annotations
        if update == 0:
            _require_finite_gradients(trained)
        silent -= {name for name in silent if _has_gradient(trained[name])}
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if not silent:
            break
    return silent


def _require_finite_gradients(trained: dict[str, nn.Parameter]) -> None:
    held = {name: parameter.grad for name, parameter in trained.items() if parameter.grad is not None}
    broken = [name for name, gradient in held.items() if not bool(gradient.isfinite().all())]
    if broken:
        raise UserError(
            f"train: audit: the gradient of {len(broken)} tensors is no number before the first step: "
            f"{_some(broken)}; the loss is, so it is the base that cannot be trained in this precision"
        )


def _has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.any())


def _not_attached(loaded: Loaded, settings: TrainSettings) -> list[str]:
    """What the config asks for and the model does not have: adapters on linear layers, trained embeddings."""
    if not loaded.has_adapter:
        return []
    faults = []
    bare = [
        name
        for name, module in loaded.causal_lm.get_decoder().named_modules()
        if hasattr(module, "in_features")
        and not hasattr(module, "lora_A")
        and not any(part.startswith(("lora_", "base_layer")) for part in name.split("."))
    ]
    if bare:
        faults.append(f"{len(bare)} linear layers have no adapter: {_some(bare)}")
    if settings.embeddings != "frozen":
        ends = {"embeddings": loaded.causal_lm.get_input_embeddings()}
        if not loaded.model.config.tie_word_embeddings:
            ends["output head"] = loaded.causal_lm.get_output_embeddings()
        for what, module in ends.items():
            if not any(parameter.requires_grad for parameter in module.parameters()):
                faults.append(f"train.embeddings is {settings.embeddings} but the {what} stay frozen")
    return faults


def _fingerprints(loaded: Loaded, trained: set[str]) -> dict[str, int]:
    """Return the sum of the bytes of every tensor that is not trained: cheap, and no update leaves it as it was."""
    named = [*loaded.model.named_parameters(), *loaded.model.named_buffers()]
    return {name: _sum_of_bytes(own_part(tensor)) for name, tensor in named if name not in trained}


def _sum_of_bytes(tensor: Tensor) -> int:
    raw = tensor.detach().contiguous().flatten().view(torch.uint8)
    wide = raw.view(torch.int32) if len(raw) % 4 == 0 and raw.storage_offset() % 4 == 0 else raw
    return int(wide.sum(dtype=torch.int64))


def _tied(loaded: Loaded) -> list[list[str]]:
    """Return the names of parameters that are one tensor."""
    names: dict[int, list[str]] = {}
    for name, parameter in loaded.model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [sorted(group) for group in names.values() if len(group) > 1]


def untrained_tokens(loaded: Loaded, examples: list[Example]) -> list[UntrainedToken]:
    """Return the tokens of `examples` whose row in the embeddings or the output head is near zero, most used first."""
    used = np.zeros(loaded.vocabulary_rows, np.int64)
    learnt = np.zeros(loaded.vocabulary_rows, np.int64)
    for example in examples:
        np.add.at(used, example.ids, 1)
        np.add.at(learnt, example.ids[example.learnt], 1)
    lm = loaded.causal_lm
    found = _near_zero(loaded, lm.get_input_embeddings().weight, used, "embedding")
    if not loaded.model.config.tie_word_embeddings:
        found += _near_zero(loaded, lm.get_output_embeddings().weight, learnt, "output head")
    return sorted(found, key=lambda token: (-token.times, token.id))


def _near_zero(loaded: Loaded, weight: Tensor, times: NDArray[np.int64], where: str) -> list[UntrainedToken]:
    norms = torch.linalg.vector_norm(weight.detach(), dim=1, dtype=torch.float32).cpu().numpy()
    rows = min(len(norms), len(times))
    low = (norms[:rows] < NEAR_ZERO * np.median(norms)) & (times[:rows] > 0)
    return [
        UntrainedToken(int(i), str(loaded.tokenizer.convert_ids_to_tokens(int(i))), int(times[i]), where)
        for i in np.flatnonzero(low)
    ]


def _report(found: Findings, embeddings_trained: bool) -> None:
    tied = "; ".join(f"tied: {' = '.join(names)}" for names in found.tied)
    say(
        f"  audit: {len(found.trained):,} tensors asked for receive a gradient and move, the other {found.frozen:,} "
        f"stay{'; ' + tied if tied else ''}"
    )
    if found.untrained_tokens:
        tokens = found.untrained_tokens
        shown = [f"{token.piece!r} ({token.id}, {token.times:,} times, {token.where})" for token in tokens]
        advice = (
            "they are trained now, but start from nothing: give them a higher share of the data or other tokens"
            if embeddings_trained
            else "they stay so while train.embeddings is frozen: set it to full, or keep them out of the data"
        )
        say(
            f"  audit: {len(tokens):,} tokens that the data uses were never learnt by the base (norm below "
            f"{NEAR_ZERO:g} of the median): {_some(shown)}; {advice}"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
