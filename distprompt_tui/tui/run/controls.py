"""What a person asks of a running search, and whether it has been answered."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.run.monitor import RunView

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.runs.process import Command

_SLOW_STOP_SECONDS = 2.0
"""After so long a stop, the screen offers to kill the worker."""


class RunControl:
    """Sends requests to one run's worker and remembers those that it has not answered."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._pending: dict[str, tuple[str, float]] = {}
        """By the request's id: what is going on, and since when."""
        self._stopping_since: float | None = None
        self._force = threading.Event()
        self._send_lock = asyncio.Lock()

    @property
    def pending(self) -> str:
        """`pausing…`, `resuming…`, `stopping… (2 s)`; empty where nothing is on its way."""
        if self._stopping_since is not None:
            word, since = "stopping", self._stopping_since
        elif self._pending:
            word, since = list(self._pending.values())[-1]
        else:
            return ""
        seconds = int(time.monotonic() - since)
        return f"{word}… ({seconds} s)" if seconds else f"{word}…"

    @property
    def is_stopping(self) -> bool:
        return self._stopping_since is not None

    @property
    def stops_slowly(self) -> bool:
        """Whether a stop has been on its way for so long that somebody may want to kill the worker."""
        return self._stopping_since is not None and time.monotonic() - self._stopping_since > _SLOW_STOP_SECONDS

    def toggle_pause(self, view: RunView) -> Awaitable[None]:
        """Ask for a pause, or for the search to go on: the opposite of what was asked last.

        Returns:
            What sends the request; a UsageError where it cannot be written.
        """
        asked = [word for word, _ in self._pending.values() if word in ("pausing", "resuming")]
        resume = asked[-1] == "pausing" if asked else view.state.phase == "paused"
        return self._ask("resuming", "resume") if resume else self._ask("pausing", "pause")

    def change(self, command: Command, **fields: int) -> Awaitable[None]:
        """Ask for another prompt; the fields are those of the command. Returns what sends the request."""
        return self._ask("changing", command, **fields)

    async def stop(self) -> bool:
        """End the search. Returns whether it ended without being killed.

        Raises:
            UsageError: it is another user's.
        """
        from distprompt_tui.runs.process import stop

        self._stopping_since = time.monotonic()
        self._force.clear()
        try:
            return await in_thread(stop, self.run, force=self._force)
        finally:
            self._stopping_since = None

    def kill(self) -> None:
        """Let a stop that is on its way wait no longer."""
        self._force.set()

    def acknowledge(self, view: RunView) -> None:
        """Drop the requests that the run has answered, or cannot answer any more."""
        for request in list(self._pending):
            if request in view.state.answered or not view.is_live:
                del self._pending[request]

    def _ask(self, word: str, command: Command, **fields: int) -> Awaitable[None]:
        from distprompt_tui.runs.process import new_request_id

        request = new_request_id()
        self._pending[request] = (word, time.monotonic())
        return self._send(request, command, **fields)

    async def _send(self, request: str, command: Command, **fields: int) -> None:
        from distprompt_tui.runs.process import send

        try:
            async with self._send_lock:  # in the order in which they were asked
                await in_thread(send, self.run, command, request, **fields)
        except BaseException:
            self._pending.pop(request, None)
            raise
