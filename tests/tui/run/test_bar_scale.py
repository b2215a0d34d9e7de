"""Linear, broken and logarithmic bars."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.bar_scale import MAX_LONG_BARS, BarScale, break_of

probabilities = st.floats(0, 1)


@pytest.mark.parametrize(
    ("longest", "breaks_at"),
    [
        ([0.5, 0.02, 0.01], 0.02),
        ([0.5, 0.03, 0.01], None),
        ([0.4, 0.3, 1e-3, 1e-3], 1e-3),
        ([0.5, 0.0, 0.0], None),
        ([0.5], None),
        ([], None),
        ([0.1] * (MAX_LONG_BARS + 1) + [1e-6], None),
    ],
)
def test_the_axis_breaks_after_bars_twenty_times_as_long(longest: list[float], breaks_at: float | None) -> None:
    assert break_of(longest) == breaks_at


@given(st.integers(0, 120), probabilities, probabilities, st.floats(1e-9, 1), st.booleans(), st.booleans())
def test_bars_and_heading_have_the_width(
    width: int, target: float, achieved: float, part: float, log: bool, is_broken: bool
) -> None:
    largest = max(target, achieved, 1e-9)
    scale = BarScale(largest, part * largest / 20 if is_broken else None, log)
    assert width_of(scale.bars(target, achieved, width)) == width
    assert width_of(scale.bars(target, float("nan"), width)) == width
    assert len(scale.heading(width)) in (0, width)


def test_a_broken_axis_shows_short_bars_in_full() -> None:
    scale = BarScale(0.5, 0.02)
    assert scale.heading(40) == "0                     0.0200╱╱    0.5000"
    assert plain_text(scale.bars(0.5, 0.26, 40)) == "█" * 28 + "╱╱" + "█████▀▀▀▀▀"
    assert plain_text(scale.bars(0.02, 0.01, 40)) == "█" * 14 + "▀" * 14 + " " * 12
    assert plain_text(scale.bars(0.001, 0.3, 40)).startswith("█▄")
    assert "╱╱▄▄▄▄▄▄" in plain_text(scale.bars(0.001, 0.3, 40))


def test_log_and_narrow_bars_are_not_broken() -> None:
    for scale, width in ((BarScale(0.5, 0.02, log=True), 40), (BarScale(0.5, 0.02), 12)):
        assert "╱" not in plain_text(scale.bars(0.5, 0.4, width)) + scale.heading(width)
