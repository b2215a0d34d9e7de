"""A field for tokens and texts: what is invisible is drawn as a sign of the same width, the value stays as it is."""

from __future__ import annotations

import unicodedata

from rich.highlighter import Highlighter
from rich.text import Text
from textual.widgets import Input

from distprompt_tui.tokens import is_settled

_UNPRINTABLE = "▯"


class _Signs(Highlighter):
    """Textual draws what this returns in the place of the value, so each character keeps its position."""

    def __init__(self, *, ascii_only: bool, all_spaces: bool) -> None:
        self._space = "_" if ascii_only else "·"
        self._all_spaces = all_spaces

    def __call__(self, text: str | Text) -> Text:
        """Called by Textual for each drawing."""
        shown = with_signs(str(text), space=self._space, all_spaces=self._all_spaces)
        return Text(shown, no_wrap=True, overflow="ignore", end="")

    def highlight(self, text: Text) -> None:
        """Not used: `__call__` does it all."""


class WrittenField(Input):
    """One line, drawn calmly: its cursor does not blink."""

    def __init__(
        self,
        value: str = "",
        *,
        ascii_only: bool,
        all_spaces: bool = True,
        placeholder: str = "",
        id: str | None = None,
    ) -> None:
        signs = _Signs(ascii_only=ascii_only, all_spaces=all_spaces)
        super().__init__(value, placeholder=placeholder, highlighter=signs, id=id, compact=True)
        self.cursor_blink = False


def with_signs(text: str, *, space: str, all_spaces: bool) -> str:
    """A text, a sign for each invisible character.

    Args:
        text: any string.
        space: the sign of a space.
        all_spaces: False leaves the spaces between words as they are, and marks those at the ends.
    """
    start, end = len(text) - len(text.lstrip(" ")), len(text.rstrip(" "))
    return "".join(
        space
        if char == " " and (all_spaces or not start <= index < end)
        else char
        if char == " " or (is_settled(char) and not unicodedata.combining(char))
        else _UNPRINTABLE
        for index, char in enumerate(text)
    )
