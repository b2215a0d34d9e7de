"""Replacement of characters by ASCII, for terminals without UTF-8."""

from __future__ import annotations

from functools import lru_cache

from rich.cells import cell_len

_SIGNS = {
    "▀": "=", "▄": "-", "█": "#", "▏": ":", "▎": ":", "▍": ":", "▌": "#", "▋": "#", "▊": "#", "▉": "#",
    "▁": ".", "▂": ".", "▃": "-", "▅": "=", "▆": "=", "▇": "#", "▔": "-", "▪": "#", "░": ".", "▒": ":", "▓": "#",
    "─": "-", "━": "=", "╌": ".", "│": "|", "┃": "#", "╎": ":", "┤": "+", "├": "+", "┬": "+", "┴": "+", "┼": "+",
    "╭": "+", "╮": "+", "╰": "+", "╯": "+", "┌": "+", "┐": "+", "└": "+", "┘": "+",
    "┏": "#", "┓": "#", "┗": "#", "┛": "#",
    "●": "*", "○": "o", "◐": "o", "■": "#", "◆": "*", "✕": "x", "›": ">", "‹": "<", "»": ">", "…": "~", "·": "-",
    "−": "-", "–": "-", "—": "-", "×": "x", "‖": "|", "→": ">", "←": "<", "↑": "^", "↓": "v", "≥": ">", "≤": "<",
    "▶": ">", "▸": ">", "▯": "?", "╱": "/", "≈": "~", "∞": "8", "’": "'", "“": '"', "”": '"', "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip


@lru_cache(4096)
def to_ascii(text: str) -> str:
    """Convert a text to ASCII of the same width; bars become `=` (target), `-` (achieved) and `#` (both)."""
    if text.isascii():
        return text
    return "".join(char if char.isascii() else _sign(char) for char in text)


def _sign(char: str) -> str:
    if "\u2800" <= char <= "\u28ff":  # Braille: the dots of a curve
        return "*" if char != "\u2800" else " "
    return _SIGNS.get(char, "?" * cell_len(char))
