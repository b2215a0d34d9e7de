"""A capture for devices without graphs: the kernels of one call, which each replay repeats with the same numbers."""

from __future__ import annotations

from collections.abc import Callable

from torch.fx.experimental.proxy_tensor import make_fx

from distprompt_tui.models.graph_capture import CapturedGraph, Outputs


def traced(function: Callable[[], Outputs]) -> CapturedGraph:
    """Trace a call. As with a CUDA graph, Python code runs once only, and reading a result on the host is an error."""
    kernels = make_fx(function)()
    outputs = tuple(output.clone() for output in kernels())

    def replay() -> None:
        for output, new in zip(outputs, kernels(), strict=True):
            output.copy_(new)

    return CapturedGraph(outputs, replay)
