"""The field at the bottom of a run's screen for a text to evaluate."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label

from distprompt_tui.tui.widgets.visible_input import VisibleInput


class TextPrompt(Horizontal):
    class Submitted(Message):
        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__(id="text_line")
        self._field = VisibleInput(
            all_spaces=False, placeholder="a text instead of the prompt; enter: query the model, esc: close"
        )
        self.display = False

    def compose(self) -> ComposeResult:
        yield Label("after: ")
        yield self._field

    def open(self) -> None:
        self.display = True
        self._field.focus()

    def close(self) -> bool:
        """Close the field and keep its text. Return whether it was open."""
        was_open, self.display = bool(self.display), False
        return was_open

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Submitted(event.value))
