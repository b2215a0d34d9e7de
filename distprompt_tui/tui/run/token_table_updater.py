"""Keeps the tokens panel up to date: one table is built at a time, and the newest wish wins."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.run.token_table import TokenSource, TokenTable, Wish
from distprompt_tui.tui.settings import ORDERS

MIN_SECONDS = 1.0
"""The worker replaces achieved.npy at most this often."""


class TokenTableUpdater:
    """Builds tables in a thread and hands them to the panel in the event loop."""

    def __init__(self, source: TokenSource, show: Callable[[TokenTable], None]) -> None:
        self.wish = Wish()
        self._source = source
        self._show = show
        self._state = RunState()
        self._building = False
        self._again = False
        self._built_at = 0.0
        self._built_from: object = None

    def wish_for(self, **changes: Any) -> None:
        """Change what is wanted: fields of `Wish`."""
        self.wish = replace(self.wish, **changes)

    def next_order(self) -> None:
        """Sort by the next key."""
        self.wish_for(order=ORDERS[(ORDERS.index(self.wish.order) + 1) % len(ORDERS)])

    async def update(self, state: RunState, *, asked: bool = False) -> None:
        """Build a table where there is something new; `asked`: the person waits for it."""
        self._state = state
        if self._building:
            self._again = self._again or asked
            return
        if not asked and (time.monotonic() - self._built_at < MIN_SECONDS or self._news() == self._built_from):
            return
        self._building = True
        try:
            news = self._news()
            table = await in_thread(self._source.build, state, self.wish)
            self._built_at, self._built_from = time.monotonic(), news
            self._show(table)
        finally:
            self._building = False
        if self._again:
            self._again = False
            await self.update(self._state, asked=True)

    def _news(self) -> object:
        snapshot = self._state.snapshot
        on_disk = self._source.version() if self.wish.source == "newest" else None
        return self.wish, on_disk, snapshot.step if snapshot else None, self._state.tokenizer_file
