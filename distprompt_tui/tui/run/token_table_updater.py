"""Keeps the tokens panel up to date: builds one table at a time, for the latest query."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.platform.poller import Poller
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.run.token_table import TableQuery, TokenSource, TokenTable
from distprompt_tui.tui.settings import ORDERS

MIN_SECONDS = 1.0  # minimum interval in which the worker replaces achieved.npy


class TokenTableUpdater:
    def __init__(self, source: TokenSource, show: Callable[[TokenTable], None]) -> None:
        self.query = TableQuery()
        self._source = source
        self._show = show
        self._state = RunState()
        self._built_at = 0.0
        self._built_version: object = None
        self._poller = Poller(self._build, self._show_table)

    def set_query(self, **changes: Any) -> None:
        self.query = replace(self.query, **changes)

    def next_order(self) -> None:
        self.set_query(order=ORDERS[(ORDERS.index(self.query.order) + 1) % len(ORDERS)])

    async def update(self, state: RunState, *, asked: bool = False) -> None:
        """Build a table if there is a new version; `asked`: build it at once, because the user waits for it."""
        self._state = state
        is_due = time.monotonic() - self._built_at >= MIN_SECONDS
        if asked or (is_due and self._version() != self._built_version):
            await self._poller.poll(again=asked)

    async def _build(self) -> tuple[object, TokenTable]:
        version = self._version()
        return version, await in_thread(self._source.build, self._state, self.query)

    def _show_table(self, built: tuple[object, TokenTable]) -> None:
        self._built_at = time.monotonic()
        self._built_version, table = built
        self._show(table)

    def _version(self) -> object:
        snapshot = self._state.snapshot
        on_disk = self._source.version() if self.query.source == "newest" else None
        return self.query, on_disk, snapshot.step if snapshot else None, self._state.tokenizer_file
