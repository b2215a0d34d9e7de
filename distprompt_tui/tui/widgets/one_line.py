"""A widget of one line of text."""

from __future__ import annotations

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.drawing.styled_text import truncate
from distprompt_tui.tui.widgets.line_widget import LineWidget


class OneLine(LineWidget[Line]):
    def lines(self, width: int, height: int) -> list[Line]:
        return [truncate(self.data, width)]
