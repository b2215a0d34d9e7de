"""Open the editor, type into it and read it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot

from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.editor.draft_form import DraftForm
from distprompt_tui.tui.editor.screen import EditorScreen
from distprompt_tui.tui.editor.target_draft import Draft
from distprompt_tui.tui.start.screen import StartScreen
from tests.tui.conftest import screen_text, until


@asynccontextmanager
async def editor(app: DistPromptApp, preset: str = "", size: tuple[int, int] = (80, 24)) -> AsyncIterator[Pilot[int]]:
    """Open the editor with a preset or blank, ready for input."""
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and app.screen.presets and app.screen.model)
        if preset:
            app.screen.choose("presets", preset)  # type: ignore[attr-defined]
            await pilot.pause()
        await pilot.press("e" if preset else "n")
        await until(pilot, lambda: isinstance(app.screen, EditorScreen) and "reading the model" not in screen_text(app))
        yield pilot


async def write(pilot: Pilot[Any], *parts: str) -> None:
    """Type texts; names in angle brackets are keys."""
    for part in parts:
        if part.startswith("<"):
            await pilot.press(part.strip("<>"))
        else:
            await pilot.press(*("space" if char == " " else char for char in part))
    await pilot.pause()


def draft(app: DistPromptApp) -> Draft:
    return app.screen.query_one(DraftForm).draft.trimmed()


async def shown(pilot: Pilot[Any], text: str) -> None:
    await until(pilot, lambda: text in screen_text(pilot.app))  # type: ignore[arg-type]
