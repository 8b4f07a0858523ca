"""How many layers compute their activations again: as few as the memory of the GPU asks for.

Measured before the first step, on the micro-batch with the most learnt tokens: the peak with every layer recomputed,
and what one layer keeps for its backward pass. Each layer that need not be recomputed saves a third of its time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import torch
from torch import Tensor

from anukul.config import TrainSettings
from anukul.model.adapter import trainable_parameters
from anukul.model.loaded import Loaded, hidden_states
from anukul.model.recompute import decoder_layers, recompute
from anukul.progress import say
from anukul.train.distributed import ALONE, Processes
from anukul.train.loss import token_losses
from anukul.train.packing import Batch

# Left free: what the allocator loses between blocks of different sizes, and what the driver takes for kernels.
RESERVE = 0.06
# bytes per trained weight that come only with the first update: two moments, by optimizer
MOMENTS = {"adamw": 8.0, "adamw_8bit": 2.1, "paged_adamw_8bit": 0.0}


def fit_activations(
    loaded: Loaded, settings: TrainSettings, batch: Batch, processes: Processes = ALONE
) -> None:
    """Set which layers are recomputed, as `train.activation_checkpointing` asks; nothing else of the model changes.

    `auto` on a CPU recomputes none: what a CPU lacks is time. `batch` is the largest micro-batch of the stage.
    """
    choice = settings.activation_checkpointing
    if choice == "auto" and loaded.device.type != "cuda":
        choice = "none"
    if choice == "none":
        return
    layers = len(decoder_layers(loaded))
    recompute(loaded, layers)
    if choice == "full":
        return
    with untouched(loaded):
        peak = _peak(loaded, batch)
        kept = bytes_kept_by_a_layer(loaded, batch.to(loaded.device))
    weights = sum(parameter.numel() for parameter in trainable_parameters(loaded).values())
    whole = torch.cuda.get_device_properties(loaded.device).total_memory
    others = whole - torch.cuda.mem_get_info(loaded.device)[0] - torch.cuda.memory_reserved(loaded.device)
    free = whole * (1 - RESERVE) - others - peak - weights * MOMENTS[settings.optimizer]
    count = max(processes.every(layers_to_recompute(layers, kept, free)))
    recompute(loaded, count)
    say(
        f"  memory: {count} of {layers} layers compute their activations again: a layer keeps {kept / 2**20:,.0f} MiB, "
        f"{max(0.0, free) / 2**30:.1f} of {whole / 2**30:.1f} GiB were free with all of them recomputed"
    )


def layers_to_recompute(layers: int, kept: int, free: float) -> int:
    """Return how many of `layers` must be recomputed where each of the others takes `kept` of `free` bytes."""
    return min(layers, max(0, ceil(layers - free / max(1, kept))))


def bytes_kept_by_a_layer(loaded: Loaded, batch: Batch) -> int:
    """Return the bytes that one layer holds from forward to backward beyond what it holds when it is recomputed."""
    layers = len(decoder_layers(loaded))
    held = []
    for count in (layers, layers - 1):
        recompute(loaded, count)
        with _saved() as sizes, loaded.autocast():
            hidden_states(loaded, batch.ids, batch.positions, layout=batch.documents)
        held.append(sum(sizes.values()))
    recompute(loaded, layers)
    return held[1] - held[0]


@contextmanager
def _saved() -> Iterator[dict[int, int]]:
    """Count what is saved for the backward pass in the block: {address of a storage: its bytes}."""
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []  # an address must not be used twice while it is counted

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes
    alive.clear()


def _peak(loaded: Loaded, batch: Batch) -> int:
    """Return the peak bytes of a forward and backward pass, weights and gradients included."""
    torch.cuda.reset_peak_memory_stats(loaded.device)
    with loaded.autocast():
        loss = token_losses(loaded, batch.to(loaded.device)).mean()
    loss.backward()  # type: ignore[no-untyped-call]  # torch ships it without annotations
    return torch.cuda.max_memory_allocated(loaded.device)


@contextmanager
def untouched(loaded: Loaded) -> Iterator[None]:
    """Put the random state and the absence of gradients back after a trial pass."""
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
    for parameter in loaded.model.parameters():
        parameter.grad = None
