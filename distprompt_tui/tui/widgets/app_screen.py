"""What all full screens share: where the layout breaks, and the sentence for a terminal that is too small."""

from __future__ import annotations

from typing import cast

from textual.screen import ModalScreen, Screen
from textual.widget import Widget

from distprompt_tui.tui.context import AppContext

MIN_COLUMNS, MIN_ROWS = 60, 16


class TooSmall(Widget):
    """Covers a screen that has no room to be drawn."""

    def render(self) -> str:
        size = self.app.size
        return f"This terminal is {size.width} x {size.height}.\ndistprompt needs {MIN_COLUMNS} x {MIN_ROWS}."


class AppScreen(Screen[None]):
    """A full screen of the app."""

    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-no-columns"),
        (MIN_COLUMNS, "-narrow"),
        (100, "-wide"),
        (170, "-huge"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-no-rows"), (MIN_ROWS, "-low"), (32, "-high")]  # noqa: RUF012

    _composed = 1

    def on_mount(self) -> None:
        self._composed = len(self.children)

    @property
    def is_composed(self) -> bool:
        """Whether its widgets are there: on the way out they go, one by one, before the screen does."""
        return self.is_attached and len(self.children) >= self._composed

    @property
    def is_foreground(self) -> bool:
        """Whether it is on top, or under dialogs only. Textual's `is_current` holds for any screen below too."""
        above = self.app.screen_stack[::-1]
        return self in above and all(isinstance(screen, ModalScreen) for screen in above[: above.index(self)])

    def action_back(self) -> None:
        self.app.pop_screen()

    @property
    def context(self) -> AppContext:
        """The app, as far as screens use it."""
        return cast("AppContext", self.app)
