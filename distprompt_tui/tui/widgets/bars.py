"""The tokens panel: the whole vocabulary, scrollable, target and achieved as one bar a token."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.geometry import Region
from textual.message import Message
from textual.widgets import Input, Label

from distprompt_tui.tui.lines import Line, wrapped
from distprompt_tui.tui.token_table import TokenTable
from distprompt_tui.tui.widgets.painted import Painted, PaintedScroll, label_border
from distprompt_tui.tui.widgets.token_rows import columns_for, header_line, row_lines


class Bars(PaintedScroll):
    """The rows. The cursor stays on its token when the order changes; at the top, it stays at the top."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Previous token", show=False),
        Binding("down,j", "move(1)", "Next token", show=False),
        Binding("pageup", "page(-1)", "A page up", show=False),
        Binding("pagedown", "page(1)", "A page down", show=False),
        Binding("home", "top", "First token", show=False),
        Binding("end", "bottom", "Last token", show=False),
        Binding("enter,plus,equals_sign", "pin", "Pin the token", show=False),
    ]

    class Moved(Message):
        """Other rows came into sight, or the cursor moved."""

    class Pinned(Message):
        """A token is to stay at the top, or to go back to its place."""

        def __init__(self, token: int) -> None:
            super().__init__()
            self.token = token

    def __init__(self, *, ascii_only: bool, id: str | None = None) -> None:
        super().__init__(id=id)
        self.table = TokenTable()
        self.log_scale = False
        self.empty = "The tokens appear with the first snapshot."
        self._ascii_only = ascii_only
        self._cursor = 0
        self._rows: dict[tuple[int, int], list[Line]] = {}

    def show(self, table: TokenTable, empty: str) -> None:
        """Draw another table. Where a pin moved the rows, the cursor stays on its row: the next pin is near."""
        token = self.current_token if self._cursor and table.pinned == self.table.pinned else None
        self.table, self.empty = table, empty
        kept = table.index_of(token) if token is not None else None
        self._cursor = kept if kept is not None else min(self._cursor, max(len(table) - 1, 0))
        if token is not None:
            self._reveal()
        self._redraw()

    def set_log_scale(self, log_scale: bool) -> None:
        """Draw the bars on the other scale."""
        self.log_scale = log_scale
        self._redraw()

    def line(self, index: int, width: int) -> Line:
        """One line of the token that it belongs to."""
        if not len(self.table):
            return (wrapped(self.empty, width, "quiet") + [[]] * (index + 1))[index]
        columns = columns_for(width)
        number, part = divmod(index, columns.lines_per_row)
        if number >= len(self.table):
            return []
        lines = self._rows.get((number, width))
        if lines is None:
            lines = self._rows[number, width] = row_lines(
                self.table.row(number),
                columns,
                self.table.largest,
                log=self.log_scale,
                marked=number == self._cursor,
                ascii_only=self._ascii_only,
            )
        return lines[part]

    def is_marked(self, index: int) -> bool:
        """Whether a line belongs to the token under the cursor."""
        return len(self.table) > 0 and index // self._lines_per_row == self._cursor

    def visible_rows(self) -> tuple[int, int]:
        """The first and the last row in sight, counted from 1; (0, 0) without rows."""
        if not len(self.table):
            return 0, 0
        first = self.scroll_offset.y // self._lines_per_row
        last = (self.scroll_offset.y + self.scrollable_content_region.height) // self._lines_per_row
        return first + 1, max(min(last, len(self.table)), first + 1)

    @property
    def current_token(self) -> int | None:
        """The id under the cursor."""
        return int(self.table.ids[self._cursor]) if self._cursor < len(self.table) else None

    def action_move(self, by: int) -> None:
        """Go to another row."""
        self._go_to(self._cursor + by)

    def action_page(self, by: int) -> None:
        """Go a screenful on."""
        self._go_to(self._cursor + by * max(self.scrollable_content_region.height // self._lines_per_row - 1, 1))

    def action_top(self) -> None:
        """Go to the first row, and stay there whatever token that is."""
        self._go_to(0)

    def action_bottom(self) -> None:
        """Go to the last row."""
        self._go_to(len(self.table) - 1)

    def action_pin(self) -> None:
        """Keep the token under the cursor at the top, or let it go."""
        if self.current_token is not None:
            self.post_message(self.Pinned(self.current_token))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse was pressed."""
        self._go_to((event.y + self.scroll_offset.y) // self._lines_per_row)

    def on_resize(self, event: events.Resize) -> None:
        """Called by Textual."""
        self._redraw()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Called by Textual."""
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(self.Moved())

    @property
    def _lines_per_row(self) -> int:
        return columns_for(self.scrollable_content_region.width).lines_per_row

    def _go_to(self, row: int) -> None:
        self._cursor = min(max(row, 0), max(len(self.table) - 1, 0))
        self._reveal()
        self._rows.clear()
        self.redraw()
        self.post_message(self.Moved())

    def _reveal(self) -> None:
        height = self._lines_per_row
        self.scroll_to_region(Region(0, self._cursor * height, 1, height), animate=False, force=True, immediate=True)

    def _redraw(self) -> None:
        self._rows.clear()
        self.set_line_count(len(self.table) * self._lines_per_row or 3)
        self.post_message(self.Moved())


class BarsHeader(Painted[tuple[TokenTable, bool]]):
    """The columns' names, which do not scroll."""

    def lines(self, width: int, height: int) -> list[Line]:
        """One line."""
        table, log = self.data
        return [header_line(columns_for(width), table.order, table.largest, log, table.second)] if len(table) else []


class TokensPanel(Vertical):
    """Header, rows and the field to search them with."""

    class FindChanged(Message):
        """Other tokens are asked for."""

        def __init__(self, find: str) -> None:
            super().__init__()
            self.find = find

    def __init__(self, *, ascii_only: bool, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.bars = Bars(ascii_only=ascii_only, id="bars")
        self._header = BarsHeader((TokenTable(), False))
        self._find = Input(placeholder="part of a token, or its id; esc shows all", id="find", compact=True)
        self._finder = Horizontal(Label("/ "), self._find, id="finder")

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        self._finder.display = False
        yield self._header
        yield self.bars
        yield self._finder

    def on_mount(self) -> None:
        """Called by Textual."""
        self._retitle()

    def show(self, table: TokenTable, empty: str) -> None:
        """Draw another table."""
        self.bars.show(table, empty)
        self._header.show((table, self.bars.log_scale))
        self._retitle()

    def toggle_scale(self) -> None:
        """Change between bars on a linear and on a log scale."""
        self.bars.set_log_scale(not self.bars.log_scale)
        self._header.show((self.bars.table, self.bars.log_scale))
        self._retitle()

    def open_find(self) -> None:
        """Let the user type what to find."""
        self._finder.display = True
        self._find.focus()

    def close_find(self) -> bool:
        """Show all tokens again. Returns whether the field was open."""
        if not self._finder.display:
            return False
        self._finder.display = False
        self._find.value = ""
        self.bars.focus()
        return True

    def on_input_changed(self, event: Input.Changed) -> None:
        """Called by Textual."""
        event.stop()
        self.post_message(self.FindChanged(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Called by Textual."""
        event.stop()
        self.bars.focus()

    def on_bars_moved(self, event: Bars.Moved) -> None:
        """Called by Textual."""
        event.stop()
        self._retitle()

    def _retitle(self) -> None:
        table = self.bars.table
        title = "Tokens"
        if table.total:
            first, last = self.bars.visible_rows()
            by = {
                "mass": "by the larger mass",
                "share": "by share of KL",
                "target": "by target",
                "achieved": f"by {table.second}",
                "gap": "by gap",
            }
            of = f"of {len(table):,} found" if table.find else f"of {len(table):,}"
            title = f"Tokens  {by[table.order]}  {first:,}–{last:,} {of}"
            if not table.complete:
                title += " largest"
        if self.bars.log_scale:
            title += "  log bars"
        legend: Line = [("▀ target  ", "target"), (f"▄ {table.second}  ", "achieved"), ("█ both", "agreed")]
        label_border(self, title=[(title, "border")], subtitle=legend)
