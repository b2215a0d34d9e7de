"""Escape sequences for control characters in one-line fields, such as `\\n` for a newline."""

from __future__ import annotations

import re

ESCAPES = {"\n": "\\n", "\t": "\\t", "\\": "\\\\"}


def unescape(written: str) -> str:
    """Replace the escape sequences in a field's text."""
    meanings = {escape: char for char, escape in ESCAPES.items()}
    return re.sub(r"\\[nt\\]", lambda match: meanings[match[0]], written)


def escape_field(text: str) -> str:
    """Escape a string for a field; the inverse of `unescape`."""
    return "".join(ESCAPES.get(char, char) for char in text)
