"""Results of the doctor, for command line, app and bug reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distprompt_tui.core.text.terminal_text import sanitize

NAME_CELLS = 13  # width of the longest name of a check and a space


@dataclass(frozen=True)
class Check:
    """Result of one check; `advice` is empty if it passed."""

    name: str
    value: str
    advice: str = ""


def as_text(checks: Sequence[Check]) -> str:
    """Format checks, one per line; checks with advice start with `!` and have the advice on the next line."""
    lines = []
    for check in checks:
        lines.append(f"{'!' if check.advice else ' '} {check.name:{NAME_CELLS}} {sanitize(check.value)}")
        if check.advice:
            lines.append(" " * (NAME_CELLS + 3) + sanitize(check.advice))
    return "\n".join(lines)
