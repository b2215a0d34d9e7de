"""Strings in one line: what cannot stand in a field is written as in a program, such as `\\n` for a new line."""

from __future__ import annotations

import re

ESCAPES = {"\n": "\\n", "\t": "\\t", "\\": "\\\\"}


def unescape(written: str) -> str:
    """The string that a field stands for."""
    meanings = {escape: char for char, escape in ESCAPES.items()}
    return re.sub(r"\\[nt\\]", lambda match: meanings[match[0]], written)


def escape_field(text: str) -> str:
    """How a field holds a string; `unescape` gives it back."""
    return "".join(ESCAPES.get(char, char) for char in text)
