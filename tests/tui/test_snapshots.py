"""A few whole screens as they were when somebody looked at them: text, borders and colours. No clock is in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from distprompt_tui.core.text import formatting
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run.prompt_view import PromptView
from distprompt_tui.tui.run.token_panel import TokenList
from distprompt_tui.tui.runs.compare_screen import CompareScreen
from distprompt_tui.tui.runs.run_table import RunTable
from distprompt_tui.tui.runs.screen import RunsScreen
from tests.tui.conftest import screen_text, until, watched
from tests.tui.recording import Recorder, recorded, searching
from tests.tui.snapshots import compare_with_kept, picture

Make = Callable[..., DistPromptApp]


@pytest.fixture(autouse=True)
def one_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same terminal, settings and time everywhere."""
    monkeypatch.setattr(formatting, "ago", lambda seconds: "just now")
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "TEXTUAL_COLOR_SYSTEM", "SSH_CONNECTION", "TMUX"):
        monkeypatch.delenv(name, raising=False)


def living(tmp_path: Path, method: str) -> Recorder:
    recorder = searching(tmp_path / "runs", method, steps=40)
    recorder.bounds()
    return recorder


async def drawn(app: DistPromptApp, pilot: Pilot[Any]) -> None:
    """Wait until all of a run's tokens are on the screen."""
    await until(pilot, lambda: app.screen.query(TokenList) and app.screen.query_one(TokenList).table.complete)
    await until(pilot, lambda: "step 40" in screen_text(app) and "·word10" in screen_text(app))


async def test_start(app_on: Make, small_world: object) -> None:
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: all(text in screen_text(app) for text in ("head optimum    0.500", " on cpu ")))
        compare_with_kept("start-120x40", picture(app))


async def test_live_on_a_small_terminal(tmp_path: Path, app_on: Make) -> None:
    async with watched(living(tmp_path, "soft"), app_on, size=(80, 24)) as (app, pilot):
        await until(pilot, lambda: "step 40" in screen_text(app) and "[TODO]" in screen_text(app))
        await until(pilot, lambda: app.screen.query_one(TokenList).table.complete)
        compare_with_kept("live-80x24", picture(app))


async def test_live_with_the_prompt_in_its_colours(tmp_path: Path, app_on: Make) -> None:
    async with watched(living(tmp_path, "hard"), app_on, size=(120, 40)) as (app, pilot):
        await drawn(app, pilot)
        app.screen.query_one(PromptView).focus()
        await pilot.press("c", "right", "right")
        await until(pilot, lambda: "3 surprisal 2.5" in screen_text(app))
        compare_with_kept("live-120x40", picture(app))


async def test_density_with_a_selected_cell(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.screen.query(TokenList) and app.screen.query_one(TokenList).table.complete)
        await pilot.press("v")
        await until(pilot, lambda: "Arrow keys" in screen_text(app))
        await pilot.press("home")
        await until(pilot, lambda: "KL, nats" in screen_text(app))
        compare_with_kept("density-120x40", picture(app))


async def test_compare(tmp_path: Path, app_on: Make, small_world: object) -> None:
    for method, steps in (("soft", 60), ("hard", 25)):
        path = recorded(tmp_path / "runs", method, steps=steps).path
        path.rename(path.with_name(method))  # runs are sorted by name
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen) and app.screen.query_one(RunTable).row_count == 2)
        await pilot.press("space", "space", "c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and "log, over steps" in screen_text(app))
        await until(pilot, lambda: "search.method" in screen_text(app))
        compare_with_kept("compare-120x40", picture(app))
