"""A new best is marked for some seconds, at limited frequency, and not for past events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run.status_flash import REST_SECONDS, SHOWN_SECONDS, StatusFlash, next_flash
from tests.tui.conftest import screen_text, until, watched
from tests.tui.recording import searching

Make = Callable[..., DistPromptApp]


def state_at(best: float | None) -> RunState:
    return RunState(phase="searching", start_kl=4.8, best_kl=best)


def test_a_new_best_is_marked_temporarily() -> None:
    mark = next_flash(StatusFlash(), state_at(None), 0.0)
    assert not mark.is_on(0.0)
    mark = next_flash(mark, state_at(4.8), 1.0)
    assert not mark.is_on(1.0)  # the first step is not an improvement
    assert next_flash(mark, state_at(4.8), 100.0) == mark
    mark = next_flash(mark, state_at(0.412), 100.0)
    assert mark.is_on(100.0)
    assert not mark.is_on(100.0 + SHOWN_SECONDS)
    assert next_flash(mark, RunState(phase="paused", best_kl=0.1), 200.0) == mark


def test_frequent_improvements_are_marked_at_intervals() -> None:
    mark, marked = StatusFlash(best_kl=100.0), []
    for second in range(100):
        after = next_flash(mark, state_at(100.0 - second), float(second))
        marked += [second] if after != mark else []
        mark = after
    assert marked[:2] == [1, 1 + REST_SECONDS]
    assert len(marked) == 100 // REST_SECONDS


async def test_a_new_best_marks_its_number_and_replaces_nothing(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", "hard", steps=3)
    async with watched(recorder, app_on, size=(80, 24)) as (app, pilot):
        await until(pilot, lambda: "step 3" in screen_text(app))
        assert "best◆" not in screen_text(app)
        recorder.steps(1)
        await until(pilot, lambda: f"best◆{recorder.kl:.3f}" in screen_text(app))
        status = screen_text(app).split("\n")[0]
        assert all(words in status for words in ("● running", "step 4/100", "eta ", "steps/"))
        await until(pilot, lambda: f"best {recorder.kl:.3f}" in screen_text(app))
