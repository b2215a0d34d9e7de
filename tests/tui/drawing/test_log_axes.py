"""Axes of log-log plots: ticks, labels and curves."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.core.text.braille import braille
from distprompt_tui.tui.drawing.log_axes import LogAxis, axis_line, curve_bits, labels_down, power_label, rank_label

axes = st.builds(
    lambda low, span, cells, is_cut: LogAxis(low, low + span, cells, is_cut),
    st.integers(-300, -1),
    st.integers(1, 300),
    st.integers(1, 200),
    st.booleans(),
)


@given(axes, st.floats(-400, 400))
def test_a_cell_holds_its_powers(axis: LogAxis, power: float) -> None:
    cell = axis.cell(power)
    assert 0 <= cell < axis.cells
    if axis.low < power < axis.high:
        assert axis.power(cell) - 1e-6 <= power <= axis.power(cell + 1) + 1e-6


@given(axes)
def test_lines_and_labels_fit(axis: LogAxis) -> None:
    line = axis_line(axis, power_label)
    assert len(line) == axis.cells
    assert all(0 <= row < axis.cells for row in labels_down(axis))


def test_labels_are_at_their_powers() -> None:
    axis = LogAxis(-6, 0, 12)
    assert labels_down(axis) == {11: "1e-6", 9: "1e-5", 7: "1e-4", 5: "1e-3", 3: "0.01", 1: "0.1", 0: "1"}
    assert axis_line(LogAxis(-6, 0, 36), power_label) == "1e-6────────┴1e-4───────┴0.01─────┴1"
    assert axis_line(LogAxis(0, 3.5, 35), rank_label) == "1─────────┴10───────┴100─────┴1,000"


def test_a_cut_axis_marks_its_lowest_label() -> None:
    assert "≤1e-6" in labels_down(LogAxis(-6, 0, 12, is_cut=True)).values()
    assert axis_line(LogAxis(-6, 0, 40, is_cut=True), power_label).startswith("≤1e-6─")


def drawn(levels: list[float], *, dotted: bool) -> list[str]:
    axis = LogAxis(-2, 0, 2)
    bits = curve_bits(levels, axis, dotted=dotted)
    return ["".join(braille(bits.get((row, column), 0)) for column in range(len(levels) // 2)) for row in range(2)]


def test_curves_are_connected_unless_dotted() -> None:
    assert drawn([-0.1, -0.1, -1.9, -1.9], dotted=False) == ["⢹ ", "⠸⣀"]
    assert drawn([-0.1, -0.1, -0.1, -0.1], dotted=False) == ["⠉⠉", "  "]
    assert drawn([-0.1, -0.1, -0.1, -0.1], dotted=True) == ["⠁⠁", "  "]


def test_a_curve_ends_where_its_values_end() -> None:
    assert drawn([-1.9, -1.9, math.nan, math.nan], dotted=False) == ["  ", "⣀ "]
