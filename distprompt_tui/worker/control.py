"""What viewers ask of a running search: read between steps, answered by events."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from distprompt_tui.errors import UsageError
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import Event, EventWriter, Tailer
from distprompt_tui.runs.process import Change

POLL_SECONDS = 0.05

LONGEST_SHOWN = 40
"""So many characters of a command that is not known, and of a request's id, stand in the answer to it."""


class Control:
    """Reads the run's `control.jsonl` and answers each request by a `control` event with its `id`.

    Args:
        run: whose control file is read.
        events: for the answers.
        change: does what is asked of the prompt and returns what the answer says, or refuses by a UsageError.
        offset: byte of the control file at which the requests to this worker begin; those before it were made to an
            earlier worker. None: its present end.
    """

    def __init__(
        self,
        run: RunDirectory,
        events: EventWriter,
        change: Callable[[Event], dict[str, Any]],
        offset: int | None = None,
    ) -> None:
        self._tailer = Tailer(run.control, offset or 0)
        if offset is None:
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
            command, answer = request.get("command"), partial(self._events.write, "control", **_id_of(request))
            if command == "stop":
                self.stopping = True
                answer(command=command, outcome="stopping")
            elif command in ("pause", "resume"):
                self._paused = command == "pause"
                answer(command=command, outcome="paused" if self._paused else "resumed")
            elif command in get_args(Change):
                answer(command=command, **self._answer(request))
            else:
                shown = command[:LONGEST_SHOWN] if isinstance(command, str) else type(command).__name__
                answer(command=shown, outcome="unknown")

    def _answer(self, request: Event) -> dict[str, Any]:
        try:
            return self._change(request)
        except UsageError as error:
            return {"outcome": "refused", "why": str(error)}


def _id_of(request: Event) -> dict[str, str]:
    """The field that says which request is answered; none where the request has no id."""
    value = request.get("id")
    return {"id": value[:LONGEST_SHOWN]} if isinstance(value, str) else {}
