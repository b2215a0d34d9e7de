"""The help: its layout, searching it, and running a key from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.tui import keymap
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.run.token_panel import TokenList
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.tools.help_screen import HelpScreen, help_entries, help_lines
from tests.tui.conftest import screen_text, until
from tests.tui.recording import recorded

Make = Callable[..., DistPromptApp]


@pytest.mark.parametrize("width", [50, 71, 75])
def test_further_lines_are_indented(width: int) -> None:
    for table in keymap.TABLES.values():
        lines = help_lines(table, width)
        assert all(width_of(line) <= width for line in lines)
        headings = {entry.heading for entry in help_entries(table, width)}
        for line in map(plain_text, lines):
            assert not line or line in headings or line.startswith("  ")


async def test_no_word_is_alone_at_the_edge_on_80_columns(app_on: Make, small_world: object) -> None:
    app = app_on()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, StartScreen))
        await pilot.press("question_mark", "end")
        await until(pilot, lambda: "KL contribution" in screen_text(app))
        inner = [line[3:-3] for line in screen_text(app).splitlines()[2:-2]]
        assert all(line.startswith("  ") or not line.strip() or line.strip() == "Terms" for line in inner), inner
        assert "≥ 0" in screen_text(app)


async def test_help_is_searched_by_words(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        await pilot.press("question_mark", "slash", *"REPLAY faster")
        await until(pilot, lambda: "Faster replay" in screen_text(app) and "Slower" not in screen_text(app))
        assert "REPLAY faster" in screen_text(app)
        assert "In history" in screen_text(app)
        assert "Pause or resume" not in screen_text(app)
        await pilot.press(*"zzz")
        await until(pilot, lambda: "Nothing contains these words." in screen_text(app))
        await pilot.press("enter", "enter", "escape")
        await until(pilot, lambda: "Pause or resume" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))


async def test_enter_runs_an_available_key_of_the_screen_and_of_the_app(
    tmp_path: Path, app_on: Make, small_world: object
) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.query_one(TokenList).table.complete)
        run = app.screen
        order = run.query_one(TokenList).table.order
        await pilot.press("question_mark", "slash", *"sort tokens", "enter", "enter")
        await until(pilot, lambda: app.screen is run and run.query_one(TokenList).table.order != order)
        await pilot.press("question_mark", "slash", *"stop the search", "enter", "enter")
        await until(pilot, lambda: any(notice.message == "Not available now." for notice in app._notifications))
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("escape", "slash", *"lock or unlock", "enter", "enter")
        await until(pilot, lambda: any("in its panel" in notice.message for notice in app._notifications))
        await pilot.press("escape", "slash", *"settings", "enter", "enter")
        await until(pilot, lambda: "Changes are applied" in screen_text(app))
