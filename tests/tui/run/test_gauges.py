"""The gauge from start to head optimum, the split of the divergence, and the entropies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.gauges import (
    GaugeData,
    Gauges,
    compact_line,
    entropy_line,
    gauge_lines,
    position,
    split_lines,
)
from distprompt_tui.tui.run.run_numbers import RunNumbers
from tests.tui.conftest import screen_text, until
from tests.tui.recording import recorded
from tests.tui.run.test_headline import NUMBERS

Make = Callable[..., DistPromptApp]


def gauge(numbers: RunNumbers, width: int = 56, *, log: bool = True) -> str:
    return plain_text(gauge_lines(GaugeData(numbers, log), width)[0])


def split(numbers: RunNumbers, width: int = 80) -> str:
    return "\n".join(plain_text(line) for line in split_lines(numbers, width))


def test_the_gauge_leads_from_the_start_to_the_head_optimum() -> None:
    halfway = replace(NUMBERS, kl=1.4, best_kl=1.4, start_kl=2.4, bounds=Bounds(floor=0.0, head_optimum=0.4))
    assert gauge(halfway, 54, log=False) == "start 2.400 ├██████████◆░░░░░░░░░░┤ head optimum 0.400"
    assert gauge(replace(halfway, best_kl=0.401, kl=2.4), 54, log=False).count("▒") == 20
    logarithmic = position(1.4, halfway, log=True)
    assert 0 < logarithmic < 0.5


def test_the_gauge_moves_although_the_head_optimum_is_almost_zero() -> None:
    """Then the bar shows the gap closed, not the head optimum's part of the best divergence."""
    numbers = replace(NUMBERS, start_kl=1.159, bounds=Bounds(floor=0.0, head_optimum=1.8e-8))
    at = {kl: replace(numbers, kl=kl, best_kl=kl) for kl in (1.159, 0.034, 0.013)}
    for log in (True, False):
        filled = [gauge(one, 80, log=log).count("█") for one in at.values()]
        assert filled == sorted(filled)
        assert filled[0] == 0
        assert filled[1] > 20
    assert gauge(at[0.013]).endswith("┤ head optimum ~0")
    assert "gap closed 98.8 %" in plain_text(compact_line(GaugeData(at[0.013]), 78))


def test_one_line_names_its_divergence_and_its_scale() -> None:
    for log, scale in ((True, "KL, log  start"), (False, "KL, linear  start")):
        line = plain_text(compact_line(GaugeData(NUMBERS, log), 78))
        assert line.startswith(scale)
        assert line.endswith("head optimum 0.337   gap closed 99.9 %")


def test_a_narrow_line_keeps_the_gauge() -> None:
    line = plain_text(compact_line(GaugeData(NUMBERS), 58))
    assert line.startswith("KL, log  start 4.800 ├█")
    assert line.endswith("┤ head optimum 0.337")


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (RunNumbers(), "starts with the first step"),
        (replace(NUMBERS, bounds=Bounds(floor=0.1)), "head optimum is being computed"),
        (replace(NUMBERS, bounds=Bounds(), bounds_expected=False), "head optimum not available"),
        (replace(NUMBERS, start_kl=0.3), "start 0.300   head optimum 0.337"),
    ],
)
def test_without_a_gauge_there_are_words(numbers: RunNumbers, words: str) -> None:
    assert words.split("   ")[-1] in gauge(numbers)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (NUMBERS, "best 0.340 = head optimum 0.337 + excess 0.003"),
        (replace(NUMBERS, subject="text", kl=0.5), "text 0.500 = head optimum 0.337 + excess 0.163"),
        (NUMBERS, "floor 0.190 proven; head optimum: all restarts agree"),
        (
            replace(NUMBERS, bounds=replace(NUMBERS.bounds, sphere_bound=0.25, sphere_norm_ratio=0.99)),
            "floor 0.250 proven for states of norm ≥ 0.99 √d, 0.190 for all",
        ),
        (replace(NUMBERS, bounds=replace(NUMBERS.bounds, agreement=0.875)), "head optimum: 88 % of restarts agree"),
        (replace(NUMBERS, bounds=Bounds()), "are being computed"),
        (replace(NUMBERS, bounds=Bounds(), bounds_expected=False), "No bounds available"),
        (replace(NUMBERS, bounds=Bounds(why_no_floor="soft-capping")), "No floor: soft-capping"),
        (replace(NUMBERS, witness="0.290 (12 tokens)"), "agree\na known prompt reaches 0.290 (12 tokens)"),
    ],
)
def test_the_split_adds_up_in_words(numbers: RunNumbers, words: str) -> None:
    assert words in split(numbers)


def test_both_entropies_share_a_bar() -> None:
    line = entropy_line(replace(NUMBERS, entropy=3.0), 80)
    assert plain_text(line).startswith("entropy 3.000 → 6.000 ├")
    assert plain_text(line).count("█") == pytest.approx(plain_text(line).count("▀"), abs=1)
    assert {"target", "achieved", "agreed"} <= {role for _, role in line}
    assert "entropy, last step: " in plain_text(entropy_line(replace(NUMBERS, subject="last step"), 80))
    assert "once the target is built" in plain_text(entropy_line(RunNumbers(), 80))


def test_a_hostile_reason_is_drawn() -> None:
    assert "\x1b" not in split(replace(NUMBERS, bounds=Bounds(why_no_floor="\x1b]0;owned\x07")))


numbers_ = st.one_of(st.none(), st.floats(-1e-6, 1e6), st.just(5e-324))


@given(numbers_, numbers_, numbers_, numbers_, st.integers(20, 120), st.booleans())
def test_any_numbers_fit(
    kl: float | None, best: float | None, start: float | None, optimum: float | None, width: int, log: bool
) -> None:
    numbers = replace(NUMBERS, kl=kl, best_kl=best, start_kl=start, bounds=Bounds(head_optimum=optimum))
    numbers = replace(numbers, witness="0.290 (12 tokens)")
    data = GaugeData(numbers, log)
    for line in (compact_line(data, width), *gauge_lines(data, width), *split_lines(numbers, width)):
        assert width_of(line) <= width


@pytest.mark.parametrize("size", [(80, 24), (90, 30), (100, 30), (120, 40), (200, 55)])
async def test_every_size_has_one_gauge_and_its_scale(tmp_path: Path, app_on: Make, size: tuple[int, int]) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "gap closed" in screen_text(app))
        assert "KL, log" in screen_text(app)
        assert screen_text(app).count("gap closed") == 1
        assert screen_text(app).count("┤ head optimum 0.190") == 1
        await pilot.press("l")
        await until(pilot, lambda: "KL, linear" in screen_text(app))


@pytest.mark.parametrize(("size", "rows"), [((120, 40), 4), ((100, 30), 2)])
async def test_ten_vectors_are_visible_beside_the_gauges(
    tmp_path: Path, app_on: Make, size: tuple[int, int], rows: int
) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "gap closed" in screen_text(app))
        side = "\n".join(line[: size[0] // 2] for line in screen_text(app).split("\n"))
        assert all(f" {number} " in side.partition("Prompt  10 vectors")[2] for number in range(1, 11))
        assert app.screen.query_one(Gauges).size.height == rows
