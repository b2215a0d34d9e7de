"""ASCII mode: a filter over the finished screen."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from distprompt_tui.text.ascii import to_ascii


class AsciiFilter(LineFilter):
    """Applied by Textual to every line that it writes: borders, scrollbars and dialogs included."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Replace each segment's text; styles stay."""
        return [Segment(to_ascii(text), style, control) for text, style, control in segments]
