"""Text fields that draw invisible characters as symbols of the same width. The value does not change."""

from __future__ import annotations

import unicodedata
from typing import Any

from rich.highlighter import Highlighter
from rich.text import Text
from textual import events
from textual.widget import Widget
from textual.widgets import Input

from distprompt_tui.core.text.terminal_text import has_stable_width
from distprompt_tui.tui.context import is_ascii_only

_UNPRINTABLE = "▯"


class _Signs(Highlighter):
    """Textual draws the returned text instead of the value; each character keeps its position."""

    def __init__(self, field: Widget, *, all_spaces: bool) -> None:
        self._field = field
        self._all_spaces = all_spaces

    def __call__(self, text: str | Text) -> Text:
        space = "_" if is_ascii_only(self._field) else "·"
        shown = show_whitespace(str(text), space=space, all_spaces=self._all_spaces)
        return Text(shown, no_wrap=True, overflow="ignore", end="")

    def highlight(self, text: Text) -> None:
        """Unused: `__call__` replaces it."""


class Field(Input):
    """One line of plain text. Pasting inserts only the first line, with a warning."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.cursor_blink = False

    def _on_paste(self, event: events.Paste) -> None:
        """Report text that is not inserted. Textual's own field drops it silently."""
        event.prevent_default()
        event.stop()
        self._paste(event.text)

    def action_paste(self) -> None:
        self._paste(self.app.clipboard)

    def pasted(self, text: str) -> str:
        return next((line.strip() for line in text.splitlines() if line.strip()), "")

    def _paste(self, text: str) -> None:
        wanted, (start, end) = self.pasted(text), sorted(self.selection)
        before, expected = self.value, self.value[:start] + wanted + self.value[end:]
        self.replace(wanted, start, end)
        if self.value == before != expected:
            self.notify("The pasted text does not fit this field; nothing was inserted.", severity="warning")
        elif wanted != text and (left := len(text.split()) - len(wanted.split())) > 0:
            self.notify(f"Only the first line was inserted; {left} words were omitted.", severity="warning")


class VisibleInput(Field):
    """A field for tokens and texts. Pasting inserts all lines."""

    def __init__(
        self, value: str = "", *, all_spaces: bool = True, placeholder: str = "", id: str | None = None
    ) -> None:
        signs = _Signs(self, all_spaces=all_spaces)
        super().__init__(value, placeholder=placeholder, highlighter=signs, id=id, compact=True)

    def pasted(self, text: str) -> str:
        return text.replace("\r\n", "\n").replace("\r", "\n")


def show_whitespace(text: str, *, space: str, all_spaces: bool) -> str:
    """Replace each invisible character by a symbol. Without `all_spaces`, replace spaces only at the ends."""
    start, end = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
    return "".join(
        space
        if char == " " and (all_spaces or not start <= index < end)
        else char
        if char == " " or (has_stable_width(char) and not unicodedata.combining(char))
        else _UNPRINTABLE
        for index, char in enumerate(text)
    )
