"""Transfers between host and device for which neither waits unless it must."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

HOST = torch.device("cpu")


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to a device without waiting for the work that is queued there.

    CUDA copies pageable memory to a staging buffer before the call returns. MPS may read it later, so it waits there.
    """
    return tensor.to(device, non_blocking=device.type != "mps")


class Readback:
    """Results that are copied to the CPU together, since the host waits for the device once in each copy."""

    def __init__(self) -> None:
        self._pending: list[_Requested] = []

    def request(self, result: Tensor) -> Callable[[], Tensor]:
        """Add a result of any shape to the next copy; return a function that returns the copy, and makes it if due."""
        requested = _Requested(result)
        self._pending.append(requested)

        def value() -> Tensor:
            if requested.copy is None:
                self._copy()
            assert requested.copy is not None
            return requested.copy

        return value

    def read(self, result: Tensor) -> Tensor:
        """Copy a result, and all that are requested, to the CPU; return the copy of the first."""
        return self.request(result)()

    def _copy(self) -> None:
        copies = together([requested.result for requested in self._pending])
        for requested, copy in zip(self._pending, copies, strict=True):
            requested.copy = copy
        self._pending = []


@dataclass
class _Requested:
    result: Tensor
    copy: Tensor | None = None


def together(results: list[Tensor]) -> list[Tensor]:
    """Copy results of one device to the CPU in one transfer. Those of the CPU are returned as they are."""
    if all(result.device == HOST for result in results):
        return results
    if len(results) == 1:
        return [results[0].cpu()]
    parts = [result.contiguous().view(-1).view(torch.uint8) for result in results]
    copies = torch.cat(parts).cpu().split([len(part) for part in parts])
    return [copy.clone().view(result.dtype).view(result.shape) for copy, result in zip(copies, results, strict=True)]
