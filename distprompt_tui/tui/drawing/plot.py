"""Plots of the divergence as lines of text. All values are checked before plotext draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from distprompt_tui.text.formatting import Line
from distprompt_tui.text.ticks import ticks
from distprompt_tui.tui.drawing.styled_text import wrapped

Point = tuple[float, float | None]  # step and divergence; None or a non-finite number is a gap

_DOTS_ACROSS, _DOTS_DOWN = 2, 4
_DECADES_BELOW_CURVE = 1.0
"""A reference line further below the curve is clamped to the bottom row, which leaves room for the curve."""

_LARGEST = 1e15  # far above any divergence. Larger values could overflow and are drawn as gaps.

_MIN_PLOT_COLUMNS = 28  # with fewer columns, the plot has no labels; the panel names the lines elsewhere


@dataclass(frozen=True, slots=True)
class Curve:
    """Points by rising step, and their role."""

    points: Sequence[Point]
    role: str = "strong"


@dataclass(frozen=True, slots=True)
class Reference:
    label: str
    value: float
    role: str
    dash: str = "╌"


@dataclass(frozen=True, slots=True)
class Mark:
    label: str
    step: float
    value: float
    role: str = "strong"
    sign: str = "◆"


@dataclass(frozen=True, slots=True)
class _Axis:
    """A linear range (of logarithms on a log scale) over cells of several Braille dots each."""

    low: float
    high: float
    cells: int
    dots: int

    def cell(self, value: float) -> int:
        """Return the cell of plotext's dot for a value, counted from the low end."""
        position = 0.5 + (self.cells * self.dots - 1) * (value - self.low) / (self.high - self.low)
        return min(max(math.floor(round(position, 8)) // self.dots, 0), self.cells - 1)

    def snapped(self, value: float) -> float:
        """Return a value whose tick plotext shows in the cell of `value`'s dot; it places ticks by whole cells."""
        return self.low + self.cell(value) / max(self.cells - 1, 1) * (self.high - self.low)


def plot_curves(
    curves: Sequence[Curve],
    references: Sequence[Reference],
    marks: Sequence[Mark],
    width: int,
    height: int,
    *,
    log: bool,
    cursor_step: float | None = None,
    across: tuple[float, float] | None = None,
) -> list[Line]:
    """Draw curves with reference lines and marks.

    Args:
        curves: later ones cover earlier ones.
        references: drawn across, labelled at the right edge.
        marks: drawn on the curves, labelled at the right edge.
        width: cells of the whole picture, including labels.
        height: lines of the whole picture, including the axis.
        log: whether the divergence has a log scale; values ≤ 0 are then gaps.
        cursor_step: a step to mark by a vertical line.
        across: the ends of the step axis; by default 0 and the last step.

    Returns:
        `height` lines; a sentence if there is nothing to draw.
    """
    drawn = [(curve.role, _segments(curve.points, log)) for curve in curves]
    segments = [segment for _, parts in drawn for segment in parts]
    if not segments:
        return _sentence("No step has been recorded yet.", width, height)
    if width < 12 or height < 4:
        return _sentence("No room for the plot.", width, height)
    low, high = _limits([y for segment in segments for _, y in segment], references, log)
    named: list[Reference | Mark] = [*references, *marks]
    labels = [_label(item, log, low) for item in named if item.label]
    gutter = max((cell_len(label) for label, _, _ in labels), default=0) + 1 if labels else 0
    if width - gutter < _MIN_PLOT_COLUMNS:
        labels, gutter = [], 0
    y_ticks = _value_ticks(low, high, height - 2, log)
    tick_width = max(len(text) for _, text in y_ticks)
    columns, rows = width - gutter - tick_width - 1, height - 2
    first = min(0.0, *(segment[0][0] for segment in segments))
    last = max(segment[-1][0] for segment in segments)
    first, last = across or (first, last)
    steps = _Axis(first, max(last, first + 1), columns, _DOTS_ACROSS)
    values = _Axis(low, high, rows, _DOTS_DOWN)
    canvas = _draw(drawn, steps, values, y_ticks, width - gutter, height)
    for item in references:
        level = _scaled(item.value, log)
        _overlay_row(canvas, rows - 1 - values.cell(low if level is None else max(level, low)), tick_width + 1, item)
    if cursor_step is not None and first <= cursor_step <= last:
        _overlay_column(canvas, tick_width + 1 + steps.cell(cursor_step), rows)
    for mark in marks:
        level = _scaled(mark.value, log)
        if level is not None and low <= level <= high and first <= mark.step <= last:
            row, column = rows - 1 - values.cell(level), tick_width + 1 + steps.cell(mark.step)
            canvas[row][column] = (mark.sign, mark.role)
    placed = _place([(rows - 1 - values.cell(level), level, text, role) for text, level, role in labels], rows)
    return [merged_cells(cells) + placed.get(row, []) for row, cells in enumerate(canvas)]


def plot_or_message(plot: Callable[[], list[Line]], width: int) -> list[Line]:
    """Return the lines of `plot`, or a message if the plotting library fails; the app must not crash."""
    try:
        return plot()
    except Exception as error:
        return wrapped(f"The plot could not be drawn: {type(error).__name__}: {error}", width, "quiet")


def bucketed(points: Sequence[tuple[float, float]], columns: int) -> list[tuple[float, float]]:
    """Keep at most two points a column, its minimum and maximum, which preserves spikes and bounds the drawing time."""
    if len(points) <= 2 * columns or columns < 1:
        return list(points)
    first, span = points[0][0], points[-1][0] - points[0][0]
    buckets: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        buckets.setdefault(min(int((point[0] - first) / span * columns), columns - 1), []).append(point)
    kept: list[tuple[float, float]] = []
    for bucket in buckets.values():
        extremes = {min(bucket, key=lambda point: point[1]), max(bucket, key=lambda point: point[1])}
        kept.extend(sorted(extremes))
    return kept


def _segments(points: Sequence[Point], log: bool) -> list[list[tuple[float, float]]]:
    """Split into runs of drawable points, on the axis's scale; gaps between them stay empty."""
    segments: list[list[tuple[float, float]]] = []
    broken = True
    for step, value in points:
        level = _scaled(value, log)
        if level is None or not math.isfinite(step):
            broken = True
            continue
        if broken:
            segments.append([])
            broken = False
        segments[-1].append((float(step), level))
    return segments


def _scaled(value: float | None, log: bool) -> float | None:
    if value is None or not abs(value) < _LARGEST:
        return None
    if not log:
        return value
    return math.log10(value) if value > 0 else None


def _label(item: Reference | Mark, log: bool, low: float) -> tuple[str, float, str]:
    """Return text, level and role; a label below the picture is drawn at its bottom with an arrow."""
    level = _scaled(item.value, log)
    if level is None or level < low:
        return f"{item.label} ↓", low, item.role
    return item.label, level, item.role


def _limits(levels: Sequence[float], references: Sequence[Reference], log: bool) -> tuple[float, float]:
    low, high = min(levels), max(levels)
    margin = _DECADES_BELOW_CURVE if log else math.inf
    for item in references:
        level = _scaled(item.value, log)
        if level is not None:
            low, high = min(low, max(level, low - margin)), max(high, level)
    padding = max((high - low) * 0.04, 1e-9 * max(abs(low), abs(high)), 1e-12)
    if not log and low >= 0:
        return max(low - padding, 0.0) if low > 0 else 0.0, high + padding
    return low - padding, high + padding


def _value_ticks(low: float, high: float, rows: int, log: bool) -> list[tuple[float, str]]:
    wanted = max(min(rows // 3, 6), 2)
    if not log:
        return [(tick, f"{tick:.4g}") for tick in ticks(low, high, wanted)] or [(low, f"{low:.3g}")]
    for factors in ((1,), (1, 3), (1, 2, 5)):
        marks = [
            math.log10(factor) + decade
            for decade in range(math.floor(low), math.ceil(high) + 1)
            for factor in factors
            if low <= math.log10(factor) + decade <= high
        ]
        if len(marks) >= wanted - 1:
            break
    if len(marks) < 2:
        marks = [math.log10(tick) for tick in ticks(10**low, 10**high, wanted) if tick > 0]
    marks = marks or [low]
    return [(tick, f"{10**tick:.3g}") for tick in marks[:: math.ceil(len(marks) / wanted)]]


def _step_ticks(steps: _Axis) -> list[float]:
    nice = ticks(steps.low, steps.high, max(steps.cells // 12, 3))
    return [tick for tick in nice if tick == int(tick)] or [steps.low]


def _draw(
    curves: list[tuple[str, list[list[tuple[float, float]]]]],
    steps: _Axis,
    values: _Axis,
    y_ticks: list[tuple[float, str]],
    width: int,
    height: int,
) -> list[list[tuple[str, str]]]:
    """Return one (character, role) a cell for curves, as (role, segments), and axes."""
    import plotext

    plotext.clear_figure()
    plotext.limit_size(False, False)
    plotext.plot_size(width, height)
    plotext.theme("clear")
    plotext.xaxes(True, False)
    plotext.yaxes(True, False)
    plotext.xlim(steps.low, steps.high)
    plotext.ylim(values.low, values.high)
    x_ticks = _step_ticks(steps)
    plotext.xticks([steps.snapped(tick) for tick in x_ticks], [f"{tick:.0f}" for tick in x_ticks])
    plotext.yticks([values.snapped(tick) for tick, _ in y_ticks], [text for _, text in y_ticks])
    for color, (_, segments) in enumerate(curves, start=1):
        for segment in segments:
            kept = bucketed(segment, steps.cells)
            plotext.plot([x for x, _ in kept], [y for _, y in kept], marker="braille", color=color)
    plotext.build()
    matrix = plotext._core._figure.monitor.matrix  # rows from bottom to top
    plotext.clear_figure()
    roles = dict(enumerate((role for role, _ in curves), start=1))
    return [
        [_cell(char, roles.get(color, "faint")) for char, color in zip(chars, colors, strict=True)]
        for chars, colors in zip(matrix.marker[::-1], matrix.fullground[::-1], strict=True)
    ]


def _cell(char: str, role: str) -> tuple[str, str]:
    return char, "quiet" if char.isalnum() or char in ".-" else role


def _overlay_row(canvas: list[list[tuple[str, str]]], row: int, start: int, item: Reference) -> None:
    cells = canvas[row]
    for column in range(start, len(cells)):
        if cells[column][0] == " ":
            cells[column] = (item.dash, item.role)


def _overlay_column(canvas: list[list[tuple[str, str]]], column: int, rows: int) -> None:
    for cells in canvas[:rows]:
        if cells[column][0] in " ╌─":
            cells[column] = ("│", "quiet")


def _place(labels: list[tuple[int, float, str, str]], rows: int) -> dict[int, Line]:
    """Place labels (row, level, text, role) near their rows, highest first, without overlap."""
    labels = sorted(labels, key=lambda label: (label[0], -label[1]))[:rows]
    taken: list[int] = []
    for row, *_ in labels:
        taken.append(max(row, taken[-1] + 1 if taken else 0))
    for index in range(len(taken) - 1, -1, -1):
        taken[index] = min(taken[index], rows - len(taken) + index)
    return {row: [(f" {text}", role)] for row, (_, _, text, role) in zip(taken, labels, strict=True)}


def merged_cells(cells: Sequence[tuple[str, str]]) -> Line:
    """Join neighbouring (character, role) cells of one role."""
    line: Line = []
    for char, role in cells:
        if line and line[-1][1] == role:
            line[-1] = (line[-1][0] + char, role)
        else:
            line.append((char, role))
    return line


def _sentence(text: str, width: int, height: int) -> list[Line]:
    lines: list[Line] = [[] for _ in range(max(height, 0))]
    if lines:
        lines[len(lines) // 2] = [(text[:width], "quiet")]
    return lines
