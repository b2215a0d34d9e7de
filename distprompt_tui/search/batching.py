"""What a search does about a device without memory and a model that gives no numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")

GROW_AFTER = 64
"""Batches that fit before one of twice the size is tried again, where one did not fit before."""

_OUT_OF_MEMORY = ("MPS backend out of memory", "DefaultCPUAllocator: ")
"""How the errors begin, or what they contain, of devices that have no type of error for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device had no room: CUDA says so by a type, the others in a RuntimeError's text."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


class AdaptiveBatchSize:
    """How many prompts run at once: halved when memory runs out, remembered, and grown back.

    Attributes:
        size: prompts at once.
        successes: batches of this size that memory was enough for.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self.size = largest
        self.successes = 0

    def run(self, count: int, measure: Callable[[slice], Result], most: int | None = None) -> list[Result]:
        """Measure `count` prompts, so many at once as fit.

        Args:
            count: of the prompts.
            measure: is handed the rows to do; those that did not fit, it is handed again in smaller parts.
            most: prompts at once, whatever would fit; None for no such limit.

        Raises:
            RuntimeError: one prompt alone does not fit.
        """
        parts: list[Result] = []
        done = 0
        while done < count:
            rows = slice(done, min(done + min(self.size, most or self.size), count))
            try:
                parts.append(measure(rows))
            except RuntimeError as error:
                if rows.stop - rows.start == 1 or not is_out_of_memory(error):
                    raise
                self.size, self.successes = (rows.stop - rows.start + 1) // 2, 0
                continue
            done = rows.stop
            self._grow()
        return parts

    def _grow(self) -> None:
        """Count a batch that fitted; after enough of them, try larger ones again."""
        self.successes += 1
        if self.size < self._largest and self.successes >= GROW_AFTER:
            self.size, self.successes = min(2 * self.size, self._largest), 0


class NonFiniteWarnings:
    """Counts the prompts for which a model gave no number, and tells of them ever more seldom.

    Args:
        warn: told at the first, and whenever there are twice as many.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._count = 0

    def add(self, count: int, what: str) -> None:
        """So many more; `what` says what was done about them."""
        before, self._count = self._count, self._count + count
        if self._count.bit_length() > before.bit_length():
            self._warn(f"the model gave no finite divergence, {self._count} times so far: {what}")
