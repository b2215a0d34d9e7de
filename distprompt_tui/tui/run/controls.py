"""Requests to a running search, and whether the worker has answered them."""

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


class RunControl:
    """Sends requests to one run's worker and stores the unanswered ones."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._pending: dict[str, tuple[str, float]] = {}
        """Request id → label, and time of the request."""
        self._stopping_since: float | None = None
        self._acknowledged_at: float | None = None
        self._force = threading.Event()
        self._send_lock = asyncio.Lock()

    @property
    def pending(self) -> str:
        """Return `pausing…`, `resuming…`, `stopping… (2 s)`; empty without a pending request."""
        if self.is_stopping:
            word, since = "stopping", time.monotonic() - self._seconds_stopping
        elif self._pending:
            word, since = list(self._pending.values())[-1]
        else:
            return ""
        seconds = int(time.monotonic() - since)
        return f"{word}… ({seconds} s)" if seconds else f"{word}…"

    @property
    def is_stopping(self) -> bool:
        """Whether a stop is pending, requested here or by another viewer."""
        return self._stopping_since is not None or self._acknowledged_at is not None

    @property
    def stops_slowly(self) -> bool:
        """Whether a stop has been pending for so long that the user may want to kill the worker."""
        from distprompt_tui.runs.process import SLOW_STOP_SECONDS

        return self.is_stopping and self._seconds_stopping > SLOW_STOP_SECONDS

    @property
    def _seconds_stopping(self) -> float:
        if self._stopping_since is not None:
            return time.monotonic() - self._stopping_since
        return max(time.time() - self._acknowledged_at, 0.0) if self._acknowledged_at is not None else 0.0

    def toggle_pause(self, view: RunView) -> Awaitable[None]:
        """Request a pause, or resume: the opposite of the last request.

        Returns:
            An awaitable that sends the request; it raises UsageError if the request cannot be written.
        """
        asked = [word for word, _ in self._pending.values() if word in ("pausing", "resuming")]
        resume = asked[-1] == "pausing" if asked else view.state.phase == "paused"
        return self._ask("resuming", "resume") if resume else self._ask("pausing", "pause")

    def change(self, command: Command, request: str, **fields: int) -> Awaitable[None]:
        """Return an awaitable that requests a change of the prompt; `fields` belong to the command."""
        return self._ask("changing", command, request, **fields)

    async def stop(self) -> bool:
        """Stop the search. Return whether it ended without being killed.

        Raises:
            UsageError: the search belongs to another user.
        """
        from distprompt_tui.runs.process import stop

        self._stopping_since = time.monotonic()
        try:
            return await in_thread(stop, self.run, force=self._force)
        finally:
            self._stopping_since = None
            self._force.clear()

    def kill(self) -> None:
        """End the wait of a pending stop; without one, of the next."""
        self._force.set()

    def acknowledge(self, view: RunView) -> None:
        """Drop requests that the run has answered, or can no longer answer; note the stop that it acknowledged."""
        self._acknowledged_at = view.state.stopping_at if view.is_live else None
        for request in list(self._pending):
            if request in view.state.answered or not view.is_live:
                del self._pending[request]

    def _ask(self, word: str, command: Command, request: str = "", **fields: int) -> Awaitable[None]:
        from distprompt_tui.runs.process import new_request_id

        request = request or new_request_id()
        self._pending[request] = (word, time.monotonic())
        return self._send(request, command, **fields)

    async def _send(self, request: str, command: Command, **fields: int) -> None:
        from distprompt_tui.runs.process import send

        try:
            async with self._send_lock:  # keeps the order of requests
                await in_thread(send, self.run, command, request, **fields)
        except BaseException:
            self._pending.pop(request, None)
            raise
