"""A screen as text that can be read and compared: its characters, and below them each row's styles, in runs.

Kept beside this file, in `snapshots/`; written anew, to be looked at in the difference before they are committed, by

    RENEW_SNAPSHOTS=1 pytest tests/tui/test_snapshots.py
"""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path
from string import ascii_letters, digits

from distprompt_tui.tui.app import DistPromptApp

FOLDER = Path(__file__).with_name("snapshots")
_LETTERS = ascii_letters + digits + "!#$%&*+=?@~"


def picture(app: DistPromptApp) -> str:
    """Return the text on the terminal."""
    letters: dict[str, str] = {}
    characters, styles = [], []
    for strip in app.screen._compositor.render_strips():
        characters.append(strip.text.rstrip())
        spans = [(str(segment.style or ""), segment.cell_length) for segment in strip if segment.cell_length]
        row = "".join(letters.setdefault(style, _LETTERS[len(letters)]) * cells for style, cells in spans)
        styles.append(_shortened(row))
    key = [f"{letter}  {style}" for style, letter in letters.items()]
    return "\n".join([*characters, "", *styles, "", *key, ""])


def compare_with_kept(name: str, shown: str) -> None:
    """Fail where a screen is not what it was.

    Raises:
        AssertionError: it is another, or none is kept; with both in the message.
    """
    path = FOLDER / f"{name}.txt"
    if os.environ.get("RENEW_SNAPSHOTS"):
        path.write_text(shown, encoding="utf-8")
    kept = path.read_text(encoding="utf-8") if path.exists() else ""
    assert shown == kept, f"{path.name} is not what it was: if that is wanted, see {Path(__file__).name}"


def _shortened(row: str) -> str:
    """Runs of one letter as letter and count."""
    return " ".join(f"{letter}{len(list(run))}" for letter, run in groupby(row))
