"""The first frame of `--preset`: shown before the preset is read; then the search, or the error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Temperature
from distprompt_tui.core.errors import UsageError
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.context import FirstSearch
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.start.screen import StartScreen
from tests.tui.conftest import preset_spec, screen_text, until
from tests.waiting import DEADLINE_SECONDS

Make = Callable[..., DistPromptApp]
Started = list[RunSpec]


def calm_search() -> FirstSearch:
    return FirstSearch("calm", lambda: preset_spec("calm", Temperature(entropy=2.0)))


async def test_an_invalid_first_search_ends_the_app(app_on: Make, small_world: Started) -> None:
    """The command line then prints the error on the restored terminal."""

    def read_spec() -> RunSpec:
        raise UsageError("calm.toml: wrong")

    app = app_on(first_search=FirstSearch("calm", read_spec))
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.return_code is not None)
    assert (app.return_code, str(app.first_error)) == (2, "calm.toml: wrong")
    assert not small_world


async def test_the_first_frame_names_the_search_before_its_spec_is_read(app_on: Make, small_world: Started) -> None:
    may_read = threading.Event()

    def read_spec() -> RunSpec:
        may_read.wait(DEADLINE_SECONDS)
        return preset_spec("calm", Temperature(entropy=2.0))

    app = app_on(first_search=FirstSearch("calm", read_spec))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "distprompt  calm" in screen_text(app))
        assert "Starting the search…" in screen_text(app)
        assert not small_world
        may_read.set()
        await until(pilot, lambda: isinstance(app.screen, RunScreen))


async def test_failed_start_is_reported(app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    def start_run(spec: RunSpec, runs_dir: Path) -> None:
        raise UsageError("no run can be written: disk full")

    monkeypatch.setattr("distprompt_tui.runs.process.start_run", start_run)
    app = app_on(first_search=calm_search())
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "disk full" in screen_text(app))
        await until(pilot, lambda: isinstance(app.screen, StartScreen))


async def test_a_spec_starts_at_once(app_on: Make, small_world: Started) -> None:
    app = app_on(first_search=calm_search())
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert len(small_world) == 1
