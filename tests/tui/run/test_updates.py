"""Hidden widgets are not drawn, ends are reported on other screens, other users' runs are read-only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run.divergence_plot import DivergencePlot
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.run.token_table import TokenSource
from distprompt_tui.tui.tools.settings_screen import SettingsScreen
from tests.tui.conftest import screen_text, until, watched
from tests.tui.recording import recorded, searching

Make = Callable[..., DistPromptApp]


async def test_hidden_widgets_are_not_drawn(tmp_path: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden panels and covered screens are not drawn while the run continues."""
    recorder = searching(tmp_path / "runs", steps=3)
    drawn: list[str] = []
    lines, build = DivergencePlot.lines, TokenSource.build
    monkeypatch.setattr(DivergencePlot, "lines", lambda *args: (drawn.append("plot"), lines(*args))[1])
    monkeypatch.setattr(TokenSource, "build", lambda *args: (drawn.append("tokens"), build(*args))[1])
    async with watched(recorder, app_on, size=(120, 40)) as (app, pilot):

        async def go_on() -> list[str]:
            drawn.clear()
            recorder.steps(1)
            live = next(screen for screen in app.screen_stack if isinstance(screen, RunScreen))
            await until(pilot, lambda: live.view.state.step == recorder.step)
            await pilot.pause(0.2)
            return drawn

        await until(pilot, lambda: "tokens" in drawn)
        await pilot.press("1")
        assert "plot" not in await go_on()
        await pilot.press("1", "4")
        assert "tokens" not in await go_on()
        await until(pilot, lambda: "plot" in drawn)
        await pilot.press("4", "comma")
        await until(pilot, lambda: isinstance(app.screen, SettingsScreen))
        await go_on()  # what was on its way
        assert not await go_on()
        await pilot.press("escape")
        await until(pilot, lambda: f"step {recorder.step}/100" in screen_text(app) and "tokens" in drawn)


async def test_end_is_reported_on_another_screen(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", steps=3)
    async with watched(recorder, app_on, size=(100, 30), notifications=True) as (app, pilot):
        await until(pilot, lambda: "running" in screen_text(app))
        await pilot.press("comma")
        recorder.end("target reached")
        await until(pilot, lambda: "reached," in screen_text(app))


async def test_run_of_another_user_is_read_only(tmp_path: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "read-only" in screen_text(app))
