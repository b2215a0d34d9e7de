"""Serialises keys, so that a burst of keys has the same effect as the same keys one by one.

Textual sends a key to the focused widget as soon as it arrives, even if the previous key's effect is still in the
message queues: of `/banana`, the first letters would go to the table.
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

ROUNDS = 4  # the longest chain of a key: its action, the field's message, the row's message, the focus

PATIENCE_SECONDS = 2.0  # maximum wait of the next key if a screen is busy


class KeyQueue:
    """Passes each key on after the effects of the previous one."""

    def __init__(self, app: App[int], let_through: Callable[[Key], object]) -> None:
        self._app = app
        self._let_through = let_through
        self._keys: deque[Key] = deque()
        self._answering: asyncio.Task[None] | None = None

    def enqueue(self, key: Key) -> None:
        """Pass a key on now if no other is in progress, else queue it."""
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
        """Pass on one key, or all queued letters of a text field, which do not move the focus."""
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
