"""Playback of a run's snapshots, one at a time or as a replay at several speeds."""

from __future__ import annotations

from bisect import bisect_right

from distprompt_tui.runs.event_reader import EventLogReader, SnapshotOffset
from distprompt_tui.runs.reducer import state_at
from distprompt_tui.runs.schema import Step
from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.platform.threads import in_thread

SPEEDS = (1, 4, 16, 64)  # speed of a replay relative to the search

PAGES = 10  # a page key moves by this fraction of the snapshots


class Playback:
    """A position in a run's recording, which may still grow. `current` is None while following the run."""

    def __init__(self, recording: EventLogReader) -> None:
        self.current: RunState | None = None
        self.is_playing = False
        self.speed = SPEEDS[0]
        self._recording = recording
        self._index = 0
        self._clock = 0.0
        self._visit = 0

    @property
    def is_open(self) -> bool:
        return self.current is not None

    @property
    def places(self) -> tuple[SnapshotOffset, ...]:
        return self._recording.places

    async def seek(self, index: int, run: RunState) -> None:
        """Read the snapshot at `index`, from 0, clamped to the range. `run` is the state of the whole run."""
        places = self.places
        if not places:
            return
        self._index = min(max(index, 0), len(places) - 1)
        visit = self._visit
        snapshot = await in_thread(self._recording.snapshot, places[self._index])
        if snapshot is not None and visit == self._visit:
            self.current = state_at(run, snapshot)

    async def move(self, by: int, run: RunState) -> None:
        self.is_playing = False
        await self.seek(self._index + by, run)

    def page(self) -> int:
        return max(len(self.places) // PAGES, 1)

    def close(self) -> None:
        """Follow the run again and drop any pending read."""
        self.current, self.is_playing = None, False
        self._visit += 1

    def toggle_playing(self, run: RunState) -> None:
        """Start or stop the replay. At the end, restart it."""
        self.is_playing = not self.is_playing
        if self._index >= len(self.places) - 1:
            self._index = 0
        self._clock = _seconds(run.curve, self.places[self._index].step)

    def change_speed(self, by: int) -> None:
        self.speed = SPEEDS[min(max(SPEEDS.index(self.speed) + by, 0), len(SPEEDS) - 1)]

    async def play_on(self, seconds: float, run: RunState) -> None:
        """Advance the replay by `seconds` of real time; stop at the last snapshot."""
        self._clock += seconds * self.speed
        places, index = self.places, self._index
        while index + 1 < len(places) and _seconds(run.curve, places[index + 1].step) <= self._clock:
            index += 1
        self.is_playing = index + 1 < len(places)
        await self.seek(index, run)


def _seconds(curve: tuple[Step, ...], step: int) -> float:
    before = bisect_right(curve, step, key=lambda point: point.step)
    return curve[before - 1].seconds if before else 0.0
