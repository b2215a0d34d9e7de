"""The status line and the banner: every state has its text and fits the width."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.runs.schema import Progress, Step
from distprompt_tui.runs.state import RunState
from distprompt_tui.runs.summary import RunLabel
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.monitor import RunView
from distprompt_tui.tui.run.status import StatusData, notice_lines, status_line

TITLE = RunLabel("outlier", "smollm2", "soft", 10)
CURVE = tuple(Step(step, 1.0, 1.0, 5.0, step / 6, step) for step in range(1, 50))
SEARCHING = RunState(phase="searching", curve=CURVE, step=49, steps_planned=1000, best_kl=0.231, best_step=40)

VIEWS = {
    "starting": RunView(TITLE, RunState()),
    "preparing": RunView(TITLE, RunState(phase="preparing", progress=Progress("model", "loading smollm2", 0.4))),
    "running": RunView(TITLE, SEARCHING),
    "paused": RunView(TITLE, replace(SEARCHING, phase="paused")),
    "no heartbeat": RunView(TITLE, SEARCHING, "silent", 21),
    "crashed": RunView(TITLE, SEARCHING, "crashed", None, ("Traceback", "MemoryError")),
    "budget spent": RunView(TITLE, replace(SEARCHING, phase="ended", reason="budget"), "ended"),
    "target reached": RunView(TITLE, replace(SEARCHING, phase="ended", reason="target reached"), "ended"),
    "stopped": RunView(TITLE, replace(SEARCHING, phase="ended", reason="stopped"), "ended"),
    "plateau": RunView(TITLE, replace(SEARCHING, phase="ended", reason="plateau"), "ended"),
    "failed": RunView(TITLE, replace(SEARCHING, phase="ended", reason="error", error="out of memory"), "ended"),
}


@pytest.mark.parametrize("word", VIEWS)
@pytest.mark.parametrize("width", [60, 78, 118, 200])
def test_every_state_is_named(word: str, width: int) -> None:
    line = status_line(StatusData(VIEWS[word]), width)
    assert word in plain_text(line)
    assert width_of(line) <= width


@given(st.sampled_from(sorted(VIEWS)), st.integers(20, 160))
def test_everything_fits(word: str, width: int) -> None:
    data = StatusData(VIEWS[word], pending="stopping… (2 s)", read_only=True)
    assert width_of(status_line(data, width)) <= width
    lines = notice_lines(data, width)
    assert len(lines) <= 4
    assert all(width_of(line) <= width for line in lines)


def test_a_stage_of_the_preparation_has_its_time() -> None:
    view = replace(VIEWS["preparing"], stage_seconds=71)
    (line,) = notice_lines(StatusData(view), 78)
    assert plain_text(line).endswith("40 %  loading smollm2, 1:11")


def test_eighty_columns_hold_the_essentials() -> None:
    text = plain_text(status_line(StatusData(VIEWS["running"]), 78))
    assert text.startswith("outlier › smollm2 › soft n=10")
    assert "step 49/1,000" in text
    assert "eta 2:38" in text
    assert "6.0 steps/s" in text


def test_the_title_names_the_weights() -> None:
    running = VIEWS["running"]
    view = replace(running, state=replace(running.state, weights="Q4_1"))
    assert "outlier › smollm2 › soft n=10 · Q4_1 " in plain_text(status_line(StatusData(view), 100))


def test_a_long_title_leaves_room_for_the_progress() -> None:
    title = RunLabel("two-words-one-of-them-rare", "gemma3-270m", "exhaustive", 10)
    for width in (78, 98):
        text = plain_text(status_line(StatusData(replace(VIEWS["running"], title=title)), width))
        assert all(words in text for words in ("two-words", "● running", "49/1,000", "eta 2:38", "6.0 steps/s"))


def test_the_time_of_a_paused_or_ended_run_is_named() -> None:
    for word in ("paused", "budget spent"):
        view = replace(VIEWS[word], state=replace(VIEWS[word].state, seconds=8.2))
        assert "elapsed 8 s" in plain_text(status_line(StatusData(view), 78))


def test_device_memory_and_utilisation() -> None:
    state = replace(SEARCHING, device="cuda:0", memory=3 << 30, utilization=97.0)
    assert "cuda:0 97 % 3.0 GiB" in plain_text(status_line(StatusData(RunView(TITLE, state)), 118))
    older = replace(state, utilization=None)
    assert "cuda:0 3.0 GiB" in plain_text(status_line(StatusData(RunView(TITLE, older)), 118))


def test_no_banner_while_searching() -> None:
    assert notice_lines(StatusData(VIEWS["running"]), 100) == []
    assert notice_lines(StatusData(VIEWS["paused"]), 100) == []


@pytest.mark.parametrize("word", [word for word in VIEWS if word not in ("running", "paused")])
def test_all_other_states_are_explained(word: str) -> None:
    assert notice_lines(StatusData(VIEWS[word]), 100)


def test_crash_shows_the_last_output() -> None:
    text = " ".join(plain_text(line) for line in notice_lines(StatusData(VIEWS["crashed"]), 100))
    assert "MemoryError" in text
    assert "r start again" in text


def test_worker_output_is_sanitised() -> None:
    state = replace(SEARCHING, phase="ended", reason="error", error="\x1b]0;owned\x07 boom")
    view = RunView(replace(TITLE, preset="\x1b[2J"), state, "ended", None)
    lines = [status_line(StatusData(view), 100), *notice_lines(StatusData(view), 100)]
    assert all(char.isprintable() for line in lines for char in plain_text(line))


def test_only_a_found_prompt_can_be_copied() -> None:
    state = replace(SEARCHING, phase="ended", reason="stopped")
    for best, words in ((0.231, "y copy the prompt"), (None, "r again")):
        *_, line = notice_lines(StatusData(RunView(TITLE, replace(state, best_kl=best), "ended")), 100)
        assert plain_text(line).startswith(words)


def test_panels_of_the_last_step_are_announced() -> None:
    state = replace(SEARCHING, phase="ended", reason="stopped")
    text = " ".join(plain_text(line) for line in notice_lines(StatusData(RunView(TITLE, state, "ended")), 78))
    assert "the panels show the last step." in text
    measured = replace(state, result={"kl": 0.231})
    (line,) = notice_lines(StatusData(RunView(TITLE, measured, "ended")), 78)
    assert "y copy" in plain_text(line)


def test_pending_command_is_shown_at_once() -> None:
    assert "pausing…" in plain_text(status_line(StatusData(VIEWS["running"], "pausing…"), 100))


@pytest.mark.parametrize("word", ["budget spent", "stopped", "failed", "crashed", "no heartbeat"])
def test_a_read_only_app_offers_no_search(word: str) -> None:
    def offered(data: StatusData) -> str:
        return " ".join(plain_text(line) for line in notice_lines(data, 100))

    keys = {"no heartbeat": "s stop", "crashed": "r start again"}
    assert keys.get(word, "r again") in offered(StatusData(VIEWS[word]))
    assert keys.get(word, "r again") not in offered(StatusData(VIEWS[word], read_only=True))


def test_a_read_only_app_offers_no_kill() -> None:
    data = StatusData(VIEWS["running"], pending="stopping… (4 s)", stops_slowly=True)
    (line,) = notice_lines(data, 100)
    assert "s kill now" in plain_text(line)
    (line,) = notice_lines(replace(data, read_only=True), 100)
    assert plain_text(line).strip() == "The search will stop after the current step."
