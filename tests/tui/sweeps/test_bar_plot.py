"""Bars of a sweep with one entropy: how they use the room, and that interval and targets are on the bars' scale."""

from __future__ import annotations

from dataclasses import replace

import pytest

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.sweeps.curves import Curve, panels
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.sweeps.bar_plot import TARGET_SIGN, bar_lines
from tests.sweeps.factories import row, rows

WIDTH = 120


def curves_of(count: int) -> tuple[Curve, ...]:
    made = [
        each
        for number in range(count)
        for each in rows(lambda _, number=number: 4.0 - number, entropies=[3.0], noise=0.3, series=f"series {number}")
    ]
    return panels(made)[0].curves


def texts(lines: list[Line]) -> list[str]:
    return [plain_text(line) for line in lines]


@pytest.mark.parametrize("height", [6, 10, 15, 20, 29, 40])
@pytest.mark.parametrize("count", [2, 3])
def test_bars_fill_a_tall_panel_and_fit_a_low_one(count: int, height: int) -> None:
    lines = bar_lines(curves_of(count), WIDTH, height)
    assert len(lines) <= height
    assert all(width_of(line) <= WIDTH for line in lines)
    if height // count >= 6:
        assert len(lines) > 0.7 * min(height, 29)


def test_interval_and_targets_are_drawn_on_the_scale_of_the_bar() -> None:
    kls = (1.0, 2.0, 2.0, 2.0, 4.0, 8.0)
    made = [row(series="one", entropy_asked=3.0, target_index=index, kl=kl) for index, kl in enumerate(kls)]
    (panel,) = panels(made)
    (point,) = panel.curves[0].points
    assert point.kls == kls
    bar, interval, targets, _, axis, labels, legend = texts(bar_lines(panel.curves, WIDTH, 7))
    start = axis.index("┬")
    cells = len(axis) - start
    assert targets[start:].rstrip()[-1] == TARGET_SIGN
    assert len(targets.rstrip()) == start + cells  # the largest target ends the axis
    assert targets[start + round(2 / 8 * cells)] == "3"
    assert targets.count(TARGET_SIGN) == 3
    low, mean, high = (interval.index(sign) - start for sign in "├┼┤")
    assert (low, high) == (round(point.kl.low / 8 * cells), round(point.kl.high / 8 * cells))  # type: ignore[operator]
    assert mean == round(sum(kls) / 6 / 8 * cells)
    assert bar.count("█") + bar.count("░") == mean
    assert labels[start] == "0"
    assert labels[start + round(4 / 8 * cells)] == "4"
    assert "● target, digit: several" in legend
    assert "├┼┤ mean and 95 % interval" in legend


def test_one_target_has_a_mean_without_an_interval() -> None:
    (panel,) = panels([row(series="one", entropy_asked=3.0)])
    _, interval, targets, *_ = texts(bar_lines(panel.curves, WIDTH, 7))
    assert interval.strip() == "┼"
    assert targets.strip() == TARGET_SIGN


def test_a_divergence_of_zero_is_drawn() -> None:
    (panel,) = panels([row(series="one", entropy_asked=3.0, kl=0.0, head_optimum=0.0)])
    curve = replace(panel.curves[0], points=tuple(replace(point, kls=(0.0,)) for point in panel.curves[0].points))
    assert "0" in texts(bar_lines([curve], WIDTH, 20))[0]
