"""Properties of the whole app: imports, themes, character sets, and exit."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.theme import BUILTIN_THEMES

from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import ROLES
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.run.token_panel import TokenList
from distprompt_tui.tui.themes import THEMES, semantic_variables
from tests.tui.conftest import screen_text, until
from tests.tui.recording import recorded
from tests.waiting import DEADLINE_SECONDS

Make = Callable[..., DistPromptApp]


def test_first_paint_imports_nothing_heavy() -> None:
    code = (
        "import sys, distprompt_tui.tui.app, distprompt_tui.tui.run.screen, distprompt_tui.tui.start.screen,"
        "distprompt_tui.tui.sweeps.list_screen, distprompt_tui.tui.sweeps.screen;"
        "print(*(name for name in ('torch', 'transformers', 'numpy', 'pydantic', 'tokenizers', 'plotext')"
        " if name in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == []


def test_watching_a_run_never_imports_torch(tmp_path: Path) -> None:
    run = recorded(tmp_path / "runs")
    code = f"""
import asyncio, sys
from pathlib import Path
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run.token_panel import TokenList
from distprompt_tui.tui.run.screen import RunScreen

async def watch():
    app = DistPromptApp(runs_dir=Path({str(tmp_path)!r}), attach=RunDirectory(Path({str(run.path)!r})))
    async with app.run_test(size=(120, 40)) as pilot:
        while not (isinstance(app.screen, RunScreen) and app.screen.query_one(TokenList).table.complete):
            await pilot.pause(0.02)

asyncio.run(watch())
print(*(name for name in ("torch", "transformers") if name in sys.modules))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", sorted({*BUILTIN_THEMES, *(theme.name for theme in THEMES)}))
async def test_every_theme_draws_every_role(tmp_path: Path, app_on: Make, name: str) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", steps=3))
    async with app.run_test(size=(100, 30)) as pilot:
        app.theme = name
        await pilot.pause()
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.query_one(TokenList).table.complete)
        colours = semantic_variables(app.current_theme)
        assert len({colours["target"], colours["achieved"], colours["agreed"]}) == 3
        for style in ROLES.values():
            app.stylesheet.parse_style(style)
        assert "·banana" in screen_text(app)


async def test_ascii_mode_is_ascii_everywhere(tmp_path: Path, app_on: Make, small_world: object) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard"), ascii_only=True)
    async with app.run_test(size=(120, 60)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.query_one(TokenList).table.complete)
        for keys in (
            *((), ("question_mark",), ("escape", "y"), ("escape", "w"), ("escape", "ctrl+p")),
            *(("escape", "n"), ("escape", "m", "enter", "h", "p"), ("escape", "t"), ("escape", "d")),
        ):
            await pilot.press(*keys)
            await pilot.pause(0.1)
            text = screen_text(app)
            assert text.isascii(), {char for char in text if not char.isascii()}


async def test_symbols_are_readable_without_colour(
    tmp_path: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = app_on(attach=recorded(tmp_path / "runs", steps=5))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.query_one(TokenList).table.complete)
        strips = app.screen._compositor.render_strips()
        colours = {segment.style.color.name for strip in strips for segment in strip if segment.style.color}
        assert colours <= {"default"}
        assert "▀" in screen_text(app)


async def test_threads_do_not_delay_the_exit(app_on: Make, small_world: object) -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(600)  # an exit that waits for this fails, and does not hang
        ended.set()

    app = app_on()
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        app.run_worker(in_thread(work))
        await pilot.pause()
        await pilot.press("q")
    held_up = ended.is_set()
    release.set()
    assert not held_up


async def test_threads_return_results_and_errors() -> None:
    assert await in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 / 0)
