"""Compare an export, loaded again in a fresh process, with what it was made from; refuse it where they differ."""

import gc
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from anukul.config import ExportSettings
from anukul.errors import UserError
from anukul.export.measure import Encoded, compare, encode, keep
from anukul.export.reload import KEPT, Answer, Task, reload
from anukul.export.texts import TextSet
from anukul.model.loaded import Loaded
from anukul.progress import say
from anukul.rundir import atomic_folder

REASON = (
    "bf16 keeps 8 significant bits: merging rounds each weight by up to 1/512 of itself, and computing in bf16 rounds "
    "as much again at every layer; correct merges were measured at 0.0003 to 0.0006 nats per token "
    "(docs/decisions/0007)"
)


# Rounding to q8_0, the coarsest type, was measured at 0.5 % of a tensor's norm; another order of rows is over 100 %.
MOST_OF_A_TENSOR = 0.05


@dataclass(frozen=True, slots=True)
class Reference:
    """What the export is held against, as measured in this process."""

    sets: list[TextSet]
    texts: list[Encoded]
    bits_per_byte: list[float]
    base_bits_per_byte: list[float] | None  # adapter off, where there is one
    effect: float | None  # divergence of the base from the adapted model, nats per token


@contextmanager
def only_whole(path: Path) -> Iterator[Path]:
    """Yield a folder that becomes `path` when the block ends well; when it does not, nothing is left of it."""
    try:
        with atomic_folder(path) as temporary:
            yield temporary
    finally:
        shutil.rmtree(path.with_name(f".{path.name}.tmp"), ignore_errors=True)


@contextmanager
def work_folder(beside: Path) -> Iterator[Path]:
    """Yield a folder for what the two processes hand each other, on the disk of the export; it is gone afterwards."""
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".verify-") as name:
        yield Path(name)


def refer(loaded: Loaded, sets: Sequence[TextSet], work: Path) -> Reference:
    """Measure the loaded model, adapter on, and how far its adapter took it from the base."""
    groups = [list(texts.texts) for texts in sets]
    texts = encode(loaded.tokenizer, loaded.prefix_id, groups, loaded.max_positions)
    loaded.model.eval()
    bits = keep(loaded, texts, work / KEPT)
    base, effect = None, None
    # a base without the adapter's new pieces cannot read these tokens
    if loaded.has_adapter:
        with loaded.base_only():
            # an adapter with new pieces cuts text otherwise than its base; distributions cannot be compared then
            own = texts
            if loaded.vocabulary is not None:
                own = encode(loaded.tokenizer, loaded.prefix_id, groups, loaded.max_positions)
            base, distance = compare(loaded, own, work / KEPT)
        effect = distance.divergence if distance else None
    return Reference(list(sets), texts, bits, base, effect)


def free(loaded: Loaded) -> None:
    """Let go of a model, so that the fresh process has its memory; the caller must not use it any more."""
    loaded.model = loaded.vocabulary = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def check(
    reference: Reference, task: Task, work: Path, settings: ExportSettings, what: str, against: str
) -> dict[str, Any]:
    """Load the export again, compare, and return what verify.json says; raise UserError where it differs too much."""
    found = reload(work, task, [asdict(text) for text in reference.texts])
    record = _record(reference, found, settings, what, against)
    faults = _faults(record, found, settings)
    if faults:
        raise UserError(f"export: {what} is not {against}: {'; '.join(faults)}. Nothing was kept")
    _announce(record, what, against)
    return record


def _record(
    reference: Reference, found: Answer, settings: ExportSettings, what: str, against: str
) -> dict[str, Any]:
    rows = []
    for number, texts in enumerate(reference.sets):
        ours, theirs = reference.bits_per_byte[number], found.bits_per_byte[number]
        own = [text for text in reference.texts if text.set == number]
        row = {
            "name": texts.name,
            "language": texts.language,
            "held_out": texts.held_out,
            "texts": len(own),
            "tokens": sum(len(text.ids) - 1 for text in own),
            "bytes": sum(len(text.text.encode("utf-8")) for text in own),
            "bits_per_byte": ours,
            "bits_per_byte_reloaded": theirs,
            "difference": theirs - ours,
        }
        if reference.base_bits_per_byte:
            row["bits_per_byte_base"] = reference.base_bits_per_byte[number]
        rows.append(row)
    return {
        "what": what,
        "against": against,
        "fresh_process": True,
        "logits": found.distance,
        "divergence_of_the_base": reference.effect,
        "texts": rows,
        "cut_into_other_tokens": found.cut_differently,
        **({"farthest_tensor": found.farthest, "its_error": found.farthest_error} if found.farthest else {}),
        "tolerance": {
            "max_divergence": settings.max_divergence,
            "max_bits_per_byte": settings.max_bits_per_byte,
            "reason": REASON,
        },
        "notes": found.notes,
    }


def _faults(record: dict[str, Any], found: Answer, settings: ExportSettings) -> list[str]:
    """One sentence for each thing that differs by more than the tolerance."""
    faults = []
    if found.cut_differently:
        faults.append(
            f"its tokenizer cuts {found.cut_differently} of {sum(row['texts'] for row in record['texts'])} texts "
            f"differently, such as '{found.example}'"
        )
    logits = record["logits"]
    if logits is None:
        faults.append("its vocabulary has another size")
    elif not logits["divergence"] <= settings.max_divergence:
        faults.append(
            f"logits diverge by {logits['divergence']:.2g} nats per token over {logits['positions']:,} positions, "
            f"at most {settings.max_divergence:g} allowed (export.max_divergence)"
        )
    for row in record["texts"]:
        if not abs(row["difference"]) <= settings.max_bits_per_byte:
            faults.append(
                f"bits per byte of {row['name']} are {row['bits_per_byte_reloaded']:.4f}, not "
                f"{row['bits_per_byte']:.4f}; at most {settings.max_bits_per_byte:g} apart is allowed "
                "(export.max_bits_per_byte)"
            )
    if not found.farthest_error <= MOST_OF_A_TENSOR:
        faults.append(
            f"{found.farthest} came back {found.farthest_error:.1%} of its norm off, where rounding is well below "
            f"{MOST_OF_A_TENSOR:.0%}"
        )
    return faults


def _announce(record: dict[str, Any], what: str, against: str) -> None:
    logits = record["logits"]
    worst = max(record["texts"], key=lambda row: abs(row["difference"]))
    effect = record["divergence_of_the_base"]
    share = f", {logits['divergence'] / effect:.2%} of what the adapter changed" if effect else ""
    say(
        f"  {what} against {against}: divergence {logits['divergence']:.2g} nats per token{share}; same top token at "
        f"{logits['same_top_token']:.1%} of {logits['positions']:,} positions; bits per byte of {worst['name']} "
        f"{worst['bits_per_byte']:.4f}, reloaded {worst['bits_per_byte_reloaded']:.4f}"
    )
    if effect and logits["divergence"] > 0.1 * effect:
        say(
            f"  the adapter changes so little ({effect:.2g} nats per token) that rounding is a large share of it; "
            "export.dtype: float32 keeps it"
        )
