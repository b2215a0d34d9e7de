"""Repeated reading in the background, one read at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Poller(Generic[Value]):
    """Reads a value and shows it. `read` must not block; a poll during another one starts no second read."""

    def __init__(self, read: Callable[[], Awaitable[Value]], show: Callable[[Value], object]) -> None:
        self._read = read
        self._show = show
        self._is_reading = False
        self._read_again = False

    async def poll(self, *, again: bool = False) -> None:
        """Read and show. With `again`, if a read is in progress, read once more after it, for later changes."""
        if self._is_reading:
            self._read_again = self._read_again or again
            return
        self._is_reading = True
        try:
            value = await self._read()
        finally:
            self._is_reading = False
        self._show(value)
        if self._read_again:
            self._read_again = False
            await self.poll(again=True)
