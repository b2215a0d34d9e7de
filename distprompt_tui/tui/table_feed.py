"""Keeps the tokens panel up to date: one table is built at a time, and the newest wish wins."""

from __future__ import annotations

import time
from collections.abc import Callable

from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.background import in_thread
from distprompt_tui.tui.token_table import ORDERS, Order, TokenSource, TokenTable

MIN_SECONDS = 1.0
"""The worker replaces achieved.npy at most this often."""


class TableFeed:
    """Builds tables in a thread and hands them to the panel in the event loop."""

    def __init__(self, source: TokenSource, show: Callable[[TokenTable], None]) -> None:
        self.order: Order = ORDERS[0]
        self.find = ""
        self._source = source
        self._show = show
        self._building = False
        self._again = False
        self._built_at = 0.0
        self._built_from: object = None

    def next_order(self) -> None:
        """Sort by the next key."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]

    async def update(self, state: RunState, *, asked: bool = False) -> None:
        """Build a table where there is something new; `asked`: the person waits for it."""
        if self._building:
            self._again = self._again or asked
            return
        if not asked and (time.monotonic() - self._built_at < MIN_SECONDS or self._news(state) == self._built_from):
            return
        self._building = True
        try:
            news = self._news(state)
            table = await in_thread(self._source.build, state, self.order, self.find)
            self._built_at, self._built_from = time.monotonic(), news
            self._show(table)
        finally:
            self._building = False
        if self._again:
            self._again = False
            await self.update(state, asked=True)

    def _news(self, state: RunState) -> object:
        return self._source.version(), state.snapshot.step if state.snapshot else None, state.tokenizer_file
