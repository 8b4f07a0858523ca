"""Count the bytes of all tensors that live, while code runs on tensors without content."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch ships it without annotations
    """Counts every storage that is made in the block, from its first tensor to its last."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0  # bytes now
        self.peak = 0  # bytes at most, since it was last set
        self.lost = 0.0  # share of a block up to `mapped` bytes that the allocator loses beside it
        self.mapped = 0
        self._held: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation and count what it makes."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._held:
            return
        if size <= self.mapped:
            size += round(self.lost * size)
        self._held[key] = weakref.ref(storage, self._gone(key, size))
        self.live += size
        self.peak = max(self.peak, self.live)

    def _gone(self, key: int, size: int) -> Callable[[object], None]:
        def gone(_: object) -> None:
            del self._held[key]
            self.live -= size

        return gone

    def restart(self) -> int:
        """Let the peak begin anew at what lives now, and return that."""
        self.peak = self.live
        return self.live
