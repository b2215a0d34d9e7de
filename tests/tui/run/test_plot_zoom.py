"""The zoom of the divergence plot: steps, range, keys and reset."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run.divergence_plot import DivergencePlot
from distprompt_tui.tui.run.plot_zoom import FRACTIONS, PlotZoom, shown_steps, tail_range
from tests.tui.conftest import screen_text, until
from tests.tui.recording import recorded

Make = Callable[..., DistPromptApp]

POINTS = [(float(step), 10.0 / (1 + step)) for step in range(101)]


def test_the_steps_are_the_latest_ones() -> None:
    zoom, shown = PlotZoom(), []
    for _ in FRACTIONS:
        shown.append(shown_steps(POINTS, zoom, None))
        zoom = zoom.next_fraction()
    assert zoom == PlotZoom()
    assert shown == [None, (50.0, 100.0), (80.0, 100.0), (95.0, 100.0)]


@pytest.mark.parametrize(("cursor", "expected"), [(90, (80, 100)), (30, (30, 50)), (0, (0, 20))])
def test_the_cursor_stays_in_the_picture(cursor: int, expected: tuple[float, float]) -> None:
    assert shown_steps(POINTS, PlotZoom(fraction=0.2), cursor) == pytest.approx(expected)


def test_the_tail_reaches_from_a_near_head_optimum_to_the_middle() -> None:
    assert tail_range(POINTS, 0.06, log=True) == pytest.approx((0.06, 10 / 51))
    assert tail_range(POINTS, 0.04, log=True) == pytest.approx((10 / 101, 10 / 51))
    assert tail_range(POINTS, 0.02, log=False) == pytest.approx((0.02, 10 / 51))
    assert tail_range(POINTS, None, log=True) == pytest.approx((10 / 101, 10 / 51))
    assert tail_range(POINTS, 0.0, log=True) == pytest.approx((10 / 101, 10 / 51))  # not on a log scale
    assert tail_range([(1.0, None), (2.0, math.inf)], None, log=False) is None


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_keys_zoom_and_reset_the_plot(tmp_path: Path, app_on: Make, size: tuple[int, int]) -> None:
    app = app_on(attach=recorded(tmp_path / "runs"))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "◆ best" in screen_text(app))
        plot = app.screen.query_one(DivergencePlot)

        def ticks() -> list[float]:
            lines = [line.lstrip("│ ") for line in screen_text(app).split("\n")]
            return [
                float(line.partition("┤")[0]) for line in lines if line.partition("┤")[0].replace(".", "").isdigit()
            ]

        whole = ticks()
        await pilot.press("X")
        await until(pilot, lambda: "last half" in screen_text(app))
        await pilot.press("Y")
        await until(pilot, lambda: "last half, tail" in screen_text(app))
        assert max(ticks()) - min(ticks()) < max(whole) - min(whole)
        assert "uniform 1.500 ↑" in screen_text(app)
        await pilot.press("0")
        await until(pilot, lambda: "tail" not in screen_text(app))
        assert plot.zoom == PlotZoom()
        assert ticks() == whole
