"""Follows a run: reads its files, in a thread, into one frozen view."""

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
from distprompt_tui.tui.run.configuration import Settings, settings_of

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory

SILENT_AFTER_SECONDS = 15
"""A worker touches its heartbeat several times in this interval; after it, viewers show a warning."""

Health = Literal["alive", "silent", "crashed", "ended"]


@dataclass(frozen=True)
class RunView:
    """A run at one time, for its screen.

    Attributes:
        health: `crashed`: the run has not ended and no worker holds its lock.
        silent_seconds: whole seconds since a silent worker's last heartbeat.
        stage_seconds: whole seconds since the start of the stage in `state.progress`; None without one.
        log_tail: last lines of the worker's output, for a crashed run.
        settings: of the run's spec.
    """

    title: RunLabel = field(default_factory=RunLabel)
    state: RunState = field(default_factory=RunState)
    health: Health = "alive"
    silent_seconds: int | None = None
    log_tail: tuple[str, ...] = ()
    settings: Settings = ()
    stage_seconds: int | None = None

    @property
    def is_live(self) -> bool:
        return self.health in ("alive", "silent")


class RunMonitor:
    """Reads one run's directory. `poll` blocks on files: call it in a thread, one call at a time."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.recording = EventLogReader(run.events)
        self._state = RunState()
        self._title: RunLabel | None = None
        self._settings: Settings = ()
        self._signs: tuple[float, ...] = ()
        self._heard_at = 0.0
        self._stage: str | None = None
        self._stage_since = 0.0

    @property
    def has_read(self) -> bool:
        return self._title is not None

    def poll(self) -> RunView:
        from distprompt_tui.runs.process import worker_pid

        if self._title is None:
            spec = read_spec_fields(self.run.spec_file)
            self._title, self._settings = title_of(spec, self.run.name), settings_of(spec)
        # Before the events: a worker that ends in between writes `ended` first.
        alive = worker_pid(self.run) is not None
        self._state = reduce_all(self.recording.read(), self._state)
        view = partial(RunView, self._title, self._state, settings=self._settings, stage_seconds=self._stage_seconds())
        if self._state.phase == "ended":
            return view("ended")
        if not alive:
            return view("crashed", log_tail=tuple(read_log(self.run.log)[-8:]))
        silent = int(self._seconds_since_a_sign())
        if silent > SILENT_AFTER_SECONDS and self._state.phase != "paused":
            return view("silent", silent_seconds=silent)
        return view("alive")

    def _stage_seconds(self) -> int | None:
        progress, now = self._state.progress, time.monotonic()
        stage = None if progress is None else progress.stage
        if stage != self._stage:
            self._stage, self._stage_since = stage, now
        return None if stage is None else int(now - self._stage_since)

    def _seconds_since_a_sign(self) -> float:
        """Return the worker's silence in seconds. The clock may change, so only the first read uses it."""
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
