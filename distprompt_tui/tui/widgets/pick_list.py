"""A list of rows with fixed columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.drawing.styled_text import content, fit_parts, justify, truncate, width_of


@dataclass(frozen=True)
class Row:
    """One line. `value` identifies it; None makes it a heading, which cannot be selected.

    All rows have the same columns at the right, most important first for when space is short.
    """

    value: str | None
    left: Line
    right: tuple[Line, ...] = ()


class PickList(OptionList):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "Down", show=False),
        Binding("k", "cursor_up", "Up", show=False),
        Binding("enter", "pick", "Choose", show=False),
    ]

    class Picked(Message):
        """Enter was pressed on a row. A click only moves the cursor."""

        def __init__(self, pick_list: PickList, value: str) -> None:
            super().__init__()
            self.pick_list = pick_list
            self.value = value

    def __init__(self, empty: str, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._empty = empty
        self._rows: Sequence[Row] = ()
        self._prompts: list[Content] = []
        self._drawn: tuple[Sequence[Row], str, int] | None = None

    @property
    def value(self) -> str | None:
        option = self.highlighted_option
        return option.id if option else None

    def show(self, rows: Sequence[Row], empty: str = "") -> None:
        self._rows, self._empty = rows, empty or self._empty
        self._draw()

    def choose(self, value: str) -> None:
        if any(row.value == value for row in self._rows):
            self.highlighted = self.get_option_index(value)

    def action_pick(self) -> None:
        if self.value is not None:
            self.post_message(self.Picked(self, self.value))

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        width = self.scrollable_content_region.width
        drawn = (self._rows, self._empty, width)
        if width <= 0 or drawn == self._drawn:
            return
        self._drawn = drawn
        room = width - 1 - max((width_of(row.left) for row in self._rows if row.right), default=0)
        lines = [content([truncate(justify(row.left, fit_parts(row.right, room), width), width)]) for row in self._rows]
        values = [row.value for row in self._rows]
        if self._rows and [option.id for option in self.options] == values:
            for index, (old, line) in enumerate(zip(self._prompts, lines, strict=True)):
                if not old.is_same(line):
                    self.replace_option_prompt_at_index(index, line)
            self._prompts = lines
            return
        self._prompts = lines
        chosen = self.value
        options = [
            Option(line, id=value, disabled=value is None) for line, value in zip(lines, values, strict=True)
        ] or [Option(content([[(self._empty, "quiet")]]), disabled=True)]
        self.set_options(options)
        if chosen in values and chosen is not None:
            self.choose(chosen)
        else:
            self.action_first()


def heading_row(text: str) -> Row:
    return Row(None, [(text, "quiet")])
