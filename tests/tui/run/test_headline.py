"""The headline, and its agreement with the gauge."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.runs.schema import Step
from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.display_state import DisplayState
from distprompt_tui.tui.run.headline import HeadlineData, headline
from distprompt_tui.tui.run.monitor import RunView
from distprompt_tui.tui.run.run_numbers import RunNumbers, Subject, numbers_of
from tests.tui.conftest import screen_text, until
from tests.tui.recording import distributions, entropy, recorded

Make = Callable[..., DistPromptApp]

NUMBERS = RunNumbers(
    kl=0.345,
    entropy=6.06,
    entropy_target=6.0,
    vocab_size=49_152,
    start_kl=4.8,
    best_kl=0.340,
    best_step=368,
    bounds=Bounds(floor=0.19, head_optimum=0.337, agreement=1.0),
)
RUN = RunState(
    phase="searching",
    step=374,
    kl=0.345,
    start_kl=4.8,
    best_kl=0.34,
    best_step=368,
    entropy=6.06,
    entropy_target=6.0,
    vocab_size=49_152,
    bounds=NUMBERS.bounds,
)


def line(numbers: RunNumbers, width: int = 78, *, is_new_best: bool = False) -> str:
    return plain_text(headline(HeadlineData(numbers, is_new_best), width))


def test_eighty_columns_hold_every_number() -> None:
    assert line(NUMBERS) == "KL 0.345  best 0.340  excess 0.003  floor 0.190  entropy 6.060 → 6.000"


def test_a_new_best_changes_only_a_sign_and_a_colour() -> None:
    new, usual = (headline(HeadlineData(NUMBERS, is_new), 78) for is_new in (True, False))
    assert plain_text(new) == plain_text(usual).replace("best 0.340", "best◆0.340")
    assert ("◆0.340", "strong good") in new


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("best prompt", "best KL 0.340 at step 368  excess 0.003  floor 0.190  entropy 6.060 → 6.000"),
        ("last step", "last step KL 0.345 entropy 6.060→6.000  best 0.340  excess 0.003  floor 0.190"),
        ("step", "step 37 KL 0.345 entropy 6.060→6.000  best 0.340  excess 0.003  floor 0.190"),
        ("text", "text: KL 0.345, excess 0.008, entropy 6.060 → 6.000  best 0.340  floor 0.190"),
    ],
)
def test_numbers_of_another_prompt_are_named(subject: Subject, words: str) -> None:
    assert line(replace(NUMBERS, subject=subject, step=37)) == words
    wide = line(replace(NUMBERS, subject=subject, step=37), 118)
    assert "entropy 6.060 → 6.000" in wide
    assert "floor 0.190" in wide


def test_unknown_numbers_are_dashes() -> None:
    assert line(RunNumbers()) == "No step yet"
    assert line(RunNumbers(entropy_target=6.0)) == "No step yet  target entropy 6.000"
    assert "excess —  floor —" in line(replace(NUMBERS, bounds=Bounds()))
    assert "no floor" in line(replace(NUMBERS, bounds=Bounds(why_no_floor="soft-capping")))


def test_numbers_almost_zero_have_no_exponent() -> None:
    bounds = Bounds(floor=4e-9, head_optimum=1.8e-8)
    assert "excess 0.340  floor ~0" in line(replace(NUMBERS, bounds=bounds))


@given(st.floats(0, 1e9), st.floats(0, 20), st.integers(20, 200))
def test_the_headline_fits(kl: float, achieved: float, width: int) -> None:
    for subject in ("now", "best prompt", "last step", "step", "text"):
        numbers = replace(NUMBERS, subject=subject, step=10**6, kl=kl, best_kl=kl, entropy=achieved)
        assert width_of(headline(HeadlineData(numbers, True), width)) <= width


def test_an_ended_run_shows_its_best_prompt_if_it_was_measured() -> None:
    ended = replace(RUN, phase="ended", entropy=6.1, result={"kl": 0.34})
    numbers = numbers_of(DisplayState(ended), RunView(state=ended, health="ended"))
    assert (numbers.subject, numbers.kl, numbers.entropy) == ("best prompt", 0.34, 6.1)
    unmeasured = replace(ended, result=None)
    numbers = numbers_of(DisplayState(unmeasured), RunView(state=unmeasured, health="ended"))
    assert (numbers.subject, numbers.kl) == ("last step", 0.345)
    assert numbers_of(DisplayState(RUN), RunView(state=RUN, health="crashed")).subject == "last step"


def test_the_best_of_the_run_stays_in_history_and_while_frozen() -> None:
    curve = (Step(37, 0.9, 0.8, 5.0, 1.0, 30),)
    recorded = replace(RUN, step=37, kl=0.9, best_kl=0.8, entropy=5.0, curve=curve)
    numbers = numbers_of(DisplayState(recorded, source="snapshot", cursor_step=37), RunView(state=RUN))
    assert (numbers.subject_name, numbers.kl, numbers.entropy, numbers.best_kl) == ("step 37", 0.9, 5.0, 0.34)
    later = replace(RUN, best_kl=0.2)
    frozen = numbers_of(DisplayState(RUN, source="frozen"), RunView(state=later), RUN)
    assert frozen.best_kl == 0.34


def test_the_excess_of_a_text_is_its_own() -> None:
    text = replace(RUN, kl=7.25)
    numbers = numbers_of(DisplayState(text, source="snapshot", comparison_label="text"), RunView(state=RUN))
    assert numbers.excess == pytest.approx(7.25 - 0.337)
    assert numbers.best_kl == 0.34


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 55)])
@pytest.mark.parametrize("keys", [(), ("h", "left", "left", "left"), ("m",), ("l",)])
async def test_equal_quantities_have_equal_numbers(
    tmp_path: Path, app_on: Make, size: tuple[int, int], keys: tuple[str, ...]
) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "gap closed" in screen_text(app))
        await pilot.press(*keys)
        await until(pilot, lambda: not keys or keys[0] != "h" or "step 37 of 40" in screen_text(app))
        text = screen_text(app)
        for name, number in (("excess", "0.010"), ("head optimum", "0.190"), ("floor", "0.040"), ("best", "0.200")):
            assert {*re.findall(rf"\b{name} (?:KL )?([\d.]+)", text)} == {number}, name
        p, q = distributions(1 - math.exp(-(37 if keys[:1] == ("h",) else 40) / 20))
        pairs = re.findall(r"(\d\.\d+) ?→ ?([\d.]+)", text)
        assert {*pairs} == {(f"{entropy(q):.3f}", f"{entropy(p):.3f}")}
