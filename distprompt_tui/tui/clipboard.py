"""What can be copied from a run, as text. OSC 52, which asks the terminal, is never answered: a file gets it too."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from distprompt_tui.runs.state import RunState

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory

MAX_TERMINAL_BYTES = 70_000
"""Terminals and tmux drop longer OSC 52 sequences without a word."""


def text_of(what: str, run: RunDirectory, state: RunState) -> str:
    """The text of one of `copy_question`'s answers; empty where there is nothing yet."""
    if what == "path":
        return str(run.path)
    if what == "command":
        return f"distprompt-tui attach {shlex.quote(run.name)}"
    if what == "result":
        return _read(run.result)
    best = _best_prompt(run)
    if what == "text" and isinstance(best.get("text"), str):
        return str(best["text"])
    if what == "ids" and isinstance(best.get("ids"), list):
        return json.dumps(best["ids"])
    tokens = state.snapshot.prompt if state.snapshot else ()
    return "".join(token.text for token in tokens) if what == "text" else json.dumps([token.id for token in tokens])


def keep(text: str, run: RunDirectory) -> Path | None:
    """Write the text beside the run; None where that cannot be done."""
    return keep_in(text, run.path)


def keep_in(text: str, folder: Path) -> Path | None:
    """Write the text into a folder; None where that cannot be done."""
    path = folder / "last-copy.txt"
    try:
        path.write_text(text)
    except OSError:
        return None
    return path


def _best_prompt(run: RunDirectory) -> dict[str, object]:
    try:
        value = json.loads(_read(run.best / "prompt.json") or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
