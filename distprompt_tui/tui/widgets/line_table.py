"""A scrolling table of painted rows, one of them under the cursor: what the tokens and the runs share."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message

from distprompt_tui.tui.widgets.line_widget import ScrollLineWidget


class LineTable(ScrollLineWidget):
    """Arrows, pages, j, k and the mouse move the cursor; it is always in sight."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "A page up", show=False),
        Binding("pagedown", "page(1)", "A page down", show=False),
        Binding("home", "top", "First", show=False),
        Binding("end", "bottom", "Last", show=False),
    ]

    class CursorMoved(Message):
        """Other rows came into sight, or the cursor moved."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.cursor = 0

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        raise NotImplementedError

    @property
    def lines_per_row(self) -> int:
        """Lines that one row takes."""
        return 1

    def is_marked(self, index: int) -> bool:
        """Whether a line belongs to the row under the cursor."""
        return self.row_count > 0 and index // self.lines_per_row == self.cursor

    def visible_rows(self) -> tuple[int, int]:
        """The first and the last row in sight, counted from 1; (0, 0) without rows."""
        if not self.row_count:
            return 0, 0
        first = self.scroll_offset.y // self.lines_per_row
        last = (self.scroll_offset.y + self.scrollable_content_region.height) // self.lines_per_row
        return first + 1, max(min(last, self.row_count), first + 1)

    def action_move(self, by: int) -> None:
        self.go_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        """Go a screenful on."""
        self.go_to(self.cursor + by * max(self.scrollable_content_region.height // self.lines_per_row - 1, 1))

    def action_top(self) -> None:
        """Go to the first row, and stay there whatever that is."""
        self.go_to(0)

    def action_bottom(self) -> None:
        self.go_to(self.row_count - 1)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse was pressed."""
        self.go_to((event.y + self.scroll_offset.y) // self.lines_per_row)

    def on_resize(self, event: events.Resize) -> None:
        self.redraw_all()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(self.CursorMoved())

    def go_to(self, row: int) -> None:
        """Put the cursor on a row, or on the nearest one that there is."""
        self.cursor = min(max(row, 0), max(self.row_count - 1, 0))
        self.reveal()
        self.redraw()
        self.post_message(self.CursorMoved())

    def reveal(self) -> None:
        """Scroll until the cursor is in sight."""
        height = self.lines_per_row
        self.scroll_to_region(Region(0, self.cursor * height, 1, height), animate=False, force=True, immediate=True)

    def rows_changed(self, place: int | None) -> None:
        """Draw other rows. The cursor stays on its row; at the top, it stays at the top.

        Args:
            place: where the row under the cursor is now; None where it is gone.
        """
        if self.cursor > 0:
            self.cursor = min(self.cursor, max(self.row_count - 1, 0)) if place is None else place
            self.reveal()
        self.redraw_all()

    def redraw_all(self) -> None:
        self.set_line_count(self.row_count * self.lines_per_row or 3)
        self.post_message(self.CursorMoved())
