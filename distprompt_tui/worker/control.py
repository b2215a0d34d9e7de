"""What viewers ask of a running search: read between steps, answered by events."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, get_args

from distprompt_tui.errors import UsageError
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import Event, EventWriter, Tailer
from distprompt_tui.runs.process import Change

POLL_SECONDS = 0.05

LONGEST_SHOWN = 40
"""So many characters of a command that is not known stand in the answer to it."""


class Control:
    """Reads the run's `control.jsonl`. What was asked before this worker started is not its business.

    Args:
        run: whose control file is read.
        events: for the answers.
        change: does what is asked of the prompt and returns what the answer says, or refuses by a UsageError.
    """

    def __init__(self, run: RunDirectory, events: EventWriter, change: Callable[[Event], dict[str, Any]]) -> None:
        self._tailer = Tailer(run.control)
        self._tailer.read()
        self._events = events
        self._change = change
        self._paused = False
        self.stopping = False

    def request_stop(self) -> None:
        """Stop at the next chance; for signal handlers."""
        self.stopping = True

    def asked_to_stop(self) -> bool:
        """Obey what was asked since the last call; whether it is time to end."""
        self._obey()
        return self.stopping

    def wait_while_paused(self) -> float:
        """Obey what was asked since the last call; block while paused.

        Returns:
            Seconds spent paused.
        """
        began = time.monotonic()
        self._obey()
        if not self._paused:
            return 0.0
        while self._paused and not self.stopping:
            time.sleep(POLL_SECONDS)
            self._obey()
        return time.monotonic() - began

    def _obey(self) -> None:
        for request in self._tailer.read():
            command = request.get("command")
            if command == "stop":
                self.stopping = True
                self._events.write("control", command=command, outcome="stopping")
            elif command in ("pause", "resume"):
                self._paused = command == "pause"
                self._events.write("control", command=command, outcome="paused" if self._paused else "resumed")
            elif command in get_args(Change):
                self._events.write("control", command=command, **self._answer(request))
            else:
                shown = command[:LONGEST_SHOWN] if isinstance(command, str) else type(command).__name__
                self._events.write("control", command=shown, outcome="unknown")

    def _answer(self, request: Event) -> dict[str, Any]:
        try:
            return self._change(request)
        except UsageError as error:
            return {"outcome": "refused", "why": str(error)}
