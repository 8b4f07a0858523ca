"""Predicted peak memory of training: its own code is run on tensors without content, and their bytes are counted.

What no tensor shows is added: the process, the data, and what the audit and the optimizer hold (docs/decisions/0012).
"""

import gc
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from anukul.config import RunConfig, TrainSettings
from anukul.model.adapter import add_adapter, is_embedding, trainable_parameters
from anukul.model.documents import packed_attention
from anukul.model.loaded import DTYPES, Loaded
from anukul.model.recompute import decoder_layers, recompute
from anukul.model.speed import keep_input_dtype
from anukul.model.weightless import NF4_BITS, build_weightless, gpu_attention, weightless
from anukul.plan.counted import Counted
from anukul.progress import console
from anukul.train import loss
from anukul.train.heap import standing_alone
from anukul.train.memory import MOMENTS
from anukul.train.packing import Batch

if TYPE_CHECKING:
    from anukul.model.shape import Shape

CUDA_CONTEXT = 0.6e9  # bytes that the driver, cuBLAS and kernels hold before the first tensor
DIRECT = 4  # layers at most that are run
COPIES = 4.0  # bytes per trained weight that the audit puts aside on the host, to put back


@dataclass(frozen=True, slots=True)
class Pass:
    """Bytes of a model in training and of a forward and backward pass."""

    frozen: int  # weights that are not trained
    layers: int  # of them, those of the decoder's layers, which FSDP2 shares out
    trained: int  # trained weights in fp32; a gradient takes as much again
    embeddings: int  # trained weights that keep moments of 32 bits in any case
    first: int  # most that a pass adds, the gradients that it leaves included
    again: int  # the same where gradients stand already, these included


@dataclass(frozen=True, slots=True)
class Need:
    """Predicted bytes at the peak, by what holds them."""

    what: str
    weights: float  # frozen
    trained: float  # trained weights, their optimizer's moments, and copies
    working: float  # gradients, activations, logits
    data: float  # the examples of a stage; on the host
    process: float  # interpreter and libraries, or CUDA's context

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.trained + self.working + self.data + self.process


def trained_parameters(settings: TrainSettings, shape: "Shape") -> int:
    """Return how many parameters training changes: LoRA, and what of the embeddings, with the rows of new pieces."""
    once = 1 if shape.tied else 2
    trained = shape.lora_parameters(settings.lora.rank)
    if settings.lora.dora:
        trained += sum(rows for _, rows in shape.linear_shapes)
    if settings.embeddings == "full":
        trained += shape.embedding_parameters
    elif settings.embeddings == "lora":
        trained += once * settings.lora.rank * (shape.vocabulary + shape.hidden)
    if settings.vocabulary:
        trained += once * settings.vocabulary.extend * shape.hidden
    return trained


# What of a freed block is lost to the next one, on a CPU (docs/decisions/0012). torch asks for blocks that begin at a
# multiple of 64; up to 2.37 glibc looks for a place some hundred bytes larger (bug 14581), so that the place of
# a tensor that is gone is too small for the next of its size. Both shares were fitted to measured runs.
LOST = 0.95
# glibc that takes such places again; what is left are kernels that are kept, made one for each shape
LOST_LATER = 0.3


def _lost() -> float:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, ValueError):  # another C library
        return LOST_LATER
    old = name == "glibc" and tuple(map(int, version.split(".")[:2])) < (2, 38)
    return LOST if old else LOST_LATER


def count_passes(
    config: RunConfig, batches: Sequence[Batch], gpu: bool, packed: bool, recomputed: bool, layers: int
) -> list[Pass]:
    """Run two passes of each micro-batch as training does, on tensors without content, and count their bytes.

    `gpu` takes the attention of a GPU, `packed` leaves 4-bit weights packed, `recomputed` recomputes every layer.
    Layers are alike: where there are more than `DIRECT`, two and one fewer of these are run, and the rest of the
    `layers` follow in a straight line.
    """
    settings = config.train
    assert settings is not None
    if packed and (settings.lora.dora or settings.lora.init != "default"):
        # these look at the dense weights when they are attached, which nothing stands for
        dense = count_passes(config, batches, gpu, False, recomputed, layers)
        saved = round(dense[0].layers * (1 - NF4_BITS / 8 / DTYPES[config.model.compute_dtype].itemsize))
        return [replace(each, frozen=each.frozen - saved, layers=each.layers - saved) for each in dense]
    few = min(layers, DIRECT)
    figures = _count(config, batches, gpu, packed, recomputed, few)
    if layers > few:
        fewer = _count(config, batches, gpu, packed, recomputed, few - 1)
        figures = [a + (layers - few) * (a - b) for a, b in zip(figures, fewer, strict=True)]
    (frozen, inside, trained, embeddings), peaks = figures[:4], figures[4:]
    of_batches = [peaks[start : start + 6] for start in range(0, len(peaks), 6)]
    return [
        Pass(frozen, inside, trained, embeddings, first=max(each[:3]), again=max(each[3:]))
        for each in of_batches
    ]


def _count(
    config: RunConfig, batches: Sequence[Batch], gpu: bool, packed: bool, recomputed: bool, layers: int
) -> list[int]:
    """The figures of a `Pass` for so many layers; of each pass of each batch the peaks of `_one_pass`."""
    settings = config.train
    assert settings is not None
    gc.collect()
    with warnings.catch_warnings(), weightless() as empty, Counted() as counted:
        # of torch, about tensors that have no address
        warnings.simplefilter("ignore")
        loaded = build_weightless(config.model, None, packed, layers)
        with _silently():
            add_adapter(loaded, settings.lora, settings.embeddings, config.seed)
        keep_input_dtype(loaded)
        loaded.model.train()
        if recomputed:
            recompute(loaded, layers)
        gc.collect()
        stands = counted.restart()
        if not gpu:
            counted.lost, counted.mapped = _lost(), standing_alone() - 1
        peaks: list[int] = []
        with gpu_attention(loaded) if gpu else packed_attention(loaded), _blocks(gpu):
            for emptied in (batch.each(empty) for batch in batches):
                peaks += [*_one_pass(loaded, emptied, counted), *_one_pass(loaded, emptied, counted)]
                loaded.model.zero_grad()
        trained = trainable_parameters(loaded)
        inside = {p for layer in decoder_layers(loaded) for p in layer.parameters() if not p.requires_grad}
        figures = [
            stands - _bytes(trained.values()),
            _bytes(inside),
            _bytes(trained.values()),
            _bytes(p for name, p in trained.items() if is_embedding(name)),
            *(peak - stands for peak in peaks),
        ]
        del loaded, trained, inside, emptied
    gc.collect()
    return figures


@contextmanager
def _blocks(gpu: bool) -> Iterator[None]:
    """Let a GPU's share of the logits be turned to fp32 at once, though the code runs on the CPU."""
    before = loss.BLOCK
    loss.BLOCK = loss.BLOCK_CUDA if gpu else before
    try:
        yield
    finally:
        loss.BLOCK = before


@contextmanager
def _silently() -> Iterator[None]:
    """Show no progress of what is not really done."""
    before, console().quiet = console().quiet, True
    try:
        yield
    finally:
        console().quiet = before


def _bytes(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def _one_pass(loaded: Loaded, batch: Batch, counted: Counted) -> list[int]:
    """Return the most bytes that lived in the forward pass with the loss, and in the backward pass of the last and of
    the first layer. Between these two what lives rises or falls steadily, so the peak is one of the three."""
    layers = decoder_layers(loaded)
    peaks: list[int] = []

    def mark(_: object = None) -> None:
        peaks.append(counted.peak)
        counted.restart()

    def ends(_: object, __: object, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        states.register_hook(mark)

    # the gradient of what goes into the last layer is there when its backward pass is over
    hooks = [layers[place].register_forward_hook(ends) for place in {0, len(layers) - 2} if place >= 0]
    counted.restart()
    with loaded.autocast():
        mean = loss.token_losses(loaded, batch).sum() / len(batch.targets)
    mark()
    mean.backward()  # type: ignore[no-untyped-call]  # torch ships it without annotations
    mark()
    for hook in hooks:
        hook.remove()
    return [peaks[0], peaks[1], peaks[-1]]


def moments(settings: TrainSettings, found: Pass) -> float:
    """Return the bytes of the optimizer's moments; paged ones may leave the GPU."""
    share = MOMENTS[settings.optimizer] / 4
    return (found.trained - found.embeddings) * share + found.embeddings * (2.0 if share else 0.0)


def new_rows(settings: TrainSettings, shape: "Shape") -> float:
    """Bytes of the rows of new pieces, which `count_passes` does not know: weights, gradients and moments."""
    if settings.vocabulary is None:
        return 0.0
    return 16.0 * settings.vocabulary.extend * shape.hidden * (1 if shape.tied else 2)


def accumulates(settings: TrainSettings, processes: int = 1) -> bool:
    """Whether a step of a process takes more than one micro-batch, so that gradients stand while one is computed."""
    micro = settings.micro_batch_tokens or settings.context
    return settings.batch_tokens / processes > micro


def on_gpu(config: RunConfig, shape: "Shape", batch: Batch, processes: int = 1) -> list[Need]:
    """Predict a GPU's peak, from the least that a run needs to what it takes where memory is plenty.

    What happens between the two, `activation_checkpointing: auto` and `dequantize: auto` decide by the GPU's memory.
    """
    settings = config.train
    assert settings is not None
    nf4 = config.model.quantization == "nf4"
    choice, held = settings.activation_checkpointing, config.model.dequantize
    kept = "4-bit weights stay packed" if nf4 else f"weights in {config.model.compute_dtype}"
    wanted: list[tuple[str, bool, bool]] = []
    if choice != "none":
        wanted.append((f"{kept}, every layer recomputed", nf4 and held != "cached", True))
    if choice != "full":
        if held != "cached" or not nf4:
            wanted.append((f"{kept}, no layer recomputed", nf4, False))
        if nf4 and held != "never":
            wanted.append(("weights dequantised once, no layer recomputed", False, False))
    needs = []
    for what, packed, recomputed in wanted:
        [found] = count_passes(config, [batch], True, packed, recomputed, shape.layers)
        needs.append(_gpu_need(config, shape, processes, what, found))
        if processes > 1 and len(needs) == 1:
            shared = replace(
                found, frozen=round(found.frozen - found.layers * _saved_share(shape, processes))
            )
            name = f"{what}, layers shared out over {processes} (FSDP2)"
            needs.insert(0, _gpu_need(config, shape, processes, name, shared))
    return needs


def _saved_share(shape: "Shape", processes: int) -> float:
    """Share of the layers' bytes that FSDP2 saves: all but its own part, and two layers that stand gathered."""
    return max(0.0, 1 - 1 / processes - 2 / shape.layers)


def _gpu_need(config: RunConfig, shape: "Shape", processes: int, what: str, found: Pass) -> Need:
    settings = config.train
    assert settings is not None
    return Need(
        what=what,
        weights=float(found.frozen),
        trained=found.trained + moments(settings, found) + new_rows(settings, shape),
        working=float(found.again if accumulates(settings, processes) else found.first),
        data=0.0,
        process=CUDA_CONTEXT,
    )
