"""Token strings made safe and readable for a terminal. Nothing that a tokenizer holds reaches a terminal otherwise."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len, set_cell_size

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

_UNSETTLED_CATEGORY = "Mc"
"""Marks that take a cell of their own in some terminals and none in others, such as the vowel signs of Devanagari."""

_UNSETTLED = (
    (0x1160, 0x11FF),  # Hangul vowels and finals, drawn into the syllable before them, or not
    (0xFE00, 0xFE0F),  # variation selectors: the sign before them becomes an emoji of two cells, or stays one of one
    (0x1F1E6, 0x1F1FF),  # regional indicators: two of them are a flag, or two letters
    (0x1F3FB, 0x1F3FF),  # skin tones: they colour the emoji before them, or stand beside it
)
"""Characters of which terminals disagree how many cells they take, first and last: one of them moves a whole row."""

_SIGNS = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"}
_ASCII_SIGNS = {" ": "_", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible_token(text: str, *, ascii_only: bool = False) -> str:
    """A token's string with every space and invisible character made visible.

    Args:
        text: any string; undecodable bytes are U+FFFD in it.
        ascii_only: write what is not ASCII as its code point, for terminals without UTF-8.

    Returns:
        A string of printable characters that take the same cells in every terminal: a space is `·`, a newline `⏎`; a
        control, format or unassigned character, and one whose width is not settled, `‹1B›`; combining marks at the
        start get a dotted circle to sit on.
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
    """Whether a character is visible, and as wide in one terminal as in another."""
    category, code = unicodedata.category(char), ord(char)
    is_odd = category in _INVISIBLE or category == _UNSETTLED_CATEGORY or char.isspace()
    return not is_odd and not any(first <= code <= last for first, last in _UNSETTLED)


def sanitize(text: str) -> str:
    """A sentence, a name or a path from outside: what is invisible is made visible, its spaces stay spaces."""
    return " ".join(visible_token(word) for word in text.split(" "))


def fit(text: str, width: int) -> str:
    """A string cut (with `…`) or padded to exactly `width` terminal cells."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, max(width - 1, 0)) + "…" if width > 0 else ""


def fit_to(text: str, most: int) -> str:
    """A string cut (with `…`) where it takes more than `most` terminal cells."""
    return fit(text, min(cell_len(text), most))
