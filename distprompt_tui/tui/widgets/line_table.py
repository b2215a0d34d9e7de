"""A scrolling table of styled rows with a cursor; base of the token and run tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.drawing.styled_text import wrapped
from distprompt_tui.tui.widgets.line_widget import ScrollLineWidget

Entry = TypeVar("Entry")


class LineTable(ScrollLineWidget):
    """The cursor moves with arrows, page keys, j, k and the mouse, and stays visible."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "A page up", show=False),
        Binding("pagedown", "page(1)", "A page down", show=False),
        Binding("home", "top", "First", show=False),
        Binding("end", "bottom", "Last", show=False),
    ]

    class CursorMoved(Message):
        """The cursor moved or the visible rows changed."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.cursor = 0

    @property
    def row_count(self) -> int:
        raise NotImplementedError

    @property
    def lines_per_row(self) -> int:
        return 1

    def is_marked(self, index: int) -> bool:
        return self.row_count > 0 and index // self.lines_per_row == self.cursor

    def visible_rows(self) -> tuple[int, int]:
        """Return the first and the last visible row, counted from 1; (0, 0) without rows."""
        if not self.row_count:
            return 0, 0
        first = self.scroll_offset.y // self.lines_per_row
        last = (self.scroll_offset.y + self.scrollable_content_region.height) // self.lines_per_row
        return first + 1, max(min(last, self.row_count), first + 1)

    def action_move(self, by: int) -> None:
        self.go_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        self.go_to(self.cursor + by * max(self.scrollable_content_region.height // self.lines_per_row - 1, 1))

    def action_top(self) -> None:
        """Move to the first row, and stay at the top when rows change."""
        self.go_to(0)

    def action_bottom(self) -> None:
        self.go_to(self.row_count - 1)

    def on_click(self, event: events.Click) -> None:
        self.go_to((event.y + self.scroll_offset.y) // self.lines_per_row)

    def on_resize(self, event: events.Resize) -> None:
        self.redraw_all()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(self.CursorMoved())

    def go_to(self, row: int) -> None:
        """Move the cursor to a row, clamped to the last one."""
        self.cursor = min(max(row, 0), max(self.row_count - 1, 0))
        self.reveal()
        self.redraw()
        self.post_message(self.CursorMoved())

    def reveal(self) -> None:
        height = self.lines_per_row
        self.scroll_to_region(Region(0, self.cursor * height, 1, height), animate=False, force=True, immediate=True)

    def redraw_all(self) -> None:
        self.set_line_count(self.row_count * self.lines_per_row or 3)
        self.post_message(self.CursorMoved())


class ListTable(LineTable, Generic[Entry]):
    """A table of a sequence. When the sequence changes, the cursor stays on its entry, or at the top."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.entries: Sequence[Entry] = ()
        self._empty = ""

    @property
    def row_count(self) -> int:
        return len(self.entries)

    @property
    def current(self) -> Entry | None:
        return self.entries[self.cursor] if self.cursor < len(self.entries) else None

    def show_entries(self, entries: Sequence[Entry], empty: str) -> None:
        """Show other entries, or the sentence `empty` if there are none."""
        current = self.current
        self.entries, self._empty = entries, empty
        if self.cursor > 0:
            keys = [self.key_of(entry) for entry in entries]
            key = self.key_of(current) if current is not None else None
            self.cursor = keys.index(key) if key in keys else min(self.cursor, max(len(keys) - 1, 0))
            self.reveal()
        self.redraw_all()

    def key_of(self, entry: Entry) -> object:
        """Return the identity of an entry."""
        raise NotImplementedError

    def entry_line(self, entry: Entry, width: int, *, here: bool) -> Line:
        """Return the line of an entry; `here`: the cursor is on it."""
        raise NotImplementedError

    def line(self, index: int, width: int) -> Line:
        if not self.entries:
            return ([[], *wrapped(self._empty, width, "quiet")] + [[]] * (index + 1))[index]
        return self.entry_line(self.entries[index], width, here=index == self.cursor)
