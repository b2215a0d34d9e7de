"""The start screen's sentences: the welcome, a model that is not ready, a target that is still to be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distprompt_tui.text.formatting import Line
from distprompt_tui.text.terminal_text import sanitize
from distprompt_tui.tui.start.preview_service import Preparing

if TYPE_CHECKING:
    from distprompt_tui.models.registry import ModelEntry

WELCOME: Line = [
    ("distprompt  ", "heading"),
    ("enter", "key"),
    (" searches for the chosen target, ", ""),
    ("n", "key"),
    (" writes one of your own.", ""),
    ("  Can a model be prompted into it?", "quiet"),
]
"""What a person does first, in 80 columns."""


def notice_line(problem: str, model: ModelEntry | None, preparing: Preparing | None) -> Line:
    """The line under the header: a preset that is wrong, a model that is not ready."""
    if problem:
        return [("! ", "error"), (sanitize(problem), "error")]
    if model is None:
        return []
    name = sanitize(model.title or model.name)
    if preparing is not None and preparing.failure:
        return [
            ("! ", "error"),
            (f"{name} could not be prepared: {sanitize(preparing.failure)}  p tries again", "error"),
        ]
    if preparing is not None:
        done = f" {100 * preparing.fraction:.0f} %" if preparing.fraction is not None else ""
        return [
            ("◐ ", "warning"),
            (f"{name} is being prepared:{done} ", ""),
            (f"{sanitize(preparing.text)}.  Done once, then it loads at once.", "quiet"),
        ]
    if model.status == "hub":
        return [("○ ", "quiet"), (f"{name} is not on this machine: p downloads it from {sanitize(model.source)}.", "")]
    return []


def no_target_yet(model: ModelEntry | None, model_server_status: str) -> str:
    """The sentence in the place of a target that has not been made."""
    if model is None:
        return "Choose a model: the target is drawn over its tokens."
    if model.status != "prepared":
        return "The target is drawn when the model has been prepared: it needs the model's tokens."
    return f"The target is being made: {model_server_status}." if model_server_status else "The target is being made…"
