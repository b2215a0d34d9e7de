"""The event file of a run, appended by the worker and read by any number of viewers."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from distprompt_tui.core.storage.jsonl import append_line, end_torn_line
from distprompt_tui.core.storage.safe_io import open_private, open_regular
from distprompt_tui.runs.schema import FORMAT_VERSION, Ended, Event, Resumed, decode_header

T = TypeVar("T")

MAX_LINE_BYTES = 1 << 22  # longer lines are skipped; a snapshot of a prompt of 4,096 tokens takes half a megabyte
NEWEST = "newest.json"  # the newest events of a long run that are not in the event file


class EventWriter:
    """Append events to a run's `events.jsonl`; thread-safe. `is_resumed` is True if an earlier worker wrote to it.

    After an `Ended` event, only `Resumed` is written; events of threads that are still running are dropped.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = open_private(path, os.O_RDWR | os.O_APPEND)
        end_torn_line(self._descriptor)
        numbers = (event.seq for event in Tailer(path, decode_header).read() if event.seq is not None)
        self._next = max(numbers, default=-1) + 1
        self._clock_began = time.time() - time.monotonic()  # later changes of the clock do not affect the times
        self.is_resumed = self._next > 0
        self._lock = threading.Lock()
        self._is_ended = False

    def write(self, event: Event) -> None:
        """Append one event with its number and time. Non-finite values become null."""
        with self._lock:
            if self._is_ended and not isinstance(event, Resumed):
                return
            fields = as_fields(msgspec.structs.replace(self.stamped(event), seq=self._next))
            append_line(self._descriptor, dict.fromkeys(("v", "seq", "t")) | fields)
            self._next += 1
            self._is_ended = isinstance(event, Ended)

    def stamped(self, event: Event) -> Event:
        return msgspec.structs.replace(event, v=FORMAT_VERSION, t=round(self._clock_began + time.monotonic(), 3))

    def close(self) -> None:
        os.close(self._descriptor)


def as_fields(value: msgspec.Struct) -> dict[str, Any]:
    """Return the JSON object of an event or result, with null for each non-finite value."""
    fields: dict[str, Any] = _finite(msgspec.to_builtins(value, enc_hook=float))  # converts NumPy scalars
    return fields


decode_object = msgspec.json.Decoder(dict[str, Any]).decode  # for files other than the event file


class Tailer(Generic[T]):
    """Read a growing JSON Lines file incrementally, up to the byte `offset`.

    An incomplete last line is left for the next call. Lines that are too long, or for which `decode` raises a
    `ValueError`, are skipped and counted in `damaged`.
    """

    def __init__(self, path: Path, decode: Callable[[bytes], T], offset: int = 0) -> None:
        self.path = path
        self.damaged = 0
        self._decode = decode
        self.offset = offset
        self._in_long_line = False

    def read(self) -> list[T]:
        return [value for _, value in self.read_with_offsets()]

    def read_with_offsets(self) -> Iterator[tuple[int, T]]:
        """Yield the objects added since the last call, each with the byte offset of its line."""
        for offset, line in self._lines():
            try:
                value = self._decode(line)
            except (ValueError, RecursionError):
                self.damaged += 1
            else:
                yield offset, value

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            with open_regular(self.path) as file:
                file.seek(self.offset)
                while line := file.readline(MAX_LINE_BYTES):
                    is_ended = line.endswith(b"\n")
                    if not is_ended and len(line) < MAX_LINE_BYTES:
                        return
                    offset, is_whole = self.offset, is_ended and not self._in_long_line
                    self.offset += len(line)
                    self.damaged += not is_ended and not self._in_long_line
                    self._in_long_line = not is_ended
                    if is_whole:
                        yield offset, line
        except OSError:  # missing or unreadable
            return


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
