"""A base that does not fit on one GPU: the frozen weights of its layers shared out over the processes (FSDP2).

Each process holds its part of every decoder layer; a layer's weights are gathered before it computes, forward and
backward, and freed after. Only frozen weights are shared out: embeddings, output head and all that is trained stay
whole everywhere, so that optimizer, checkpoints, audit and ledger need not know.
"""

from typing import Any

import torch
from torch import Tensor, nn

from anukul.model.loaded import Loaded, hidden_states
from anukul.model.recompute import decoder_layers


def make_mesh(device: torch.device) -> Any:
    """Return the mesh of all processes of the default group; every one of them must call this."""
    from torch.distributed import get_world_size
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(device.type, (get_world_size(),))


def shard(loaded: Loaded, mesh: Any, device: torch.device) -> None:
    """Share the decoder's frozen weights out over the processes of `mesh`, and move everything to `device`.

    The adapter must be attached. A layer is moved to the device and cut before the next one, so that the device never
    holds more than its parts and one layer.
    """
    from torch.distributed.fsdp import fully_shard

    decoder = loaded.causal_lm.get_decoder()
    layers = decoder_layers(loaded)
    for layer in layers:
        _as_floats(layer)
    inside = {p for layer in layers for p in layer.parameters() if not p.requires_grad}
    whole = {p for p in loaded.model.parameters() if p not in inside}
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    # the decoder itself has nothing to share out; it is the root that lets layers be gathered ahead of their turn
    fully_shard(decoder, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    for tensor in [*whole, *loaded.model.buffers()]:
        tensor.data = tensor.data.to(device)
    loaded.device = device


@torch.no_grad()
def gather_once(loaded: Loaded) -> None:
    """Let every layer gather its weights once, before anything else does; every process must call this.

    FSDP2 keeps the tensors that it gathers into. Were they first made in inference mode, where texts are scored, no
    training step could write to them.
    """
    hidden_states(loaded, torch.full((1, 1), loaded.prefix_id, device=loaded.device))


def own_part(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds; the whole where it is not shared out."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _as_floats(layer: nn.Module) -> None:
    """Turn packed 4-bit weights into plain parameters of a floating type, which FSDP2 can cut; the bytes stay.

    bitsandbytes finds the state that belongs to them (scales, one 32nd of the bytes) in the layer, where it stays
    whole.
    """
    import bitsandbytes as bnb

    for module in layer.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            weight = module.weight
            module.quant_state = weight.quant_state
            module.quant_storage = torch.bfloat16
            floats = weight.data.flatten().view(torch.bfloat16).unsqueeze(1)
            module.weight = nn.Parameter(floats, requires_grad=False)
