"""The tokens panel: the whole vocabulary, with target and achieved in one bar for each token."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message

from distprompt_tui.core.metrics.totals import Totals
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.context import is_ascii_only
from distprompt_tui.tui.drawing.styled_text import wrapped
from distprompt_tui.tui.run.bar_scale import BarScale
from distprompt_tui.tui.run.density_view import DensityView
from distprompt_tui.tui.run.rank_view import RankView
from distprompt_tui.tui.run.token_rows import Columns, columns_for, header_line, rest_line, row_lines
from distprompt_tui.tui.run.token_table import TokenTable
from distprompt_tui.tui.settings import Order
from distprompt_tui.tui.widgets.line_table import LineTable
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border
from distprompt_tui.tui.widgets.search_bar import SearchBar

View = Literal["table", "density", "ranks"]

VIEWS: tuple[View, ...] = ("table", "density", "ranks")

PAIRS: dict[View, tuple[View, View]] = {
    "table": ("table", "density"),
    "density": ("density", "ranks"),
    "ranks": ("table", "ranks"),
}
"""The two views on a wide terminal for each selected view, which is one of them."""

PAIR_FROM = 160  # minimum width of the screen for two views side by side


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
        self.scale = BarScale()
        self.empty = "Reading the tokens…"
        self._rows: dict[tuple[int, int], list[Line]] = {}

    def show(self, table: TokenTable, empty: str) -> None:
        """Draw another table. If a pin moved the rows, the cursor stays on its row, near the next token to pin."""
        token = self.current_token if self.cursor and table.pinned == self.table.pinned else None
        self.table, self.empty = table, empty
        self._rescale()
        kept = table.index_of(token) if token is not None else None
        self.cursor = kept if kept is not None else min(self.cursor, max(len(table) - 1, 0))
        if token is not None:
            self.reveal()
        self.redraw_all()

    def set_log_scale(self, log_scale: bool) -> None:
        self.log_scale = log_scale
        self._rescale()
        self.redraw_all()

    def _rescale(self) -> None:
        self.scale = BarScale(self.table.largest, self.table.breaks_at, self.log_scale)

    @property
    def row_count(self) -> int:
        return len(self.table)

    @property
    def lines_per_row(self) -> int:
        return self._columns(self.scrollable_content_region.width).lines_per_row

    def _columns(self, width: int) -> Columns:
        return columns_for(width, self.table.order)

    def line(self, index: int, width: int) -> Line:
        if not len(self.table):
            return (wrapped(self.empty, width, "quiet") + [[]] * (index + 1))[index]
        columns = self._columns(width)
        number, part = divmod(index, columns.lines_per_row)
        if number >= len(self.table):
            return []
        lines = self._rows.get((number, width))
        if lines is None:
            lines = self._rows[number, width] = row_lines(
                self.table.row(number),
                columns,
                self.scale,
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


class BarsHeader(LineWidget[tuple[TokenTable, BarScale]]):
    def lines(self, width: int, height: int) -> list[Line]:
        table, scale = self.data
        return (
            [header_line(columns_for(width, table.order), table.order, scale, table.comparison_label)]
            if len(table)
            else []
        )


class RestLine(LineWidget[tuple[Totals, float | None, Order]]):
    """The last row: all tokens that are not shown; the divergence of all tokens; the order of the rows above."""

    def lines(self, width: int, height: int) -> list[Line]:
        rest, kl, order = self.data
        return [rest_line(rest, kl, columns_for(width, order))] if rest.count else []


class TokensPanel(Horizontal):
    """The table, the density and the ranks: one of them, or two side by side on a wide terminal."""

    class FindChanged(Message):
        def __init__(self, find: str) -> None:
            super().__init__()
            self.find = find

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.bars = TokenList(id="bars")
        self.density = DensityView(id="density")
        self.ranks = RankView(id="ranks")
        self.view: View = "table"
        self._table = Vertical(id="token-table")
        self._header = BarsHeader((TokenTable(), BarScale()))
        self._rest = RestLine((Totals(), None, TokenTable().order))
        self._finder = SearchBar("part of a token, or its id; esc: show all", self.bars)

    def compose(self) -> ComposeResult:
        with self._table:
            yield self._header
            yield self.bars
            yield self._rest
            yield self._finder
        yield self.density
        yield self.ranks

    def on_mount(self) -> None:
        self._arrange()

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()

    @property
    def shown_views(self) -> tuple[View, ...]:
        """The views on the screen, from left to right."""
        return PAIRS[self.view] if self.has_class("-pair") else (self.view,)

    def next_view(self) -> None:
        """Show the next view, or the next pair; a view that had the focus passes it on."""
        had_focus = self.has_focus_within
        self.view = VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)]
        self._arrange()
        if had_focus:
            self.focus_view()

    def focus_view(self) -> None:
        """Focus the selected view."""
        {"table": self.bars, "density": self.density, "ranks": self.ranks}[self.view].focus()

    def show(self, table: TokenTable, empty: str) -> None:
        self.bars.show(table, empty)
        self._header.show((table, self.bars.scale))
        self.density.show_distribution(table.distribution)
        self.ranks.show_distribution(table.distribution)
        self._retitle()

    def toggle_scale(self) -> None:
        self.bars.set_log_scale(not self.bars.log_scale)
        self._header.show((self.bars.table, self.bars.scale))
        self._retitle()

    def close(self) -> bool:
        """Close the find field, or leave the selected cell or rank. Return whether there was one on the screen."""
        was_open = self._table.display and self._finder.close()
        return was_open or any(view.leave() for view in (self.density, self.ranks) if view.display)

    def _arrange(self) -> None:
        self.set_class(self.screen.size.width >= PAIR_FROM, "-pair")
        for name, widget in (("table", self._table), ("density", self.density), ("ranks", self.ranks)):
            widget.display = name in self.shown_views
        self._retitle()

    def open_find(self) -> None:
        self._finder.open()

    def on_search_bar_changed(self, event: SearchBar.Changed) -> None:
        event.stop()
        self.post_message(self.FindChanged(event.find))

    def on_line_table_cursor_moved(self, event: TokenList.CursorMoved) -> None:
        event.stop()
        self._retitle()

    def _retitle(self) -> None:
        table, shown = self.bars.table, self.shown_views
        legend: Line = [("▀ target  ", "target"), (f"▄ {table.comparison_label}  ", "achieved"), ("█ both", "agreed")]
        names = {"table": self._table_title(), "density": "density", "ranks": "probability by rank"}
        title = " · ".join(names[name] for name in shown)
        if "table" not in shown:
            known = f"{table.total:,} tokens" if table.complete else f"{table.total:,} recorded tokens"
            title = f"Tokens  {title}" + (f"  {known}" if table.total else "")
            legend = []
        label_border(self, title=[(title, "border")], subtitle=legend)

    def _table_title(self) -> str:
        table = self.bars.table
        first, last = self.bars.visible_rows()
        self._rest.show((table.rest(max(first - 1, 0), last), table.kl, table.order))
        title = "Tokens"
        if table.total:
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
        return title + "  log bars" if self.bars.log_scale else title
