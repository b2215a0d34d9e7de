"""Between a spec and its run: the moment in which the run directory is made and the worker is started."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from distprompt_tui.tui.widgets.app_screen import AppScreen


class LaunchScreen(AppScreen):
    """One sentence."""

    DEFAULT_CSS = "LaunchScreen Static { width: 100%; height: 1fr; content-align: center middle; color: $quiet; }"

    def compose_body(self) -> ComposeResult:
        yield Static("The search is being started…", markup=False)
