"""Shown while a run directory is created and its worker is started."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from distprompt_tui.tui.widgets.app_screen import AppScreen


class LaunchScreen(AppScreen):
    DEFAULT_CSS = "LaunchScreen Static { width: 100%; height: 1fr; content-align: center middle; color: $quiet; }"

    def compose_body(self) -> ComposeResult:
        yield Static("Starting the search…", markup=False)
