"""Faster ways to run the same computation, with the plain way as a fallback."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from distprompt_tui.core.errors import first_line
from distprompt_tui.models.graph_capture import Capture, CapturedGraph, Outputs

Result = TypeVar("Result")

REPLAY_TOLERANCE = 2**-5
"""Largest difference between a replayed graph and a plain call, over the largest value. The order of atomic additions
changes low digits; a graph that reads a wrong buffer differs by the size of the values."""


class FastPath:
    """A faster way to compute something, which is switched off with one message after its first error."""

    def __init__(self, name: str, is_on: bool, warn: Callable[[str], None]) -> None:
        self.is_on = is_on
        self._name, self._warn = name, warn

    def run(self, fast: Callable[[], Result], plain: Callable[[], Result]) -> Result:
        """Return the result of `fast`, or of `plain` if this path is off or fails."""
        if self.is_on:
            try:
                return fast()
            except Exception as error:  # compilers and drivers raise anything
                self.is_on = False
                self._warn(f"continuing without {self._name}: {first_line(error)}")
        return plain()  # not in the handler, where the error keeps the tensors of the first attempt


class CapturedCalls:
    """Calls of a function of some rows of a tensor, captured once for each range of rows and then replayed."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._graphs: dict[tuple[int, int], tuple[Tensor, CapturedGraph]] = {}

    def run(self, rows: slice, function: Callable[[Tensor], Outputs], values: Tensor) -> Outputs:
        """Compute `function(values)`.

        The first call for a range of rows calls the function, captures it and compares the graph with the call. Graphs
        of overlapping ranges are dropped.

        Args:
            rows: of the values. Until `clear`, the same rows must come with the same function.
            function: reads no other tensors that change.
            values: (rows, ...).

        Raises:
            RuntimeError: the capture fails, or a replay gives other results than the function.
        """
        key = (rows.start, rows.stop)
        if key not in self._graphs:
            return self._first_outputs(key, function, values)
        buffer, graph = self._graphs[key]
        buffer.copy_(values)
        graph.replay()
        return tuple(output.clone() for output in graph.outputs)

    def clear(self) -> None:
        """Drop all graphs and their memory."""
        self._graphs.clear()

    def _first_outputs(self, key: tuple[int, int], function: Callable[[Tensor], Outputs], values: Tensor) -> Outputs:
        self._graphs = {other: kept for other, kept in self._graphs.items() if other[1] <= key[0] or key[1] <= other[0]}
        outputs = function(values)
        buffer = values.flip(-1)  # other values: a graph that does not read the buffer is found below
        graph = self._capture(lambda: function(buffer))
        buffer.copy_(values)
        graph.replay()
        if not all(map(_agree, graph.outputs, outputs)):
            raise RuntimeError("a replayed graph gives other results")
        self._graphs[key] = (buffer, graph)
        return outputs


def _agree(found: Tensor, expected: Tensor) -> bool:
    largest = float(expected.nan_to_num(0, 0, 0).abs().amax())
    return bool(torch.isclose(found, expected, rtol=0, atol=REPLAY_TOLERANCE * largest, equal_nan=True).all())
