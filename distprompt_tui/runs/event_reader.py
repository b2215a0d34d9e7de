"""A run's events for a viewer, who holds little of them in memory, however long the run has been.

Snapshots, some 8 kB each, stay in the file: the newest is read whole; of each other its numbers are read and its place
is kept. Of many steps every second is left out, then every second of those, as the curve would do anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distprompt_tui.runs.events import MAX_LINE_BYTES, NEWEST, Event, Tailer
from distprompt_tui.runs.reducer import MAX_CURVE_POINTS
from distprompt_tui.storage.decode import field, whole
from distprompt_tui.storage.legacy import with_new_names
from distprompt_tui.storage.safe_io import MAX_JSON_BYTES, open_regular, parse_json, read_limited

_STEP, _SNAPSHOT = b'"type":"step"', b'"type":"snapshot"'
_HEADER_BYTES = 120
"""The type stands behind three numbers at the beginning of a line."""

_PAYLOAD_MARK = b',"prompt":'
"""What comes behind it, prompt and tokens, is nearly all of a snapshot."""


@dataclass(frozen=True, slots=True)
class Place:
    """A snapshot that was recorded: its step, and its line's offset in the file."""

    step: int
    offset: int


class EventLogReader:
    """Reads a growing `events.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: tuple[Place, ...] = ()
        self._tailer = Tailer(path)
        self._steps = 0
        self._newest = path.with_name(NEWEST)
        self._newest_changed = 0

    def read(self) -> Iterator[Event]:
        """The events that were completed since the last call, thinned; the newest step and snapshot come last."""
        places = list(self.places)
        skipped = b""
        for offset, line in self._tailer.lines():
            if _STEP in line[:_HEADER_BYTES]:
                self._steps += 1
                skipped = line if self._steps % _stride(self._steps) else b""
                if skipped:
                    continue
            event = self._tailer.parse(_light(line))
            if event is None:
                continue
            kind, step = event.get("type"), field(whole, event, "step")
            if kind == "snapshot" and step is not None:
                places.append(Place(step, offset))
            elif kind == "resumed" and step is not None:
                places = [place for place in places if place.step < step]  # from there on all is done again
                skipped = b""
            yield event
        if skipped and (event := self._tailer.parse(skipped)) is not None:
            yield event
        has_more = tuple(places) != self.places
        self.places = tuple(places)
        if has_more and places and (event := self.snapshot(places[-1])) is not None:
            yield event
        yield from self._read_newest()

    def _read_newest(self) -> list[Event]:
        """What a long run says now beside its events, where that is news."""
        try:
            changed = self._newest.stat().st_mtime_ns
            if changed == self._newest_changed:
                return []
            found = parse_json(read_limited(self._newest, MAX_JSON_BYTES).decode())
        except (OSError, ValueError):
            return []
        self._newest_changed = changed
        return [with_new_names(event) for event in found if isinstance(event, dict)] if isinstance(found, list) else []

    def snapshot(self, place: Place) -> Event | None:
        """One snapshot, whole; None where the file has no such line any more."""
        try:
            with open_regular(self.path) as file:
                file.seek(place.offset)
                return self._tailer.parse(file.readline(MAX_LINE_BYTES))
        except OSError:
            return None


def _stride(seen: int) -> int:
    """1 for as many steps as twice a curve's points, then 2 for as many again, then 4 for twice as many, and so on."""
    return 1 << max((seen // MAX_CURVE_POINTS).bit_length() - 1, 0)


def _light(line: bytes) -> bytes:
    """A snapshot's numbers as an object of their own; any other line as it is."""
    if _SNAPSHOT not in line[:_HEADER_BYTES]:
        return line
    numbers, heavy, _ = line.partition(_PAYLOAD_MARK)
    return numbers + b"}" if heavy else line
