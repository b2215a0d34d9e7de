"""What a person asks of a running search, and whether it has been answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from distprompt_tui.tui.background import in_thread
from distprompt_tui.tui.follow import RunView

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.runs.process import Change


class RunControl:
    """Sends commands to one run's worker and remembers the one that is on its way."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._wanted = ""
        self._asked_at = 0.0
        self._asked_in_phase = ""
        self._answers_before = 0

    @property
    def pending(self) -> str:
        """`pausing…`, `resuming…`, `stopping… (2 s)`; empty where nothing is on its way."""
        if not self._wanted:
            return ""
        seconds = int(time.monotonic() - self._asked_at)
        return f"{self._wanted}… ({seconds} s)" if seconds else f"{self._wanted}…"

    def toggle_pause(self, view: RunView) -> None:
        """Ask for a pause, or for the search to go on."""
        from distprompt_tui.runs.process import send

        resume = view.state.phase == "paused" or self._wanted == "pausing"
        self._ask("resuming" if resume else "pausing", view)
        send(self.run, "resume" if resume else "pause")

    def change(self, view: RunView, command: Change, **fields: int) -> None:
        """Ask for another prompt; the fields are those of the command."""
        from distprompt_tui.runs.process import send

        self._ask("changing", view)
        send(self.run, command, **fields)

    async def stop(self, view: RunView) -> bool:
        """End the search, by force where asking does not help. Returns whether asking did."""
        from distprompt_tui.runs.process import stop

        self._ask("stopping", view)
        try:
            return await in_thread(stop, self.run, step_seconds=view.state.seconds_per_step)
        finally:
            self._wanted = ""

    def settle(self, view: RunView) -> None:
        """Forget a command that the run has answered."""
        if self._wanted == "changing" and view.state.changes_answered > self._answers_before:
            self._wanted = ""
        if self._wanted and self._wanted != "stopping" and view.state.phase != self._asked_in_phase:
            self._wanted = ""
        if not view.is_live:
            self._wanted = ""

    def _ask(self, wanted: str, view: RunView) -> None:
        self._wanted, self._asked_at, self._asked_in_phase = wanted, time.monotonic(), view.state.phase
        self._answers_before = view.state.changes_answered
