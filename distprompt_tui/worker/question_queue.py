"""The questions of a model server, read in a thread so that a cancellation arrives during a computation."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

REPORT_SECONDS = 0.5  # minimum interval between two reports of a computation's progress


class Cancelled(Exception):
    """The question that is being answered was cancelled, or the app has ended."""


class QuestionQueue:
    """Iterates over questions, as JSON objects, one a line, until the end of `lines`."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._has_ended = False
        self._reported_at = -REPORT_SECONDS
        threading.Thread(target=self._read, args=(lines,), daemon=True, name="questions").start()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (question := self._waiting.get()) is not None:
            yield question

    def refuse_cancelled(self, number: int) -> None:
        """Raise `Cancelled` if the question with this number was cancelled or the input has ended."""
        if self._has_ended or number in self._cancelled:
            raise Cancelled

    def may_report(self) -> bool:
        """Return True at most once in `REPORT_SECONDS`."""
        now = time.monotonic()
        if now - self._reported_at < REPORT_SECONDS:
            return False
        self._reported_at = now
        return True

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            question = json.loads(line)
            if "cancel" in question:
                self._cancelled.add(question["cancel"])
            else:
                self._waiting.put(question)
        self._has_ended = True
        self._waiting.put(None)
