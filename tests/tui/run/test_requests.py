"""Requests of the run screen: pause, stop, quit, and their answers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.runs import schema
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.events import Tailer, decode_object
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run import controls
from distprompt_tui.tui.run.prompt_view import PromptView
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.start.screen import StartScreen
from distprompt_tui.tui.widgets.dialogs import Question
from tests.tui.conftest import asked, screen_text, until, watched
from tests.tui.recording import Recorder, recorded, searching
from tests.tui.run.operating import complete

Make = Callable[..., DistPromptApp]


async def test_pause_and_resume_reach_the_worker(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs")
    app = app_on(attach=recorder.run)
    app.updates_per_second = 20.0
    commands = Tailer(recorder.run.control, decode_object)
    with recorder.living_worker():
        async with app.run_test(size=(100, 30)) as pilot:
            await until(pilot, lambda: "running" in screen_text(app))
            await pilot.press("space")
            assert "pausing…" in screen_text(app)
            request = await asked(pilot, commands)
            assert request["command"] == "pause"
            recorder.writer.write(schema.Control(command="pause", outcome="paused", id=request["id"]))
            await until(pilot, lambda: "paused" in screen_text(app))
            assert "resume" in screen_text(app)
            await pilot.press("space")
            assert (await asked(pilot, commands))["command"] == "resume"


async def test_pause_and_resume_within_one_poll_leave_nothing_pending(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs")
    commands = Tailer(recorder.run.control, decode_object)
    async with watched(recorder, app_on, size=(100, 30)) as (app, pilot):
        await until(pilot, lambda: "running" in screen_text(app))
        await pilot.press("space")
        pause = await asked(pilot, commands)
        await pilot.press("space")
        resume = await asked(pilot, commands)
        assert (pause["command"], resume["command"]) == ("pause", "resume")
        assert "resuming…" in screen_text(app)
        for request, outcome in ((pause, "paused"), (resume, "resumed")):
            recorder.writer.write(schema.Control(command=request["command"], outcome=outcome, id=request["id"]))
        await until(pilot, lambda: "● running" in screen_text(app))


async def test_another_viewers_answer_is_not_taken_for_ones_own(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs")
    commands = Tailer(recorder.run.control, decode_object)
    async with watched(recorder, app_on, size=(100, 30)) as (app, pilot):
        await until(pilot, lambda: "running" in screen_text(app))
        await pilot.press("space")
        mine = await asked(pilot, commands)
        recorder.writer.write(schema.Control(command="pause", outcome="paused", id="another viewer's"))
        recorder.writer.write(schema.Control(command="pause", outcome="paused"))  # of a worker that gives no ids
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await until(pilot, lambda: screen.view.state.phase == "paused")
        assert "pausing…" in screen_text(app)
        recorder.writer.write(schema.Control(command="pause", outcome="paused", id=mine["id"]))
        await until(pilot, lambda: "‖ paused" in screen_text(app))


def _link(control: Path) -> None:
    control.unlink()
    control.symlink_to(control.with_name("elsewhere"))


def _folder(control: Path) -> None:
    control.unlink()
    control.mkdir()


def _pipe(control: Path) -> None:
    control.unlink()
    os.mkfifo(control)


def _nothing(control: Path) -> None:
    control.parent.rename(control.parent.with_name("moved"))


@pytest.mark.parametrize("spoil", [_link, _folder, _pipe, _nothing])
async def test_a_request_that_cannot_be_written_is_told(
    tmp_path: Path, app_on: Make, spoil: Callable[[Path], None]
) -> None:
    recorder = searching(tmp_path / "runs", "hard")
    async with watched(recorder, app_on, size=(120, 40), notifications=True) as (app, pilot):
        await until(pilot, lambda: "running" in screen_text(app) and complete(app))
        screen = app.screen
        assert isinstance(screen, RunScreen)
        spoil(recorder.run.control)
        screen.control.run = recorder.run
        screen.action_pause()  # at once: a run that has moved away is soon not live any more
        await until(pilot, lambda: "cannot send pause" in screen_text(app))
        screen.query_one(PromptView).post_message(PromptView.LockAsked(1, locked=True))
        if spoil is not _nothing:  # then there is no run any more whose prompt could be changed
            await until(pilot, lambda: "cannot send lock" in screen_text(app))
        assert screen.control.pending == ""


async def test_a_slow_stop_offers_to_kill(tmp_path: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = searching(tmp_path / "runs")
    monkeypatch.setattr("distprompt_tui.runs.process.SLOW_STOP_SECONDS", 0.0)
    monkeypatch.setattr("distprompt_tui.runs.process.stop", lambda run, force: not force.wait(60))
    async with watched(recorder, app_on, size=(120, 40), notifications=True) as (app, pilot):
        await until(pilot, lambda: "running" in screen_text(app))
        await pilot.press("s", "s")
        await until(pilot, lambda: "s kill now" in screen_text(app))
        assert "stopping…" in screen_text(app)
        await pilot.press("s")
        await until(pilot, lambda: "Kill now" in screen_text(app))
        await pilot.press("k")
        await until(pilot, lambda: "stopped (forced)" in screen_text(app))


async def test_another_viewers_stop_is_shown_and_can_be_turned_into_a_kill(
    tmp_path: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = searching(tmp_path / "runs")
    forced: list[bool] = []
    monkeypatch.setattr("distprompt_tui.runs.process.SLOW_STOP_SECONDS", 0.0)
    monkeypatch.setattr("distprompt_tui.runs.process.stop", lambda run, force: forced.append(force.is_set()))
    async with watched(recorder, app_on, size=(120, 40), notifications=True) as (app, pilot):
        await until(pilot, lambda: "running" in screen_text(app))
        recorder.writer.write(schema.Control(command="stop", outcome="stopping", id="another viewer's"))
        await until(pilot, lambda: "stopping…" in screen_text(app) and "s kill now" in screen_text(app))
        await pilot.press("s")
        await until(pilot, lambda: "Kill now" in screen_text(app))
        assert forced == []
        await pilot.press("k")
        await until(pilot, lambda: forced == [True])


async def test_quitting_during_a_stop_waits_for_it(
    tmp_path: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, may_end = searching(tmp_path / "runs"), threading.Event()
    calls: list[threading.Event] = []

    def stop(run: RunDirectory, force: threading.Event) -> bool:
        calls.append(force)
        return may_end.wait(60)

    monkeypatch.setattr("distprompt_tui.runs.process.stop", stop)
    async with watched(recorder, app_on, size=(120, 40)) as (app, pilot):
        await until(pilot, lambda: "running" in screen_text(app))
        await pilot.press("s", "s")
        await until(pilot, lambda: "stopping…" in screen_text(app))
        await pilot.press("q", "s")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert app.is_running
        may_end.set()
        await until(pilot, lambda: app.return_value == 0)
        assert len(calls) == 1
        assert not calls[0].is_set()


async def test_stopping_asks_first(tmp_path: Path, app_on: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path / "runs")
    recorder.start()
    stopped: list[str] = []
    monkeypatch.setattr("distprompt_tui.runs.process.stop", lambda run, **how: stopped.append(run.name) or True)
    app = app_on(attach=recorder.run)
    with recorder.living_worker():
        async with app.run_test(size=(100, 30)) as pilot:
            await until(pilot, lambda: "running" in screen_text(app))
            await pilot.press("s", "x")
            assert isinstance(app.screen, RunScreen)
            await pilot.press("s")
            assert isinstance(app.screen, Question)
            await pilot.press("enter")
            await until(pilot, lambda: stopped == [recorder.run.name])


async def test_read_only_touches_nothing(tmp_path: Path, app_on: Make) -> None:
    recorder = Recorder(tmp_path / "runs")
    recorder.start()
    app = app_on(attach=recorder.run, read_only=True)
    with recorder.living_worker():
        async with app.run_test(size=(100, 30)) as pilot:
            await until(pilot, lambda: "running" in screen_text(app))
            await pilot.press("space", "s", "r")
            assert isinstance(app.screen, RunScreen)
            assert Tailer(recorder.run.control, decode_object).read() == []
            assert "read-only" in screen_text(app)
            await pilot.press("q")
            await pilot.pause()
        assert app.return_value == 0


async def test_quitting_asks_only_for_a_live_run(tmp_path: Path, app_on: Make) -> None:
    recorder = Recorder(tmp_path / "runs")
    recorder.start()
    app = app_on(attach=recorder.run)
    with recorder.living_worker():
        async with app.run_test(size=(100, 30)) as pilot:
            await until(pilot, lambda: "running" in screen_text(app))
            await pilot.press("q")
            assert "the search continues" in screen_text(app)
            await pilot.press("x")
            assert isinstance(app.screen, RunScreen)
            await pilot.press("q", "d")
            await pilot.pause()
        assert app.return_value == 0
        assert Tailer(recorder.run.control, decode_object).read() == []
    ended = app_on(attach=recorded(tmp_path / "runs"))
    async with ended.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "budget spent" in screen_text(ended))
        await pilot.press("q")
        await pilot.pause()
    assert ended.return_value == 0


async def test_detaching_leads_to_the_start_screen(tmp_path: Path, app_on: Make, small_world: object) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: complete(app))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))


def test_pending_command_has_a_label(tmp_path: Path) -> None:
    waiting = controls.RunControl(Recorder(tmp_path).run)
    assert waiting.pending == ""
