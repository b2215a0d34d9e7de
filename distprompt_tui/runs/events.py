"""The events of a run: one JSON object a line, appended by the worker, followed by any number of readers."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distprompt_tui.storage.decode import field, whole
from distprompt_tui.storage.jsonl import append_line, end_torn_line
from distprompt_tui.storage.legacy import has_old_names, with_new_names
from distprompt_tui.storage.safe_io import open_private, open_regular, parse_json

FORMAT_VERSION = 1

MAX_LINE_BYTES = 1 << 22
"""Of one event; a snapshot of a prompt of 4,096 tokens takes half a megabyte. A longer line is passed over."""

NEWEST = "newest.json"
"""Beside the events of a long run: what they would say now."""

Event = dict[str, Any]
"""`v` (format version), `seq` (from 0, no gaps), `t` (Unix seconds), `type`, and the type's own fields."""


class EventWriter:
    """Appends events to a run's `events.jsonl`; safe to use from several threads of one process.

    Attributes:
        continues: whether another worker has written there before.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = open_private(path, os.O_RDWR | os.O_APPEND)
        end_torn_line(self._descriptor)
        self._next = _last_sequence_number(path) + 1
        self._clock_began = time.time() - time.monotonic()  # so that times go on evenly when somebody sets the clock
        self.continues = self._next > 0
        self._lock = threading.Lock()

    def write(self, kind: str, **fields: Any) -> None:
        """Append one event. Numbers that are not finite become null."""
        with self._lock:
            append_line(self._descriptor, {"v": FORMAT_VERSION, "seq": self._next} | self.build_event(kind, **fields))
            self._next += 1

    def build_event(self, kind: str, **fields: Any) -> Event:
        """What an event would be, but for its number."""
        event: Event = {"t": round(self._clock_began + time.monotonic(), 3), "type": kind}
        return event | {name: _finite(value) for name, value in fields.items()}

    def close(self) -> None:
        """Nothing is written any more."""
        os.close(self._descriptor)


class Tailer:
    """Reads a growing file of JSON lines from where it stopped last.

    A half-written last line is left for the next call; a line that is too long or no JSON object is skipped and
    counted.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.damaged = 0
        self._offset = offset
        self._in_long_line = False

    def read(self) -> list[Event]:
        """The objects that were completed since the last call."""
        return [event for _, line in self.lines() if (event := self.parse(line)) is not None]

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines that were completed since the last call, each with its place in the file."""
        try:
            with open_regular(self.path) as file:
                file.seek(self._offset)
                while line := file.readline(MAX_LINE_BYTES):
                    is_ended = line.endswith(b"\n")
                    if not is_ended and len(line) < MAX_LINE_BYTES:
                        return
                    place, is_whole = self._offset, is_ended and not self._in_long_line
                    self._offset += len(line)
                    self.damaged += not is_ended and not self._in_long_line
                    self._in_long_line = not is_ended
                    if is_whole:
                        yield place, line
        except OSError:  # there is none yet, or none that can be read
            return

    def parse(self, line: bytes) -> Event | None:
        """The object in a line; None, and one more damaged line, where there is none."""
        try:
            value = parse_json(line.decode())
        except ValueError:
            value = None
        if isinstance(value, dict):
            return with_new_names(value) if has_old_names(line) else value
        self.damaged += 1
        return None


def _last_sequence_number(path: Path) -> int:
    """The highest `seq` in the file, or -1."""
    tailer = Tailer(path)
    events = (tailer.parse(line) or {} for _, line in tailer.lines())
    numbers = (field(whole, event, "seq") for event in events)
    return max((number for number in numbers if number is not None), default=-1)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
