"""The list of sweeps, started or not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, work
from textual.app import ComposeResult
from textual.geometry import Size

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.keymap import SWEEPS_KEYS
from distprompt_tui.tui.platform.poller import Poller
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.sweeps.controller import SweepController
from distprompt_tui.tui.sweeps.monitor import SweepMonitor, SweepView
from distprompt_tui.tui.sweeps.sweep_preview import PREVIEW_FROM_ROWS, SweepPreview
from distprompt_tui.tui.sweeps.sweep_table import AboutSweep, SweepListing, SweepsPanel, SweepTable
from distprompt_tui.tui.widgets.app_screen import AppScreen
from distprompt_tui.tui.widgets.one_line import OneLine

if TYPE_CHECKING:
    from distprompt_tui.sweeps.index import SweepEntry, SweepList

REFRESH_SECONDS = 3.0
_PREVIEW_DELAY_SECONDS = 0.1  # so that no sweep is read while the cursor passes it
_LIST_FRAME = 3  # lines of the list's border and column names


class SweepsScreen(AppScreen):
    """Folders are read in a thread every three seconds; unchanged sweeps are not read again."""

    AUTO_FOCUS = "#table"
    flat_below = 20
    keys = SWEEPS_KEYS
    key_section = "sweeps"

    def __init__(self) -> None:
        super().__init__()
        self._sweeps: SweepList | None = None
        self._entries: list[SweepEntry] = []
        self._monitors: dict[Path, SweepMonitor] = {}
        self._previewed: tuple[SweepEntry | None, Size] | None = None
        self.poller = Poller(partial(in_thread, self._read), self._show_entries)

    def compose_body(self) -> ComposeResult:
        yield OneLine([], id="header")
        yield SweepsPanel(id="sweeps", classes="panel")
        yield AboutSweep(None, id="about", classes="panel")
        yield SweepPreview(id="preview", classes="panel")

    def on_mount(self) -> None:
        self._show("Reading sweeps…")
        self.set_interval(REFRESH_SECONDS, self.tick)

    def on_screen_resume(self) -> None:
        self.tick()

    def _read_again(self) -> None:
        self.run_worker(self.poller.poll(again=True))

    def _show_entries(self, entries: list[SweepEntry]) -> None:
        self._entries = entries
        self._show("No sweeps found. A sweep is defined by a TOML file.")

    def _read(self) -> list[SweepEntry]:
        from distprompt_tui.core.config.paths import sweeps_dir
        from distprompt_tui.sweeps.index import SweepList

        self._sweeps = self._sweeps or SweepList(sweeps_dir())
        return self._sweeps.read()

    def _show(self, empty: str) -> None:
        if not self.is_composed:
            return
        self.query_one(SweepsPanel).show(SweepListing(self._entries, time.time(), empty))
        self.query_one("#header", OneLine).show(self._headline())
        self._show_current()

    def _headline(self) -> Line:
        states = [entry.progress.state for entry in self._entries]
        living, begun = states.count("running"), sum(entry.changed_at is not None for entry in self._entries)
        parts: Line = [("Sweeps", "heading")]
        parts += [(f"  {begun:,}", "strong"), (" begun", "quiet")] if self._entries else []
        return parts + ([(f"  ● {living} running", "good")] if living else [])

    def _show_current(self) -> None:
        entry = self._current
        self.query_one(AboutSweep).show(entry)
        if self._previewed != (entry, self.app.size):
            self._previewed = entry, self.app.size
            self._show_preview(entry)
        self.show_keys()

    @work(group="preview", exclusive=True)
    async def _show_preview(self, entry: SweepEntry | None) -> None:
        """Read the results of a begun sweep in a thread, unless the terminal is too low to show them."""
        view = SweepView()
        if entry is not None and entry.progress.state != "not begun" and self.app.size.height >= PREVIEW_FROM_ROWS:
            monitor = self._monitors.setdefault(entry.directory.path, SweepMonitor(entry.directory, entry.sweep))
            await asyncio.sleep(_PREVIEW_DELAY_SECONDS)
            view = await in_thread(monitor.poll)
        preview, sweeps = self.query_one(SweepPreview), self.query_one(SweepsPanel)
        preview.show(view, entry.sweep if entry is not None else None)
        most = self.app.size.height // (3 if view.report else 2)  # a grid needs fewer lines than curves
        sweeps.styles.height = min(len(self._entries) + _LIST_FRAME, most) if preview.display else "1fr"

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._show_current)

    def availability(self) -> Mapping[str, bool | None]:
        if (entry := self._current) is None:
            return {"open": False, "run": False, "stop": False, "sweeps": None}
        return {**self._controller(entry).availability(entry.progress.state), "sweeps": None}

    def key_words(self) -> Mapping[str, str]:
        is_begun = self._current is not None and self._current.progress.state != "not begun"
        return {"run": "resume" if is_begun else "start"}

    def on_line_table_cursor_moved(self, event: SweepTable.CursorMoved) -> None:
        self._show_current()

    @property
    def _current(self) -> SweepEntry | None:
        return self.query_one(SweepTable).current if self.is_composed else None

    def _controller(self, entry: SweepEntry) -> SweepController:
        return SweepController(self, entry.directory)

    def action_open(self) -> None:
        from distprompt_tui.tui.sweeps.screen import SweepScreen

        assert self._current is not None
        self.app.push_screen(SweepScreen(self._current.directory, self._current.sweep, self._current.size))

    def action_run(self) -> None:
        assert self._current is not None
        self._controller(self._current).start(self._current.sweep, self._current.progress.state, self._read_again)

    def action_stop(self) -> None:
        assert self._current is not None
        self._controller(self._current).stop(self._current.progress.state, self._read_again)
