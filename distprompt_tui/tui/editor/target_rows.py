"""Rows of the editor: a token, its probability and a note. The last row is always empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Input

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import truncate, width_of
from distprompt_tui.tui.editor.target_draft import Row, RowValidation
from distprompt_tui.tui.widgets.line_widget import LineWidget
from distprompt_tui.tui.widgets.visible_input import VisibleInput


class RowNote(LineWidget[RowValidation]):
    def lines(self, width: int, height: int) -> list[Line]:
        return [note_line(self.data, width)]


def note_line(report: RowValidation, width: int) -> Line:
    if not report.is_wrong:
        return truncate([(sanitize(report.short), "faint")], width)
    whole: Line = [("✕ ", "error"), (sanitize(report.sentence), "error")]
    return whole if width_of(whole) <= width else truncate([("✕ ", "error"), (sanitize(report.short), "error")], width)


class TargetRow(Horizontal):
    class Done(Message):
        """Enter was pressed in the last field of a row."""

        def __init__(self, row: TargetRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.token = VisibleInput(row.token, placeholder="token")
        self.mass = VisibleInput(row.mass, placeholder="p")
        self.note = RowNote(RowValidation())
        self.token.add_class("token")
        self.mass.add_class("mass")

    def compose(self) -> ComposeResult:
        yield self.token
        yield self.mass
        yield self.note

    @property
    def value(self) -> Row:
        return Row(self.token.value, self.mass.value)

    def write(self, row: Row) -> None:
        self.token.value, self.mass.value = row.token, row.mass

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """On Enter, replace several tokens by the first; then move on."""
        event.stop()
        if event.input is self.mass:
            self.post_message(self.Done(self))
        elif self.note.data.first_piece is not None:
            self.token.value = self.note.data.first_piece
            self.token.cursor_position = len(self.token.value)
        else:
            self.mass.focus()


class TargetRows(VerticalScroll, can_focus=False):
    """Rows; posts `Changed` when a field changes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "The row above", show=False),
        Binding("down", "move(1)", "The row below", show=False),
    ]

    class Changed(Message):
        """A field has another value."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._rows = [TargetRow(Row())]

    def compose(self) -> ComposeResult:
        yield from self._rows

    @property
    def value(self) -> tuple[Row, ...]:
        return tuple(row.value for row in self._rows)

    @property
    def current(self) -> int | None:
        return next((index for index, row in enumerate(self._rows) if row.has_focus_within), None)

    @property
    def sentence(self) -> str:
        """The meaning of the focused row; empty if none has the focus."""
        return self._rows[index].note.data.sentence if (index := self.current) is not None else ""

    def write(self, rows: Sequence[Row]) -> None:
        wanted = [*rows, Row()]
        for shown, row in zip(self._rows, wanted, strict=False):
            if shown.value != row:
                shown.write(row)
        self._add(wanted[len(self._rows) :])
        for surplus in self._rows[len(wanted) :]:
            surplus.remove()
        del self._rows[len(wanted) :]
        self.post_message(self.Changed())

    def report(self, reports: Sequence[RowValidation]) -> None:
        for row, report in zip(self._rows, reports, strict=False):
            row.note.show(report)

    def drop_current(self) -> None:
        if (index := self.current) is not None:
            kept = [row for number, row in enumerate(self.value) if number != index and not row.is_empty]
            self.write(kept)
            self._rows[min(index, len(self._rows) - 1)].token.focus()

    def focus_token(self, index: int = 0) -> None:
        self._rows[min(max(index, 0), len(self._rows) - 1)].token.focus()

    def action_move(self, by: int) -> None:
        if (index := self.current) is not None and 0 <= index + by < len(self._rows):
            row = self._rows[index + by]
            (row.mass if self._rows[index].mass.has_focus else row.token).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if not self._rows[-1].value.is_empty:
            self._add([Row()])
        self.post_message(self.Changed())

    def on_target_row_done(self, event: TargetRow.Done) -> None:
        event.stop()
        self.focus_token(self._rows.index(event.row) + 1)

    def _add(self, rows: Sequence[Row]) -> None:
        made = [TargetRow(row) for row in rows]
        self._rows += made
        if made:
            self.mount(*made)
