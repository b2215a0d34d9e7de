"""Batch sizes that adapt to the device's memory, and warnings about non-finite divergences."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from distprompt_tui.models.device import is_out_of_memory

Result = TypeVar("Result")

GROW_AFTER = 64  # successful batches after which a reduced batch size is doubled


class AdaptiveBatchSize:
    """Number of prompts in a batch: halved when memory runs out, and doubled again after `GROW_AFTER` batches.

    `successes` counts the batches of the current `size`.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self.size = largest
        self.successes = 0

    def run(self, count: int, measure: Callable[[slice], Result], most: int | None = None) -> list[Result]:
        """Measure `count` prompts in batches of at most `most`.

        `measure` measures a slice of rows; if memory runs out, it is called again with smaller slices.

        Raises:
            RuntimeError: a batch of one prompt does not fit.
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
        self.successes += 1
        if self.size < self._largest and self.successes >= GROW_AFTER:
            self.size, self.successes = min(2 * self.size, self._largest), 0


class NonFiniteWarnings:
    """Count prompts with non-finite divergences; warn at the first and each time that their number has doubled."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._count = 0

    def add(self, count: int, what: str) -> None:
        before, self._count = self._count, self._count + count
        if self._count.bit_length() > before.bit_length():
            self._warn(f"non-finite divergence, {self._count} times so far: {what}")
