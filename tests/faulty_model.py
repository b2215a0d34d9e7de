"""A model that runs out of memory, or that gives no numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

ERRORS = {
    "cuda": "CUDA out of memory. Tried to allocate 2.00 GiB.",
    "mps": "MPS backend out of memory (MPS allocated: 17.77 GB, other allocations: 1.14 GB, max allowed: 18.13 GB).",
    "cpu": "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ...",
}
"""What torch says where the memory is short, by device."""


@dataclass
class FaultyModel:
    """What happens to a model's logits.

    Attributes:
        fits: more prompts than this at once are too many for its memory.
        device: whose error that is.
        healthy: forward passes that go well in any case.
        every: of those after them, which give no numbers: 1 for all.
        value: what they give instead.
    """

    fits: int = 1 << 30
    device: str = "cuda"
    healthy: int = 0
    every: int = 0
    value: float = float("nan")
    passes: int = 0

    def around(self, logits: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """`LanguageModel._logits`, as frail as that."""
        import torch

        def frail(model: Any, embeds: Tensor, *behind: Any) -> Tensor:
            if len(embeds) > self.fits:
                raise (torch.OutOfMemoryError if self.device == "cuda" else RuntimeError)(ERRORS[self.device])
            self.passes += 1
            found = logits(model, embeds, *behind)
            late = self.passes - self.healthy
            return found * self.value if self.every and late > 0 and late % self.every == 0 else found

        return frail
