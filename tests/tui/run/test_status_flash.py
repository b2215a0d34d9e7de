"""Temporary messages for the start and a new best, at limited frequency, not for past events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.runs.state import RunState
from distprompt_tui.runs.summary import RunLabel
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.monitor import RunView
from distprompt_tui.tui.run.status import StatusData, status_line
from distprompt_tui.tui.run.status_flash import REST_SECONDS, SHOWN_SECONDS, StatusFlash, next_flash
from tests.tui.conftest import screen_text, until, watched
from tests.tui.recording import searching

Make = Callable[..., DistPromptApp]


def state_at(best: float | None) -> RunState:
    return RunState(phase="searching", start_kl=4.8, best_kl=best)


def words(news: StatusFlash, now: float) -> str:
    return plain_text(list(news.text_at(now)))


def test_start_and_new_best_are_shown_temporarily() -> None:
    news = next_flash(StatusFlash(), state_at(None), 0.0)
    assert words(news, 0.0) == ""
    news = next_flash(news, state_at(4.8), 1.0)
    assert words(news, 1.0) == "started at 4.800"
    assert words(news, 1.0 + SHOWN_SECONDS) == ""
    assert next_flash(news, state_at(4.8), 100.0) == news
    news = next_flash(news, state_at(0.412), 100.0)
    assert words(news, 100.0) == "◆ new best 0.412 −4.388"
    assert next_flash(news, RunState(phase="paused", best_kl=0.1), 200.0) == news


def test_frequent_improvements_are_shown_at_intervals() -> None:
    news, told = StatusFlash(best_kl=100.0), []
    for second in range(100):
        after = next_flash(news, state_at(100.0 - second), float(second))
        told += [second] if after != news else []
        news = after
    assert told[:2] == [1, 1 + REST_SECONDS]
    assert len(told) == 100 // REST_SECONDS


@pytest.mark.parametrize("width", [60, 78, 118])
def test_flash_fits_beside_the_state(width: int) -> None:
    view = RunView(RunLabel("outlier", "smollm2", "hard", 10), state_at(0.4))
    line = status_line(StatusData(view, flash=(("◆ new best ", "good"), ("0.412", "strong"))), width)
    assert "● running  ◆ new best 0.412" in plain_text(line)
    assert width_of(line) <= width


async def test_status_line_shows_a_new_best(tmp_path: Path, app_on: Make) -> None:
    recorder = searching(tmp_path / "runs", "hard", steps=3)
    async with watched(recorder, app_on, size=(80, 24)) as (app, pilot):
        await until(pilot, lambda: "step 3" in screen_text(app))
        assert "new best" not in screen_text(app)
        recorder.steps(1)
        await until(pilot, lambda: "◆ new best " in screen_text(app))
        await until(pilot, lambda: "new best" not in screen_text(app))
        assert "begun" not in screen_text(app)
