"""The part of the app that screens and the palette use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from distprompt_tui.tui.custom_keys import KeyMap
from distprompt_tui.tui.settings import Settings

if TYPE_CHECKING:
    from textual.widget import Widget

    from distprompt_tui.core.config.spec import RunSpec
    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.runs.summary import RunSummary


@dataclass(frozen=True)
class FirstSearch:
    """A search that the app starts with. `read_spec` is called in a thread and raises DistPromptError."""

    name: str
    read_spec: Callable[[], RunSpec]


class AppContext(Protocol):
    settings: Settings
    settings_file: Path | None
    settings_problem: str
    key_map: KeyMap
    updates_per_second: float
    read_only: bool
    ascii_only: bool
    runs_dir: Path

    def change_settings(self, **changes: Any) -> None:
        """Apply and save settings."""

    def start_search(self, spec: RunSpec, *, replace: bool = False) -> None:
        """Start a search and show it; `replace` replaces the current screen."""

    async def make_room_for(self, spec: RunSpec) -> None:
        """End the model server if a search needs its memory."""

    def watch_run(self, run: RunDirectory, *, replace: bool = False) -> None:
        """Show a run; `replace` as in `start_search`."""

    async def read_runs(self) -> list[RunSummary]:
        """Read all runs in a thread."""

    def go_home(self) -> None:
        """Return to the start screen."""


def is_ascii_only(widget: Widget) -> bool:
    """Whether tokens are drawn in ASCII. The app's line filter would draw `?` instead of code points."""
    return cast("AppContext", widget.app).ascii_only


def with_ascii_bars(widget: Widget, text: str) -> str:
    """Return a text with `||` instead of `‖` in ASCII mode.

    The app's line filter keeps widths and would draw `|`, and KL(p|q) reads as a conditional.
    """
    return text.replace("‖", "||") if "‖" in text and is_ascii_only(widget) else text
