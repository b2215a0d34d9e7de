"""The selected run of a list: keeps its preview up to date, and copies parts of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from distprompt_tui.core.storage.safe_io import is_owned_by_user
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.runs.preview_reader import PreviewReader
from distprompt_tui.tui.runs.run_preview import RunPreviewPanel
from distprompt_tui.tui.widgets.line_widget import is_in_sight

if TYPE_CHECKING:
    from textual.timer import Timer

    from distprompt_tui.runs.summary import RunSummary
    from distprompt_tui.tui.widgets.app_screen import AppScreen

_DELAY_SECONDS = 0.1  # so that no run is read while the cursor passes it


class SelectedRun:
    """Reads and shows the run that `selected` returns. Nothing is read while the panel is hidden."""

    def __init__(self, screen: AppScreen, selected: Callable[[], RunSummary | None]) -> None:
        self._screen = screen
        self._selected = selected
        self._reader = PreviewReader()
        self._waiting: Timer | None = None

    def update(self) -> None:
        """Show the selected run; call it when the selection, the list or the size has changed."""
        panel = self._screen.query_one(RunPreviewPanel)
        if not is_in_sight(panel):
            return
        summary = self._selected()
        if summary is None:
            panel.show(None)
        elif (known := self._reader.known(summary)) is not None:
            panel.show(known)
        else:
            if self._waiting is not None:
                self._waiting.stop()
            self._waiting = self._screen.set_timer(_DELAY_SECONDS, partial(self._start, summary))

    def _start(self, summary: RunSummary) -> None:
        self._screen.run_worker(self._read(summary))

    async def _read(self, summary: RunSummary) -> None:
        preview = await in_thread(self._reader.read, summary)
        if self._screen.is_composed and (now := self._selected()) is not None and now.run == summary.run:
            self._screen.query_one(RunPreviewPanel).show(preview)

    def copy(self) -> None:
        """Ask which part of the selected run to copy."""
        if (summary := self._selected()) is None:
            self._screen.notify("No run is selected.", severity="warning")
        else:
            self._screen.run_worker(self._copy(summary))

    async def _copy(self, summary: RunSummary) -> None:
        from distprompt_tui.tui.run.export import RunExport

        preview = await in_thread(self._reader.read, summary)
        is_foreign = not await in_thread(is_owned_by_user, summary.run.path)
        read_only = self._screen.context.read_only or is_foreign
        await RunExport(self._screen, summary.run, lambda: preview.state, read_only=read_only).copy()
