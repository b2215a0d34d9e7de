"""Token strings made safe and readable for a terminal. Nothing that a tokenizer holds reaches a terminal otherwise."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len, set_cell_size

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_SIGNS = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"}
_ASCII_SIGNS = {" ": "_", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible_token(text: str, *, ascii_only: bool = False) -> str:
    """A token's string with every space and invisible character made visible.

    Args:
        text: any string; undecodable bytes are U+FFFD in it.
        ascii_only: write what is not ASCII as its code point, for terminals without UTF-8.

    Returns:
        A string of printable characters: a space is `·`, a newline `⏎`, a control, format or unassigned character
        `‹1B›`; combining marks at the start get a dotted circle to sit on.
    """
    signs = _ASCII_SIGNS if ascii_only else _SIGNS
    left, right = ("<", ">") if ascii_only else ("‹", "›")
    shown = []
    for char in text:
        if char in signs:
            shown.append(signs[char])
        elif unicodedata.category(char) in _INVISIBLE or (ascii_only and not char.isascii()) or char.isspace():
            shown.append(f"{left}{ord(char):X}{right}")
        else:
            shown.append(char)
    result = "".join(shown)
    return "◌" + result if result and unicodedata.combining(result[0]) else result


def safe(text: str) -> str:
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
