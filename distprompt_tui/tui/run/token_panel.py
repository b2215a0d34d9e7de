"""The tokens panel: the whole vocabulary, with target and achieved in one bar for each token."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message

from distprompt_tui.text.formatting import Line
from distprompt_tui.tui.context import is_ascii_only
from distprompt_tui.tui.drawing.styled_text import wrapped
from distprompt_tui.tui.run.token_rows import columns_for, header_line, row_lines
from distprompt_tui.tui.run.token_table import TokenTable
from distprompt_tui.tui.widgets.line_table import LineTable
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border
from distprompt_tui.tui.widgets.search_bar import SearchBar


class TokenList(LineTable):
    """The rows. When the order changes, the cursor stays on its token, or at the top."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,plus,equals_sign", "pin", "Pin the token", show=False),
        Binding("right", "screen.step_on", "Continue with the token", show=False),
    ]

    class Pinned(Message):
        def __init__(self, token: int) -> None:
            super().__init__()
            self.token = token

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.table = TokenTable()
        self.log_scale = False
        self.empty = "The tokens appear with the first snapshot."
        self._rows: dict[tuple[int, int], list[Line]] = {}

    def show(self, table: TokenTable, empty: str) -> None:
        """Draw another table. If a pin moved the rows, the cursor stays on its row, near the next token to pin."""
        token = self.current_token if self.cursor and table.pinned == self.table.pinned else None
        self.table, self.empty = table, empty
        kept = table.index_of(token) if token is not None else None
        self.cursor = kept if kept is not None else min(self.cursor, max(len(table) - 1, 0))
        if token is not None:
            self.reveal()
        self.redraw_all()

    def set_log_scale(self, log_scale: bool) -> None:
        self.log_scale = log_scale
        self.redraw_all()

    @property
    def row_count(self) -> int:
        return len(self.table)

    @property
    def lines_per_row(self) -> int:
        return columns_for(self.scrollable_content_region.width).lines_per_row

    def line(self, index: int, width: int) -> Line:
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
                marked=number == self.cursor,
                ascii_only=is_ascii_only(self),
            )
        return lines[part]

    @property
    def current_token(self) -> int | None:
        return int(self.table.ids[self.cursor]) if self.cursor < len(self.table) else None

    def action_pin(self) -> None:
        if self.current_token is not None:
            self.post_message(self.Pinned(self.current_token))

    def go_to(self, row: int) -> None:
        self._rows.clear()
        super().go_to(row)

    def redraw_all(self) -> None:
        self._rows.clear()
        super().redraw_all()


class BarsHeader(LineWidget[tuple[TokenTable, bool]]):
    def lines(self, width: int, height: int) -> list[Line]:
        table, log = self.data
        return (
            [header_line(columns_for(width), table.order, table.largest, log, table.comparison_label)]
            if len(table)
            else []
        )


class TokensPanel(Vertical):
    class FindChanged(Message):
        def __init__(self, find: str) -> None:
            super().__init__()
            self.find = find

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.bars = TokenList(id="bars")
        self._header = BarsHeader((TokenTable(), False))
        self._finder = SearchBar("part of a token, or its id; esc: show all", self.bars)

    def compose(self) -> ComposeResult:
        yield self._header
        yield self.bars
        yield self._finder

    def on_mount(self) -> None:
        self._retitle()

    def show(self, table: TokenTable, empty: str) -> None:
        self.bars.show(table, empty)
        self._header.show((table, self.bars.log_scale))
        self._retitle()

    def toggle_scale(self) -> None:
        self.bars.set_log_scale(not self.bars.log_scale)
        self._header.show((self.bars.table, self.bars.log_scale))
        self._retitle()

    def open_find(self) -> None:
        self._finder.open()

    def close_find(self) -> bool:
        """Show all tokens again. Return whether the field was open."""
        return self._finder.close()

    def on_search_bar_changed(self, event: SearchBar.Changed) -> None:
        event.stop()
        self.post_message(self.FindChanged(event.find))

    def on_line_table_cursor_moved(self, event: TokenList.CursorMoved) -> None:
        event.stop()
        self._retitle()

    def _retitle(self) -> None:
        table = self.bars.table
        title = "Tokens"
        if table.total:
            first, last = self.bars.visible_rows()
            by = {
                "probability": "by probability",
                "contribution": "by KL contribution",
                "target": "by target",
                "achieved": f"by {table.comparison_label}",
                "gap": "by gap",
            }
            of = f"of {len(table):,} found" if table.find else f"of {len(table):,}"
            title = f"Tokens  {by[table.order]}  {first:,}–{last:,} {of}"
            if not table.complete:
                title += " largest"
        if self.bars.log_scale:
            title += "  log bars"
        legend: Line = [("▀ target  ", "target"), (f"▄ {table.comparison_label}  ", "achieved"), ("█ both", "agreed")]
        label_border(self, title=[(title, "border")], subtitle=legend)
