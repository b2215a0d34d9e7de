"""What viewers ask of a running search: read between steps, answered by events."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from distprompt_tui.errors import UsageError
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import EventWriter, Tailer, decode_object
from distprompt_tui.runs.process import EditCommand

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
        change: Callable[[dict[str, Any]], dict[str, Any]],
        offset: int | None = None,
    ) -> None:
        self._tailer = Tailer(run.control, decode_object, offset or 0)
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
        self._process_commands()
        return self.stopping

    def wait_while_paused(self) -> float:
        """Obey what was asked since the last call; block while paused.

        Returns:
            Seconds spent paused.
        """
        began = time.monotonic()
        self._process_commands()
        if not self._paused:
            return 0.0
        while self._paused and not self.stopping:
            time.sleep(POLL_SECONDS)
            self._process_commands()
        return time.monotonic() - began

    def _process_commands(self) -> None:
        for request in self._tailer.read():
            self._events.write(self._apply_edit(request))

    def _apply_edit(self, request: dict[str, Any]) -> schema.Control:
        command: Any = request.get("command")
        request_id = request.get("id")
        answer = partial(schema.Control, id=request_id[:LONGEST_SHOWN] if isinstance(request_id, str) else None)
        if command == "stop":
            self.stopping = True
            return answer(command, "stopping")
        if command in ("pause", "resume"):
            self._paused = command == "pause"
            return answer(command, "paused" if self._paused else "resumed")
        if command not in get_args(EditCommand):
            return answer(command[:LONGEST_SHOWN] if isinstance(command, str) else type(command).__name__, "unknown")
        try:
            return answer(command, **self._change(request))
        except UsageError as error:
            return answer(command, "refused", why=str(error))
