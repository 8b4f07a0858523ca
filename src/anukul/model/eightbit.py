"""AdamW whose moments are held in 8 bits, through bitsandbytes (arXiv 2110.02861)."""

from typing import Any

import torch


def adamw_8bit(
    groups: list[dict[str, Any]],
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    paged: bool,
) -> torch.optim.Optimizer:
    """Moments in 8-bit blocks of 256; a group with `wide: True` keeps them in 32 bits.

    `paged` lets the driver move the moments to the host when the GPU's memory is short; a CPU has nothing to page.
    """
    import bitsandbytes as bnb

    class AdamW8bit(bnb.optim.AdamW8bit):  # type: ignore[misc]  # bitsandbytes has no annotations
        """The stock one, with a word on its precision for each group instead of for all processes."""

        def get_config(self, group_index: int, index: int, group: dict[str, Any]) -> dict[str, Any]:
            config: dict[str, Any] = super().get_config(group_index, index, group)
            return {**config, "optim_bits": 32} if group["wide"] else config

        def load_state_dict(self, state_dict: dict[str, Any], move_to_device: bool = True) -> None:
            """Put loaded moments back into pages: the stock method would leave them on the GPU for good."""
            super().load_state_dict(state_dict, move_to_device)
            if not self.is_paged:
                return
            for parameter, state in self.state.items():
                for name in ("state1", "state2"):
                    buffer = self.get_state_buffer(parameter, dtype=state[name].dtype)
                    state[name] = buffer.copy_(state[name])

    optimizer: torch.optim.Optimizer = AdamW8bit(
        groups, lr=learning_rate, betas=betas, weight_decay=weight_decay, is_paged=paged
    )
    return optimizer
