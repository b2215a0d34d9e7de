"""What the doctor says, as the command line, the app and a bug report share it. Imports no torch: the doctor's torch
stays in its own process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distprompt_tui.text.terminal_text import sanitize

NAME_CELLS = 13
"""The longest name of a check and a space."""


@dataclass(frozen=True)
class Check:
    """One thing looked at; `advice` is empty where all is well."""

    name: str
    value: str
    advice: str = ""


def as_text(checks: Sequence[Check]) -> str:
    """A line a check, `!` before those with advice, which stands below."""
    lines = []
    for check in checks:
        lines.append(f"{'!' if check.advice else ' '} {check.name:{NAME_CELLS}} {sanitize(check.value)}")
        if check.advice:
            lines.append(" " * (NAME_CELLS + 3) + sanitize(check.advice))
    return "\n".join(lines)
