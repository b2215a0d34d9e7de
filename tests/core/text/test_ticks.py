"""Marks of axes are round, rise, and stay inside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.core.text.ticks import log_ticks, ticks


@given(st.floats(-100, 100), st.floats(1e-3, 1e4))
def test_marks_lie_inside_and_are_neither_few_nor_many(low: float, width: float) -> None:
    marks = ticks(low, low + width)
    assert marks == sorted(set(marks))
    assert 2 <= len(marks) <= 6
    assert low - 1e-6 * width <= marks[0] <= marks[-1] <= low + width * (1 + 1e-6)


def test_marks_are_round() -> None:
    assert ticks(0, 4.3) == [0, 1, 2, 3, 4]
    assert ticks(0.5, 10.5) == [2, 4, 6, 8, 10]
    assert ticks(3, 3) == [3]
    assert log_ticks(0.02, 5) == pytest.approx([0.03, 0.1, 0.3, 1, 3])
