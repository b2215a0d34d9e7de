"""ASCII mode: a filter over the finished screen."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from distprompt_tui.core.text.ascii import to_ascii


class AsciiFilter(LineFilter):
    """Textual applies it to every line, including borders, scrollbars and dialogs."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(to_ascii(text), style, control) for text, style, control in segments]
