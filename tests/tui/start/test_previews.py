"""The start screen: the preview of a run, estimates, and waiting for bounds."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text
from distprompt_tui.tui.platform.model_client import ModelServer
from distprompt_tui.tui.runs.preview_reader import PreviewReader, RunPreview
from distprompt_tui.tui.runs.run_preview import RunPreviewPanel
from distprompt_tui.tui.start import preview_service
from distprompt_tui.tui.start.target_preview import PreviewData, preview_lines
from distprompt_tui.tui.start.target_preview_data import FoundBounds, ServerStatus, TargetPreview
from distprompt_tui.tui.start.terms import TERMS
from distprompt_tui.tui.widgets.dialogs import Question
from tests.tui.conftest import FakeModelClient, screen_text, until
from tests.tui.recording import recorded, searching
from tests.tui.start.test_screen import picks

Make = Callable[..., DistPromptApp]
Started = list[RunSpec]


async def test_wide_start_screen_previews_the_selected_run(
    tmp_path: Path, app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(tmp_path / "runs", "hard", steps=5)
    recorded(tmp_path / "runs", steps=40)
    app = app_on()
    async with app.run_test(size=(200, 55)) as pilot:
        await until(pilot, lambda: "unlike preset outlier" in screen_text(app).casefold())
        text = screen_text(app)
        assert "10 vectors" in text
        assert "head optimum 0.190 + excess" in text
        assert any("\u2800" < char <= "\u28ff" for char in text)
        picks(app, "runs").focus()
        await pilot.press("down")
        await until(pilot, lambda: "10 tokens" in screen_text(app))
        copied: list[str] = []
        monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, Question))
        await pilot.press("p")
        await until(pilot, lambda: copied)
        assert copied == [str(tmp_path / "runs" / str(picks(app, "runs").value))]


@pytest.mark.parametrize("with_runs", [True, False])
async def test_wide_start_screen_in_ascii(tmp_path: Path, app_on: Make, small_world: Started, with_runs: bool) -> None:
    if with_runs:
        recorded(tmp_path / "runs", "hard")
    app = app_on(ascii_only=True)
    async with app.run_test(size=(200, 55)) as pilot:
        await until(pilot, lambda: ("10 tokens" if with_runs else "uniform baseline") in screen_text(app))
        assert screen_text(app).isascii()


async def test_narrow_start_screen_reads_no_preview(
    tmp_path: Path, app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    monkeypatch.setattr(PreviewReader, "read", lambda self, summary: read.append(summary) or RunPreview(summary))
    recorded(tmp_path / "runs")
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: picks(app, "runs").value is not None)
        assert not app.screen.query_one(RunPreviewPanel).display
        await pilot.resize_terminal(200, 55)
        await until(pilot, lambda: read)


async def test_wide_start_screen_without_runs_explains_the_terms(app_on: Make, small_world: Started) -> None:
    app = app_on()
    async with app.run_test(size=(200, 55)) as pilot:
        await until(pilot, lambda: "No runs yet" in screen_text(app) and "Terms" in screen_text(app))
        text = " ".join(screen_text(app).replace("│", " ").split())
        for name, _, _ in TERMS:
            assert name in text
        assert "…" not in "".join(line[118:] for line in screen_text(app).splitlines()[4:40])


async def test_the_estimate_is_shown_with_the_budget(tmp_path: Path, app_on: Make, small_world: Started) -> None:
    recorder = searching(tmp_path / "runs", steps=5)  # a second per step
    spec = recorder.run.spec_file.read_text()
    recorder.run.spec_file.write_text(spec.replace('name = "smollm2"', 'name = "tiny"'))
    recorder.run.manifest.write_text(json.dumps({"device": "cpu", "host": socket.gethostname()}))
    recorder.end()
    app = app_on()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "time about 16:40  memory about 454 MiB" in screen_text(app))
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: "no time estimate yet  memory about 454 MiB" in screen_text(app))


async def test_a_search_may_need_the_memory_of_the_model_server(
    app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is asked before the search starts, and ends with the app."""
    events: list[object] = []

    async def release(server: ModelServer, needed_bytes: int | None) -> None:
        events.append((needed_bytes, list(small_world)))

    async def close(server: ModelServer) -> None:
        events.append("closed")

    monkeypatch.setattr(ModelServer, "is_running", True)
    monkeypatch.setattr(ModelServer, "release_memory", release)
    monkeypatch.setattr(ModelServer, "close", close)
    monkeypatch.setattr("distprompt_tui.runs.estimates.needed_memory", lambda spec: 123)
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: picks(app, "presets").value == "calm")
        await pilot.press("enter")
        await until(pilot, lambda: small_world)
        assert events == [(123, [])]
    assert events == [(123, []), "closed"]


def wait_lines(width: int, **bounds: Any) -> str:
    target = TargetPreview("recipe", 6.0, 4.8, ((0, " banana", 1.0),), (1.0,))
    data = PreviewData("Title", "", target, bounds=FoundBounds(**bounds), server=ServerStatus("refining", 12))
    return "\n".join(plain_text(line) for line in preview_lines(data, width, 14))


def test_a_wait_shows_its_time_at_every_width() -> None:
    target = TargetPreview("recipe", 6.0, 4.8, ((0, " banana", 1.0),), (1.0,))
    data = PreviewData("Title", "", target, server=ServerStatus("loading smollm2", 71))
    lines = {width: [plain_text(line) for line in preview_lines(data, width, 14)] for width in (30, 46)}
    assert "head optimum  loading, 1:11" in lines[30]
    assert "head optimum  loading smollm2, 1:11" in lines[46]


def test_a_wait_shows_the_best_value_so_far_and_the_time() -> None:
    assert "head optimum  ≤ 0.351  refining, 12 s" in wait_lines(46, floor=0.2, refining="head_optimum", so_far=0.351)
    assert "head optimum  ≤ 0.351  12 s\n" in wait_lines(32, floor=0.2, refining="head_optimum", so_far=0.351)
    text = wait_lines(46, refining="floor", so_far=0.12)
    assert "floor         ≥ 0.120  refining, 12 s" in text
    assert "head optimum  after the floor" in text


def test_a_higher_sphere_bound_is_the_floor_with_its_condition() -> None:
    found = {"floor": 0.19, "head_optimum": 0.337, "sphere_bound": 0.232, "sphere_norm_ratio": 0.99, "done": True}
    assert "floor           0.232  for states of norm ≥ 0.99 √d, 0.190 for any" in wait_lines(70, **found)
    assert "floor           0.232  on the sphere, 0.190 for any" in wait_lines(52, **found)
    assert "floor           0.232  0.190 for any" in wait_lines(40, **found)
    assert "floor           0.190  proven for any prompt" in wait_lines(52, **found | {"sphere_bound": 0.19})


async def test_waiting_for_bounds_counts_the_seconds(
    app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, go_on = [0.0], asyncio.Event()

    async def ask(self: FakeModelClient, question: str, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"refining": "floor", "so_far": 0.125}
        yield {"floor": 0.25}
        yield {"refining": "head_optimum", "so_far": 0.75}
        now[0] += 12
        await go_on.wait()
        yield {"floor": 0.25, "head_optimum": 0.5}
        yield {"done": True}

    monkeypatch.setattr(FakeModelClient, "ask", ask)
    monkeypatch.setattr(preview_service, "CLOCK_SECONDS", 0.01)
    monkeypatch.setattr(preview_service, "time", SimpleNamespace(monotonic=lambda: now[0]))
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "≤ 0.750  refining, 12 s" in screen_text(app))
        go_on.set()
        await until(pilot, lambda: "head optimum    0.500" in screen_text(app))
        assert "refining" not in screen_text(app)


async def test_another_target_does_not_restart_the_time_of_loading(
    app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, asked = [100.0], []

    async def ask(self: FakeModelClient, question: str, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        asked.append(question)
        self.report("loading tiny")
        await asyncio.Event().wait()
        yield {}

    monkeypatch.setattr(FakeModelClient, "ask", ask)
    monkeypatch.setattr(FakeModelClient, "loading_since", 90.0)
    monkeypatch.setattr(preview_service, "CLOCK_SECONDS", 0.01)
    monkeypatch.setattr(preview_service, "time", SimpleNamespace(monotonic=lambda: now[0]))
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "loading tiny, 10 s" in screen_text(app))
        now[0] += 5
        await pilot.press("plus")
        await until(pilot, lambda: len(asked) == 2)
        await until(pilot, lambda: "loading tiny, 15 s" in screen_text(app))


async def test_bounds_that_were_cancelled_keep_the_best_value(
    app_on: Make, small_world: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled, best = [0], [0.875, 0.75]

    async def ask(self: FakeModelClient, question: str, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"floor": 0.25}
        yield {"refining": "head_optimum", "so_far": best.pop()}
        try:
            await asyncio.Event().wait()
        finally:
            cancelled[0] += 1

    monkeypatch.setattr(FakeModelClient, "ask", ask)
    app = app_on()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "≤ 0.750" in screen_text(app))
        await pilot.press("u")
        await until(pilot, lambda: cancelled[0] == 1)
        await pilot.press("escape")
        await until(pilot, lambda: not best and "refining" in screen_text(app))
        assert "≤ 0.750" in screen_text(app)
