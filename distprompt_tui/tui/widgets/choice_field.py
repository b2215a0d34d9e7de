"""A field with a few values: →, space or a click selects the next one, ← the previous one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import content


class ChoiceField(Widget, can_focus=True):
    """Shows the value and its number. Posts `Changed` when the user selects another value.

    Attributes:
        value: the selected value, one of `values`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space,l", "change(1)", "The next", show=False),
        Binding("left,h", "change(-1)", "The one before", show=False),
    ]

    class Changed(Message):
        """The user selected another value."""

        def __init__(self, field: ChoiceField) -> None:
            super().__init__()
            self.field = field

    def __init__(self, values: Sequence[str], value: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.values = values
        self.value = value

    def render(self) -> Content:
        cells = max(map(len, self.values))
        number = self.values.index(self.value) + 1 if self.value in self.values else 0
        return content([[(f"{sanitize(self.value):<{cells}}", "strong"), (f" {number}/{len(self.values)}", "quiet")]])

    def select(self, value: str) -> None:
        self.value = value
        self.refresh()

    def action_change(self, by: int) -> None:
        now = self.values.index(self.value) if self.value in self.values else -1
        self.select(self.values[(now + by) % len(self.values)])
        self.post_message(self.Changed(self))

    def on_click(self, event: events.Click) -> None:
        self.action_change(1)
