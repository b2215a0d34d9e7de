"""Capture of device work as a graph: the host starts all its kernels by one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class CapturedGraph:
    """The device work of one call of a function. Its tensors keep their addresses, its Python numbers their values.

    Attributes:
        outputs: the function's results; each replay overwrites them.
        replay: repeats the work.
    """

    outputs: Outputs
    replay: Callable[[], None]


Capture = Callable[[Callable[[], Outputs]], CapturedGraph]


def capture_for(device: torch.device) -> Capture | None:
    """Return the function that captures work of a device, None for devices without graphs."""
    return partial(_capture_on_cuda, device) if device.type == "cuda" else None


def _capture_on_cuda(device: torch.device, function: Callable[[], Outputs]) -> CapturedGraph:
    """Capture a CUDA graph.

    Raises:
        RuntimeError: the function synchronises with the host, or memory is short.
    """
    graph, stream, current = torch.cuda.CUDAGraph(), _capture_stream(device), torch.cuda.current_stream(device)
    # `torch.cuda.graph` does not leave its stream if the capture fails; the outer context does.
    with torch.cuda.device(device), torch.cuda.stream(stream):
        stream.wait_stream(current)
        function()  # libraries allocate their workspaces for this stream
        # The thread that computes bounds may allocate memory during the capture, which "global" forbids.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            outputs = function()
    current.wait_stream(stream)
    return CapturedGraph(outputs, graph.replay)


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """Create a stream for all captures, because each stream has its own workspaces."""
    return torch.cuda.Stream(device)
