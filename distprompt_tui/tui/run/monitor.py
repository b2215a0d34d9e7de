"""Following a run: its files become one frozen view, read in a thread at the pace of the interface."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.log import read_log
from distprompt_tui.runs.reducer import reduce_all
from distprompt_tui.runs.state import RunState
from distprompt_tui.runs.summary import RunLabel, read_spec_fields, title_of

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory

SILENT_AFTER_SECONDS = 15
"""A worker touches its heartbeat several times in this time; later, a viewer says that it hears nothing."""

Health = Literal["alive", "silent", "crashed", "ended"]


@dataclass(frozen=True)
class RunView:
    """A run at one moment, as the live screen shows it.

    Attributes:
        title: from the spec.
        state: what the events add up to.
        health: `crashed` is a run that has not ended and that no worker holds.
        silent_seconds: since the last sign of life of a silent worker, whole seconds.
        log_tail: last lines of the worker's output, for a run that crashed.
    """

    title: RunLabel = field(default_factory=RunLabel)
    state: RunState = field(default_factory=RunState)
    health: Health = "alive"
    silent_seconds: int | None = None
    log_tail: tuple[str, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether a worker is at work on it."""
        return self.health in ("alive", "silent")


class RunMonitor:
    """Reads one run's directory. Each `poll` blocks on files only: call it in a thread, one at a time."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.recording = EventLogReader(run.events)
        self._state = RunState()
        self._title: RunLabel | None = None
        self._signs: tuple[float, ...] = ()
        self._heard_at = 0.0

    @property
    def has_read(self) -> bool:
        return self._title is not None

    def poll(self) -> RunView:
        from distprompt_tui.runs.process import worker_pid

        if self._title is None:
            self._title = title_of(read_spec_fields(self.run.spec_file), self.run.name)
        # Before the events: a worker that ends in between has written its `ended` first.
        alive = worker_pid(self.run) is not None
        self._state = reduce_all(self.recording.read(), self._state)
        view = partial(RunView, self._title, self._state)
        if self._state.phase == "ended":
            return view("ended")
        if not alive:
            return view("crashed", log_tail=tuple(read_log(self.run.log)[-8:]))
        silent = int(self._seconds_since_a_sign())
        if silent > SILENT_AFTER_SECONDS and self._state.phase != "paused":
            return view("silent", silent_seconds=silent)
        return view("alive")

    def _seconds_since_a_sign(self) -> float:
        """How long the worker has been silent. Somebody may set the clock: only at first sight is it asked."""
        signs = [self._state.updated_at or 0.0]
        for path in (self.run.heartbeat, self.run.lock):
            try:
                signs.append(path.stat().st_mtime)
            except OSError:
                continue
        now = time.monotonic()
        if tuple(signs) != self._signs:
            self._heard_at = now if self._signs else now - max(time.time() - max(signs), 0.0)
            self._signs = tuple(signs)
        return now - self._heard_at
