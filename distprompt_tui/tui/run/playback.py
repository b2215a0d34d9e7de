"""A walk through what a run recorded: which snapshot is looked at, and its replay at several speeds."""

from __future__ import annotations

from bisect import bisect_right

from distprompt_tui.runs.event_reader import EventLogReader, Place
from distprompt_tui.runs.reducer import as_of
from distprompt_tui.runs.schema import Step
from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.platform.threads import in_thread

SPEEDS = (1, 4, 16, 64)
"""A replay is as many times faster than the search was."""

PAGES = 10
"""A page key moves by this part of the way."""


class History:
    """A place in a run's recording. The run goes on, and so does the recording."""

    def __init__(self, recording: EventLogReader) -> None:
        self.moment: RunState | None = None
        self.is_playing = False
        self.speed = SPEEDS[0]
        self._recording = recording
        self._index = 0
        self._clock = 0.0
        self._visit = 0

    @property
    def is_open(self) -> bool:
        """Whether a moment is looked at."""
        return self.moment is not None

    @property
    def places(self) -> tuple[Place, ...]:
        """What there is to look at."""
        return self._recording.places

    async def go(self, index: int, run: RunState) -> None:
        """Look at a snapshot; the nearest end where there is none of that number.

        Args:
            index: counted from 0.
            run: the state of the whole run.
        """
        places = self.places
        if not places:
            return
        self._index = min(max(index, 0), len(places) - 1)
        visit = self._visit
        snapshot = await in_thread(self._recording.snapshot, places[self._index])
        if snapshot is not None and visit == self._visit:
            self.moment = as_of(run, snapshot)

    async def move(self, by: int, run: RunState) -> None:
        """Look at a snapshot so many earlier or later."""
        self.is_playing = False
        await self.go(self._index + by, run)

    def page(self) -> int:
        """Snapshots that a page key moves by."""
        return max(len(self.places) // PAGES, 1)

    def leave(self) -> None:
        """Back to the run as it is; what is being read for the moment is not shown any more."""
        self.moment, self.is_playing = None, False
        self._visit += 1

    def toggle_playing(self, run: RunState) -> None:
        """Replay from here, or stand still. At the end, the replay starts over."""
        self.is_playing = not self.is_playing
        if self._index >= len(self.places) - 1:
            self._index = 0
        self._clock = _seconds(run.curve, self.places[self._index].step)

    def change_speed(self, by: int) -> None:
        """Replay faster or slower."""
        self.speed = SPEEDS[min(max(SPEEDS.index(self.speed) + by, 0), len(SPEEDS) - 1)]

    async def play_on(self, seconds: float, run: RunState) -> None:
        """Go on with the replay by so many seconds of a person's time; it stands still at the end."""
        self._clock += seconds * self.speed
        places, index = self.places, self._index
        while index + 1 < len(places) and _seconds(run.curve, places[index + 1].step) <= self._clock:
            index += 1
        self.is_playing = index + 1 < len(places)
        await self.go(index, run)


def _seconds(curve: tuple[Step, ...], step: int) -> float:
    """When a step was reported, in seconds of searching."""
    before = bisect_right(curve, step, key=lambda point: point.step)
    return curve[before - 1].seconds if before else 0.0
