"""History, replay, frozen view, metrics and pins, on recorded and growing runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import Tailer, decode_object
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run.divergence_plot import DivergencePlot
from distprompt_tui.tui.run.monitor import RunMonitor
from distprompt_tui.tui.run.playback import Playback
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.start.screen import StartScreen
from tests.tui.conftest import asked, screen_text, until, watched
from tests.tui.recording import SIZE, Recorder, recorded, searching
from tests.tui.run.operating import bars, complete

Make = Callable[..., DistPromptApp]


def plot(app: DistPromptApp) -> str:
    return screen_text(app).partition("esc start screen")[2].partition("From start")[0]


def pinned(app: DistPromptApp) -> list[int]:
    table = bars(app).table
    return table.ids[: table.pinned]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_history_browses_all_snapshots(tmp_path: Path, app_on: Make, size: tuple[int, int]) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", "hard", steps=40))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: complete(app))
        newest = bars(app).table.row(0).achieved
        await pilot.press("h")
        await until(pilot, lambda: "step 40 of 40, history" in screen_text(app))
        assert "esc back to the end" in screen_text(app)
        await pilot.press("left", "left")
        await until(pilot, lambda: "step 38 of 40, history" in screen_text(app))
        await pilot.press("home")
        await until(pilot, lambda: "step 1 of 40, history" in screen_text(app) and len(bars(app).table) == 20)
        if size == (120, 40):  # where the prompt has a title: 10 positions changed at step 1, one at any later step
            assert "10 positions changed at step" in screen_text(app)
        assert "Step 1 " in screen_text(app)  # the plot's cursor
        assert bars(app).table.row(0).achieved < newest
        await pilot.press("pagedown", "right")
        await until(pilot, lambda: "step 6 of 40" in screen_text(app))
        await pilot.press("end")
        await until(pilot, lambda: "step 40 of 40" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: complete(app))
        assert "history ·" not in screen_text(app)
        assert "budget spent" in screen_text(app)


async def test_live_run_continues_during_history(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", steps=5)
    async with watched(recorder, app_on, size=(120, 40)) as (app, pilot):
        await until(pilot, lambda: complete(app))
        await pilot.press("h", "left")
        await until(pilot, lambda: "step 4 of 5, history" in screen_text(app))
        recorder.steps(3)
        await until(pilot, lambda: "step 4 of 8, history" in screen_text(app))
        assert "step 8/100" in screen_text(app)
        await pilot.press("end")
        await until(pilot, lambda: "step 8 of 8" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: complete(app) and "history   esc" not in screen_text(app))


async def test_no_history_before_the_first_snapshot(tmp_path: Path, app_on: Make) -> None:
    recorder = Recorder(tmp_path / "runs")
    recorder.start()
    app = app_on(attach=recorder.run)
    with recorder.living_worker():
        async with app.run_test(size=(100, 30), notifications=True) as pilot:
            await until(pilot, lambda: "running" in screen_text(app))
            await pilot.press("h")
            await until(pilot, lambda: "before the first snapshot" in screen_text(app))
            assert "step" not in screen_text(app).split("\n")[2]


async def visit(run: RunDirectory) -> tuple[Playback, RunMonitor]:
    follower = RunMonitor(run)
    state = follower.poll().state
    playback = Playback(follower.recording)
    await playback.seek(10**9, state)
    return playback, follower


async def test_a_replay_keeps_the_pace_of_the_search(tmp_path: Path) -> None:
    playback, follower = await visit(recorded(tmp_path, steps=40))  # a second a step
    state = follower.poll().state
    assert playback.current is not None
    playback.toggle_playing(state)  # at the end: it starts over
    await playback.play_on(2.5, state)
    assert playback.current.step == 3
    await playback.play_on(0.6, state)
    assert playback.current.step == 4
    playback.change_speed(1)
    await playback.play_on(2, state)
    assert (playback.speed, playback.current.step, playback.is_playing) == (4, 12, True)
    playback.change_speed(9)
    await playback.play_on(1, state)
    assert (playback.speed, playback.current.step, playback.is_playing) == (64, 40, False)
    playback.change_speed(-9)
    assert playback.speed == 1


async def test_replaying_on_the_screen(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs", steps=40))
    app.updates_per_second = 20.0
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("h", "p")
        assert "replay 1x" in screen_text(app)
        await pilot.press("greater_than_sign", "greater_than_sign", "greater_than_sign")
        await until(pilot, lambda: "step 40 of 40, history" in screen_text(app))
        await pilot.press("home", *["less_than_sign"] * 3, "p")
        assert "replay 1x" in screen_text(app)
        await pilot.press("p")
        await until(pilot, lambda: ", history" in screen_text(app))


async def test_history_keys_do_nothing_outside_it(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("p", "less_than_sign")
        assert "history   esc" not in screen_text(app)
        await pilot.press("end")  # the tokens panel's own key
        assert bars(app).current_token == bars(app).table.ids[-1]


async def test_frozen_view_shows_the_steps_since(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", steps=4)
    async with watched(recorder, app_on, size=(120, 40)) as (app, pilot):
        await until(pilot, lambda: complete(app))
        await pilot.press("f")
        await until(pilot, lambda: "view frozen, +0 steps" in screen_text(app))
        before = bars(app).table.row(0).achieved
        recorder.steps(12)
        await until(pilot, lambda: "view frozen, +12 steps" in screen_text(app))
        await pilot.press("o")  # sorting does not let the newer distribution in
        await until(pilot, lambda: bars(app).table.order == "contribution")
        row = bars(app).table.index_of(0)
        assert row is not None
        assert bars(app).table.row(row).achieved == before
        await pilot.press("f")
        await until(pilot, lambda: bars(app).table.row(bars(app).table.index_of(0) or 0).achieved > before)
        assert "view frozen" not in screen_text(app)


async def test_the_plot_shows_other_divergences(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        assert "floor" in screen_text(app)
        for name in (
            "Reverse KL  best prompt ",
            "Jensen–Shannon  best prompt 0.100, lowest 0.100, nats",
            "Total variation  best prompt 0.200, lowest 0.200, log",
        ):
            await pilot.press("m")
            await until(pilot, lambda name=name: name in plot(app) and "uniform" in plot(app))
            assert "◆ lowest" in plot(app)
            assert "floor" not in plot(app)
            assert "head optimum" not in plot(app)
        await pilot.press("m")
        await until(pilot, lambda: "KL(p‖q), nats, log" in screen_text(app))


async def test_an_infinite_reverse_divergence_is_a_gap(tmp_path: Path, app_on: Make) -> None:
    recorder = Recorder(tmp_path / "runs")
    recorder.start()
    recorder.infinite_until = 3
    recorder.steps(3)
    async with watched(recorder, app_on, size=(120, 40)) as (app, pilot):
        await until(pilot, lambda: complete(app))
        await pilot.press("m")
        await until(pilot, lambda: "Reverse KL is infinite at every step" in screen_text(app))
        recorder.steps(5)
        await until(pilot, lambda: "gaps: infinite" in screen_text(app))
        assert "Reverse KL  now " in screen_text(app)
        app.screen.query_one(DivergencePlot).focus()
        await pilot.press("home")
        await until(pilot, lambda: "Step 1  reverse KL infinite" in screen_text(app))


async def test_pinned_tokens_stay_on_top(tmp_path: Path, app_on: Make) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("down", "down", "down", "enter")
        await until(pilot, lambda: pinned(app) == [3])
        assert "*" in screen_text(app)
        assert bars(app).current_token == bars(app).table.ids[3]  # the row stays, so that the next pin is near
        await pilot.press("end", "plus")
        await until(pilot, lambda: pinned(app) == [3, 63])
        await pilot.press("slash", *"word1")
        await until(pilot, lambda: bars(app).table.find == "word1")
        assert pinned(app) == [3, 63]
        assert len(bars(app).table) == 12
        await pilot.press("escape", "h", "home")
        await until(pilot, lambda: "step 1 of 40" in screen_text(app) and not bars(app).table.complete)
        unrecorded = bars(app).table.row(1)
        assert (unrecorded.id, unrecorded.is_pinned, unrecorded.text) == (63, True, " word63")
        assert math.isnan(unrecorded.achieved)  # shown as —
        await pilot.press("escape")
        await until(pilot, lambda: complete(app))
        bars(app).action_top()
        await pilot.press("enter")
        await until(pilot, lambda: pinned(app) == [63])
        assert len(bars(app).table) == SIZE


async def test_escape_closes_one_thing_at_a_time(tmp_path: Path, app_on: Make, small_world: object) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("h", "t", "x", "escape")
        await until(pilot, lambda: "history" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "history   esc" not in screen_text(app))
        assert isinstance(app.screen, RunScreen)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))


async def test_two_viewers_watch_one_run(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs")
    one, other = app_on(attach=recorder.run), app_on(attach=recorder.run, read_only=True)
    one.updates_per_second = other.updates_per_second = 20.0
    with recorder.living_worker():
        async with one.run_test(size=(120, 40)) as first, other.run_test(size=(80, 24)) as second:
            await until(first, lambda: complete(one))
            await until(second, lambda: complete(other))
            await second.press("h", "left")
            await first.press("space")
            request = await asked(first, Tailer(recorder.run.control, decode_object))
            recorder.writer.write(schema.Control(command="pause", outcome="paused", id=request["id"]))
            recorder.steps(1)
            await until(first, lambda: "paused" in screen_text(one) and "step 3/100" in screen_text(one))
            await until(second, lambda: "paused" in screen_text(other) and "step 1 of 3" in screen_text(other))
            assert "read-only" in screen_text(other)
            assert "read-only" not in screen_text(one)
