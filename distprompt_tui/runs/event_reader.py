"""Read a run's events for a viewer, in bounded memory.

Snapshots take about 8 kB each. Only the newest one is kept in memory, and the numbers and the file offset of the rest.
The worker limits the number of events (`worker.recorder.MAX_EVENTS_PER_EFOLD`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from distprompt_tui.core.storage.safe_io import MAX_JSON_BYTES, open_regular, read_limited
from distprompt_tui.runs.events import MAX_LINE_BYTES, NEWEST, Tailer
from distprompt_tui.runs.schema import Divergences, Event, Resumed, Snapshot, decode_event, decode_light_event


@dataclass(frozen=True, slots=True)
class SnapshotOffset:
    """The step of a recorded snapshot, and the byte offset of its line in the file."""

    step: int
    offset: int


class EventLogReader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: tuple[SnapshotOffset, ...] = ()
        self._tailer = Tailer(path, decode_light_event)
        self._newest = path.with_name(NEWEST)
        self._newest_changed = 0

    def read(self) -> Iterator[Event]:
        """Yield the events added since the last call, snapshots as `Divergences`; then the newest complete snapshot."""
        places = list(self.places)
        for offset, event in self._tailer.read_with_offsets():
            if isinstance(event, Divergences):
                places.append(SnapshotOffset(event.step, offset))
            elif isinstance(event, Resumed):
                places = [place for place in places if place.step < event.step]  # later steps are repeated
            yield event
        has_more = tuple(places) != self.places
        self.places = tuple(places)
        if has_more and places and (snapshot := self.snapshot(places[-1])) is not None:
            yield snapshot
        yield from self._read_newest()

    def _read_newest(self) -> list[Event]:
        try:
            changed = self._newest.stat().st_mtime_ns
            if changed == self._newest_changed:
                return []
            lines = msgspec.json.decode(read_limited(self._newest, MAX_JSON_BYTES), type=list[msgspec.Raw])
        except (OSError, ValueError, RecursionError):
            return []
        self._newest_changed = changed
        events = []
        for line in lines:
            with suppress(ValueError, RecursionError):
                events.append(decode_event(bytes(line)))
        return events

    def snapshot(self, place: SnapshotOffset) -> Snapshot | None:
        """Read one complete snapshot; None if the file no longer has this line."""
        try:
            with open_regular(self.path) as file:
                file.seek(place.offset)
                event = decode_event(file.readline(MAX_LINE_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        return event if isinstance(event, Snapshot) else None
