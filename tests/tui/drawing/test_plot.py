"""The plot accepts any number, and marks are at their values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.drawing.plot import Curve, Mark, Point, Reference, bucketed, plot_curves
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of

anything = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.floats(-1, 10))
FALLING = [(step, 5 * math.exp(-step / 30) + 0.2) for step in range(100)]
HEAD_OPTIMUM = Reference("head optimum 0.190", 0.19, "accent")


def plot_lines(points: Sequence[Point], *data: Any, **how: Any) -> list[Line]:
    """A plot of one curve."""
    return plot_curves([Curve(points)], *data, **how)


@settings(max_examples=60)
@given(
    st.lists(anything, max_size=40),
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=3),
    st.integers(0, 90),
    st.integers(0, 20),
    st.booleans(),
)
def test_no_number_and_no_size_raises(
    values: list[float | None], bounds: list[float], width: int, height: int, log: bool
) -> None:
    references = [Reference(f"line {value}", value, "quiet") for value in bounds]
    lines = plot_lines(list(enumerate(values)), references, [Mark("best", 1, 0.5)], width, height, log=log)
    assert len(lines) == height
    assert all(width_of(line) <= width for line in lines)


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, None]])
def test_nothing_to_draw_shows_a_message(values: list[float | None]) -> None:
    lines = plot_lines(list(enumerate(values)), [], [], 70, 10, log=True)
    assert any("No step has been recorded yet" in plain_text(line) for line in lines)


@pytest.mark.parametrize("log", [True, False])
def test_a_constant_and_a_single_point_are_drawn(log: bool) -> None:
    for points in ([(0, 0.5)], [(0, 0.5), (1, 0.5), (2, 0.5)]):
        text = "".join(plain_text(line) for line in plot_lines(points, [], [], 60, 8, log=log))
        assert any("\u2800" < char <= "\u28ff" for char in text)


def test_a_gap_stays_empty() -> None:
    points = [(step, None if 20 <= step < 80 else 1.0) for step in range(100)]
    rows = [plain_text(line) for line in plot_lines(points, [], [], 70, 8, log=False)]
    drawn = sorted({column for row in rows for column, char in enumerate(row) if "\u2800" < char <= "\u28ff"})
    assert max(b - a for a, b in pairwise(drawn)) > 25


def test_what_is_not_above_zero_is_a_gap_on_a_log_scale() -> None:
    lines = plot_lines([(0, 1.0), (1, 0.0), (2, -1.0), (3, 1.0)], [], [], 60, 8, log=True)
    assert len(lines) == 8


@pytest.mark.parametrize("log", [True, False])
def test_labels_stand_in_the_order_of_their_values(log: bool) -> None:
    references = [
        Reference("floor 0.038", 0.038, "quiet", "─"),
        Reference("uniform 4.803", 4.803, "faint"),
        HEAD_OPTIMUM,
    ]
    text = [plain_text(line) for line in plot_lines(FALLING, references, [Mark("best 0.2", 99, 0.2)], 90, 16, log=log)]
    rows = [
        next(row for row, line in enumerate(text) if name in line) for name in ("uniform", "best", "head", "floor 0")
    ]
    assert rows == sorted(rows)
    assert len(set(rows)) == 4


def test_a_mark_is_drawn_on_the_curve() -> None:
    lines = plot_lines(FALLING, [], [Mark("best", 50, FALLING[50][1])], 80, 14, log=True)
    (row,) = [plain_text(line) for line in lines if "◆" in plain_text(line)]
    column = row.index("◆")
    assert any("\u2800" < char <= "\u28ff" for char in row[column - 3 : column + 4])


def test_a_line_far_below_the_curve_is_clamped_with_an_arrow() -> None:
    lines = plot_lines(FALLING, [Reference("floor 0.000", 0.0, "quiet")], [], 80, 12, log=True)
    assert "floor 0.000 ↓" in plain_text(lines[9])


def test_the_cursor_is_a_column() -> None:
    with_cursor = plot_lines(FALLING, [], [], 80, 12, log=True, cursor_step=60)
    columns = {plain_text(line).rfind("│") for line in with_cursor[:4]}
    assert len(columns) == 1
    assert columns.pop() > 20


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=400), st.integers(1, 40))
def test_buckets_keep_the_extremes_and_few_points(values: list[float], columns: int) -> None:
    points = [(float(step), value) for step, value in enumerate(values)]
    kept = bucketed(points, columns)
    assert len(kept) <= max(2 * columns, 1) or len(kept) == len(points) <= 2 * columns
    assert min(kept, key=lambda point: point[1])[1] == min(values)
    assert max(kept, key=lambda point: point[1])[1] == max(values)
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)


def test_narrow_plots_give_the_curve_all_the_room() -> None:
    assert not any(
        "head optimum" in plain_text(line) for line in plot_lines(FALLING, [HEAD_OPTIMUM], [], 36, 10, log=True)
    )


FLOOR = Reference("floor 0.190", 0.19, "quiet", "─")
CONVERGED = [(step, 12 * math.exp(-step / 30) + 0.337) for step in range(375)]
BEST = Mark("◆ best 0.340 @374", 374, 0.34)
NEAR = Reference("head optimum 0.337", 0.337, "accent")


def ticks_of(rows: list[str]) -> list[str]:
    return [row.partition("┤")[0].strip() for row in rows if "┤" in row.split("│")[0]]


@pytest.mark.parametrize("height", [4, 5, 6, 7, 8, 12, 20])
@pytest.mark.parametrize("log", [True, False])
def test_every_height_has_two_different_ticks(height: int, log: bool) -> None:
    for points in (CONVERGED, FALLING, [(0, 0.5)], [(0, 0.337), (1, 0.3370001)], [(0, 1e-9), (9, 5.0)]):
        rows = [plain_text(line) for line in plot_lines(points, [NEAR, FLOOR], [], 78, height, log=log)]
        ticks = ticks_of(rows)
        assert len({*ticks}) == len(ticks) >= 2
        assert [float(tick) for tick in ticks] == sorted(map(float, ticks), reverse=True)


@pytest.mark.parametrize("height", [7, 8, 10, 14])
def test_each_label_stands_on_the_row_of_its_line(height: int) -> None:
    rows = [plain_text(line) for line in plot_lines(CONVERGED, [NEAR, FLOOR], [], 78, height, log=True)]
    assert next(row for row in rows if "floor 0.190" in row).count("─") > 30
    assert next(row for row in rows if "head optimum" in row).count("╌") > 10


def test_a_bracket_joins_the_labels_of_one_row() -> None:
    """The best step stands on the row of the head optimum: its label is above, joined to that row."""
    rows = [plain_text(line) for line in plot_lines(CONVERGED, [NEAR, FLOOR], [BEST], 78, 8, log=True)]
    best = next(row for row, text in enumerate(rows) if "best 0.340" in text)
    assert rows[best].endswith("╭ ◆ best 0.340 @374")
    assert rows[best + 1].endswith("◆┴ head optimum 0.337")
    assert rows[best + 2].endswith("  floor 0.190")


def test_lines_on_one_row_alternate_and_share_a_label_if_there_is_no_row_left() -> None:
    references = [Reference("uniform 4.803", 4.803, "faint"), NEAR, FLOOR]
    rows = [plain_text(line) for line in plot_lines(CONVERGED, references, [BEST], 78, 5, log=True)]
    (row,) = [row for row in rows if "head optimum 0.337, floor 0.190" in row]
    assert "╌─╌─" in row
    assert any("╭ ◆ best 0.340" in row for row in rows)
    assert any("uniform 4.803" in row for row in rows)


def test_a_line_below_the_picture_is_not_drawn_and_the_curve_keeps_the_rows() -> None:
    low = [Reference("head optimum ~0", 1.8e-8, "accent"), Reference("floor 0.000", 0.0, "quiet", "─")]
    rows = [plain_text(line) for line in plot_lines(FALLING, low, [], 78, 14, log=True)]
    assert not any("╌" in row or "───" in row for row in rows[:12])
    assert sum(any("\u2800" < char <= "\u28ff" for char in row) for row in rows) >= 9
    assert all(any(f"{name} ↓" in row for row in rows) for name in ("head optimum ~0", "floor 0.000"))


@pytest.mark.parametrize("width", [44, 46, 50])
def test_a_label_that_is_too_wide_keeps_its_number(width: int) -> None:
    wide = Reference("a very long name of a line 0.337", 0.337, "accent")
    text = "\n".join(plain_text(line) for line in plot_lines(CONVERGED, [wide, FLOOR], [BEST], width, 14, log=True))
    assert "… 0.337" in text
    assert "floor 0.190" in text
    assert "best 0.340" in text


def test_a_zoomed_picture_has_the_given_range() -> None:
    tail = [point for point in CONVERGED if point[0] >= 190]
    how = {"log": True, "across": (190.0, 374.0), "upright": (0.337, 0.37)}
    references = [Reference("uniform 4.803", 4.803, "faint"), NEAR, FLOOR]
    rows = [plain_text(line) for line in plot_lines(tail, references, [BEST], 78, 12, **how)]
    assert all(0.33 < float(tick) < 0.38 for tick in ticks_of(rows))
    assert "uniform 4.803 ↑" in rows[0]
    assert "floor 0.190 ↓" in "".join(rows)
    assert rows[-1].split()[0] == "200"


@pytest.mark.parametrize("height", [12, 13, 20])
def test_labels_of_lines_below_the_picture_leave_the_row_of_the_best_step(height: int) -> None:
    low = [Reference("head optimum 0.002", 2e-3, "accent"), Reference("floor 0.001", 1e-3, "quiet", "─")]
    best = Mark("◆ best 0.340 @374", 374, 0.34)
    rows = [plain_text(line) for line in plot_lines(CONVERGED, low, [best], 46, height, log=True)]
    assert next(row for row in rows if "◆ best" in row).count("◆") == 2
    assert sum("↓" in row for row in rows) == 2
