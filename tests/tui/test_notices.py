"""Notices replace each other instead of piling up, and are short; ASCII mode keeps `KL(p||q)`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distprompt_tui.core.config.paths import without_home
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.run.token_panel import TokenList
from distprompt_tui.tui.start.screen import StartScreen
from tests.tui.conftest import screen_text, until
from tests.tui.recording import recorded

Make = Callable[..., DistPromptApp]


async def test_notice_replaces_equal_ones_and_notes_but_no_warning(app_on: Make, small_world: object) -> None:
    app = app_on()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: isinstance(app.screen, StartScreen))

        async def shown(text: str, **how: str) -> list[str]:
            app.notify(text, **how)  # type: ignore[arg-type]
            await until(pilot, lambda: any(notice.message == text for notice in app._notifications))
            return [notice.message for notice in app._notifications]

        assert await shown("one") == ["one"]
        assert await shown("two") == ["two"]
        assert await shown("a warning", severity="warning") == ["two", "a warning"]
        assert await shown("a warning", severity="warning") == ["two", "a warning"]
        assert await shown("three") == ["a warning", "three"]


async def test_copying_twice_is_one_short_notice(tmp_path: Path, app_on: Make) -> None:
    run = recorded(tmp_path / "runs")
    app = app_on(attach=run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.query_one(TokenList).table.complete)
        for _ in range(2):
            await pilot.press("y", "p")
            await until(pilot, lambda: app.clipboard == str(run.path) and app._notifications)
        (notice,) = app._notifications
        told = f"{len(str(run.path))} characters sent to the terminal (OSC 52) and kept in last-copy.txt."
        assert notice.message == told


def test_paths_of_notices_start_at_the_home_folder() -> None:
    assert without_home(str(Path.home() / "runs" / "x.csv")) == "~/runs/x.csv"


async def test_divergence_keeps_both_bars_in_ascii(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"), ascii_only=True)
    async with app.run_test(size=(120, 60)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.query_one(TokenList).table.complete)
        assert "KL(p||q), nats" in screen_text(app)
        await pilot.press("m")
        await until(pilot, lambda: "Reverse KL" in screen_text(app))
        await pilot.press("question_mark", "slash", *"minimises")
        await until(pilot, lambda: "KL(p||q) in nats" in screen_text(app))
