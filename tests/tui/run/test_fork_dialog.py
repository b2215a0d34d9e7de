"""Starting a new search from an old one, and read-only apps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.core.config.search_specs import Hard, Soft
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Uniform
from distprompt_tui.core.errors import UsageError
from distprompt_tui.runs.events import Tailer, decode_object
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run.fork_dialog import ForkDialog, forked, settings
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.start.screen import StartScreen
from tests.tui.conftest import screen_text, until
from tests.tui.recording import Recorder, recorded
from tests.tui.run.operating import complete

Make = Callable[..., DistPromptApp]
SOFT = RunSpec(target=Uniform(), search=Soft(length=7, lr=0.3), seed=5)
HARD = RunSpec(target=Uniform(), search=Hard(length=7, width=32))


def with_one(spec: RunSpec, **changes: str) -> RunSpec:
    return forked(spec, settings(spec) | changes)


def test_one_setting_is_changed() -> None:
    assert with_one(SOFT, length="9").search == Soft(length=9, lr=0.3)
    assert with_one(SOFT, lr="2").search == Soft(length=7, lr=2.0)
    assert with_one(SOFT, init="random").search == Soft(length=7, lr=0.3, init="random")
    assert with_one(SOFT, steps="20").budget.steps == 20
    assert with_one(SOFT, seed="6") == SOFT.model_copy(update={"seed": 6})
    assert with_one(SOFT, method="hard").search == Hard(length=7)
    assert with_one(HARD, width="8").search == Hard(length=7, width=8)


@pytest.mark.parametrize(
    ("spec", "changes", "words"),
    [
        (SOFT, {}, "change one value first"),
        (SOFT, {"seed": "1", "length": "3"}, "length and seed are changed"),
        (SOFT, {"length": "0"}, "search.length: it should be greater"),
        (SOFT, {"length": "many"}, "search.length: it should be a whole number"),
        (SOFT, {"lr": ""}, "search.lr: it should be a number"),
        (SOFT, {"init": "initial_pool"}, "search.init"),
        (SOFT, {"init": "text"}, "init_text"),
        (SOFT, {"method": "medium"}, "unknown value 'medium'"),
        (HARD, {"width": "1.5"}, "search.width: it should be a whole number"),
        (HARD, {"seed": "-1"}, "seed: it should be greater"),
    ],
)
def test_invalid_changes_raise(spec: RunSpec, changes: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        with_one(spec, **changes)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_forking_starts_the_new_search_and_shows_it(
    tmp_path: Path, app_on: Make, small_world: list[RunSpec], size: tuple[int, int]
) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard"))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: complete(app))
        first = app.screen
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, ForkDialog))
        for setting in ("method", "length", "init", "width", "steps", "seed"):
            assert setting in screen_text(app)
        await pilot.press("down", *"abc", "enter")
        await until(pilot, lambda: "search.length: it should be a whole number" in screen_text(app))
        assert small_world == []
        await pilot.press("home", "ctrl+k", "1", "2", "enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen is not first)
        assert [spec.search for spec in small_world] == [Hard(length=12)]


async def test_cancelling_starts_nothing(tmp_path: Path, app_on: Make, small_world: list[RunSpec]) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, ForkDialog))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert small_world == []


@pytest.mark.parametrize("key", ["space", "s", "n"])
async def test_read_only_app_shows_one_message(tmp_path: Path, app_on: Make, key: str) -> None:
    recorder = Recorder(tmp_path / "runs")
    recorder.start()
    app = app_on(attach=recorder.run, read_only=True)
    with recorder.living_worker():
        async with app.run_test(size=(100, 30), notifications=True) as pilot:
            await until(pilot, lambda: "running" in screen_text(app))
            await pilot.press(key)
            await until(pilot, lambda: "This app is read-only" in screen_text(app))
            assert isinstance(app.screen, RunScreen)
            assert Tailer(recorder.run.control, decode_object).read() == []


async def test_a_read_only_app_starts_and_writes_nothing(
    tmp_path: Path, app_on: Make, small_world: list[RunSpec]
) -> None:
    run = recorded(tmp_path / "runs")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    app = app_on(attach=run, read_only=True)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("y", "p")
        await until(pilot, lambda: app.clipboard == str(run.path))
        await pilot.press("r")
        await until(pilot, lambda: "This app is read-only" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and app.screen.models)
        app.clear_notifications()
        app.start_search(SOFT)
        await until(pilot, lambda: app._notifications)
        assert small_world == []
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
