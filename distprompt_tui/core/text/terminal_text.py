"""Sanitize token strings and other untrusted text for a terminal; all token strings are printed through here."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len, set_cell_size

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

_UNSETTLED_CATEGORY = "Mc"
"""Marks that take one cell in some terminals and none in others, such as the vowel signs of Devanagari."""

_UNSETTLED = (
    (0x1160, 0x11FF),  # Hangul vowels and finals: combined with the previous syllable, or separate
    (0xFE00, 0xFE0F),  # variation selectors: the previous character becomes a two-cell emoji, or keeps one cell
    (0x1F1E6, 0x1F1FF),  # regional indicators: a pair is one flag, or two letters
    (0x1F3FB, 0x1F3FF),  # skin tones: combined with the previous emoji, or separate
)
"""Ranges (first, last) of characters whose width differs between terminals; one of them misaligns a whole row."""

_SIGNS = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"}
_ASCII_SIGNS = {" ": "_", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible_token(text: str, *, ascii_only: bool = False) -> str:
    """Make every space and invisible character of a token string visible.

    Args:
        text: any string; undecodable bytes are U+FFFD.
        ascii_only: write non-ASCII characters as code points, for terminals without UTF-8.

    Returns:
        Printable characters with the same width in every terminal. A space becomes `·`, a newline `⏎`. Control, format
        and unassigned characters and those of unstable width become code points, such as `‹1B›`. A dotted circle
        precedes a combining mark at the start.
    """
    signs = _ASCII_SIGNS if ascii_only else _SIGNS
    left, right = ("<", ">") if ascii_only else ("‹", "›")
    shown = []
    for char in text:
        if char in signs:
            shown.append(signs[char])
        elif (ascii_only and not char.isascii()) or not has_stable_width(char):
            shown.append(f"{left}{ord(char):X}{right}")
        else:
            shown.append(char)
    result = "".join(shown)
    return "◌" + result if result and unicodedata.combining(result[0]) else result


def has_stable_width(char: str) -> bool:
    """Return whether a character is visible and has the same width in every terminal."""
    category, code = unicodedata.category(char), ord(char)
    is_odd = category in _INVISIBLE or category == _UNSETTLED_CATEGORY or char.isspace()
    return not is_odd and not any(first <= code <= last for first, last in _UNSETTLED)


def sanitize(text: str) -> str:
    """Make invisible characters of an untrusted text visible, except spaces."""
    return " ".join(visible_token(word) for word in text.split(" "))


def fit(text: str, width: int) -> str:
    """Truncate (with `…`) or pad a string to exactly `width` terminal cells."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, max(width - 1, 0)) + "…" if width > 0 else ""


def fit_to(text: str, most: int) -> str:
    """Truncate a string (with `…`) to at most `most` terminal cells."""
    return fit(text, min(cell_len(text), most))
