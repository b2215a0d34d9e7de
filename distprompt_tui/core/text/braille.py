"""Braille characters as cells of 2 × 4 dots."""

from __future__ import annotations

DOTS_ACROSS, DOTS_DOWN = 2, 4

DOT_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of each dot, by row from top to bottom and column."""

_EMPTY = 0x2800


def braille(bits: int) -> str:
    """Return the character with some dots, or a space without dots."""
    return chr(_EMPTY + bits) if bits else " "
