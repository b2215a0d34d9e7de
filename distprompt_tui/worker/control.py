"""Requests of viewers to a running search, read between steps and answered by events."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from distprompt_tui.core.errors import UsageError
from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import EventWriter, Tailer, decode_object
from distprompt_tui.runs.process import EditCommand

POLL_SECONDS = 0.05

LONGEST_SHOWN = 40  # characters of an unknown command, or of a request's id, in an answer


class Control:
    """Read the run's `control.jsonl` and answer each request by a `control` event with its `id`.

    Args:
        change: edits the prompt and returns the fields of the answer; raises a UsageError for an invalid request.
        offset: byte of the control file at which the requests to this worker start; earlier ones were sent to another
            worker. None is the present end of the file.
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
        self.stopping = True

    def asked_to_stop(self) -> bool:
        """Process new requests and return whether to stop."""
        self._process_commands()
        return self.stopping

    def wait_while_paused(self) -> float:
        """Process new requests, block while paused, and return the seconds spent paused."""
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
