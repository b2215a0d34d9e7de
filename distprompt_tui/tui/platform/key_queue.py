"""Keys in turn: what comes as one burst, over a slow line or from a fast hand, does what the same keys do one by one.

Textual gives a key to the widget in focus as soon as it arrives, while what the key before it moves is still on its way
through the queues: of `/banana` the first letters would go to the table.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.widgets import Input

if TYPE_CHECKING:
    from textual.app import App
    from textual.events import Key
    from textual.message_pump import MessagePump

ROUNDS = 4
"""The longest way of a key: its action, the message of a field, the message of the row around it, the focus."""

PATIENCE_SECONDS = 2.0
"""The next key never waits longer, whatever a screen is busy with."""


class KeyQueue:
    """Lets a key through when the one before it has been answered."""

    def __init__(self, app: App[int], let_through: Callable[[Key], object]) -> None:
        self._app = app
        self._let_through = let_through
        self._keys: deque[Key] = deque()
        self._answering: asyncio.Task[None] | None = None

    def enqueue(self, key: Key) -> None:
        """Let a key through now if none is being answered, else in its turn."""
        self._keys.append(key)
        if self._answering is None or self._answering.done():
            self._let_next_through()
            self._answering = asyncio.create_task(self._answer())

    async def _answer(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._settled()
            if not self._keys:
                return
            self._let_next_through()

    def _let_next_through(self) -> None:
        """A key; of letters that are written into a field, all that have come: they move nothing else."""
        while True:
            key = self._keys.popleft()
            is_written = key.is_printable and isinstance(self._app.focused, Input)
            self._let_through(key)
            if not is_written or not self._keys or not self._keys[0].is_printable:
                return

    async def _settled(self) -> None:
        for _ in range(ROUNDS):
            for node in (self._app.focused or self._app.screen).ancestors_with_self:
                await _emptied(node)


async def _emptied(node: MessagePump) -> None:
    handled = asyncio.Event()
    if node.call_later(handled.set):
        await handled.wait()
