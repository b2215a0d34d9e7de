"""The field below a table that filters its rows."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Label

from distprompt_tui.tui.widgets.visible_input import Field


class SearchBar(Horizontal):
    """Hidden until opened. Enter returns to the table; closing shows all rows again."""

    class Changed(Message):
        def __init__(self, find: str) -> None:
            super().__init__()
            self.find = find

    def __init__(self, placeholder: str, table: Widget) -> None:
        super().__init__(id="finder")
        self._table = table
        self._field = Field(placeholder=placeholder, id="find", compact=True)
        self.display = False

    def compose(self) -> ComposeResult:
        yield Label("/ ")
        yield self._field

    def open(self) -> None:
        self.display = True
        self._field.focus()

    def close(self) -> bool:
        """Show all rows again. Return whether the field was open."""
        if not self.display:
            return False
        self.display = False
        self._field.value = ""
        self._table.focus()
        return True

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._table.focus()
