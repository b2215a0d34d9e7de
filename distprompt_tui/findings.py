"""What the doctor says, as the command line, the app and a bug report share it. Imports no torch: the doctor's torch
stays in its own process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distprompt_tui.tokens import safe

NAME_CELLS = 13
"""The longest name of a finding and a space."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `advice` is empty where all is well."""

    name: str
    value: str
    advice: str = ""


def as_text(findings: Sequence[Finding]) -> str:
    """A line a finding, `!` before those with advice, which stands below."""
    lines = []
    for finding in findings:
        lines.append(f"{'!' if finding.advice else ' '} {finding.name:{NAME_CELLS}} {safe(finding.value)}")
        if finding.advice:
            lines.append(" " * (NAME_CELLS + 3) + safe(finding.advice))
    return "\n".join(lines)
