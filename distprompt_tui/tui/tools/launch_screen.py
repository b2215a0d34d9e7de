"""Shown while the preset of the command line is read, its run directory is created and its worker is started."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.widgets import Static

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.widgets.app_screen import AppScreen
from distprompt_tui.tui.widgets.one_line import OneLine

if TYPE_CHECKING:
    from distprompt_tui.tui.context import FirstSearch


class LaunchScreen(AppScreen):
    """Reads the spec after its first frame, because the classes of specs take longer to import than to draw.

    Args:
        search: to start.
        failed: called with the error if the spec is invalid.
    """

    DEFAULT_CSS = """
    LaunchScreen #header { height: 1; padding: 0 1; background: $surface; }
    LaunchScreen Static { width: 100%; height: 1fr; content-align: center middle; color: $quiet; }
    """

    def __init__(self, search: FirstSearch, failed: Callable[[DistPromptError], None]) -> None:
        super().__init__()
        self._search = search
        self._failed = failed

    def compose_body(self) -> ComposeResult:
        yield OneLine([("distprompt  ", "heading"), (sanitize(self._search.name), "strong")], id="header")
        yield Static("Starting the search…", markup=False)

    def on_mount(self) -> None:
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self.run_worker(self._read_and_start())

    async def _read_and_start(self) -> None:
        try:
            spec = await in_thread(self._search.read_spec)
        except DistPromptError as error:
            self._failed(error)
        else:
            self.context.start_search(spec, replace=True)
