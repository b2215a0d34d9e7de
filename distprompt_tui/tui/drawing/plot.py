"""Plots of the divergence as lines of text. All values are checked before plotext draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.ticks import ticks
from distprompt_tui.tui.drawing.plot_labels import BRACKET_CELLS, Label, placed_labels, shortened
from distprompt_tui.tui.drawing.styled_text import width_of, wrapped

Point = tuple[float, float | None]  # step and divergence; None or a non-finite number is a gap

_DOTS_ACROSS, _DOTS_DOWN = 2, 4
_DECADES_BELOW_CURVE = 1.0
"""A reference line further below the curve is not drawn, which leaves room for the curve; its label has an arrow."""

_LARGEST = 1e15  # far above any divergence. Larger values could overflow and are drawn as gaps.

_MIN_PLOT_COLUMNS = 24  # of curve and ticks; labels get the rest
_MIN_COLUMNS = 16  # with fewer columns, nothing is drawn
_MIN_LABEL_CELLS = 12  # with fewer cells, the plot has no labels

_SEPARATE_TICK_LABELS_FROM = 10  # minimum height for a line of step numbers below the axis

_ROWS_PER_ARROW = 5  # rows of the picture for each row of a label of a line below it

_LOG_FACTORS = ((1,), (1, 3), (1, 2, 5))  # ticks of a logarithmic axis in each decade, ever more

_TICK_DIGITS = (3, 4, 5, 6)  # the first number of digits with which the ticks differ is used

_SMALLEST_RANGE = 1e-6  # relative; a smaller range of values is drawn as a constant
_MARGIN, _MARGIN_OF_CONSTANT = 0.04, 0.05  # fractions of the range, of the value


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

    def row(self, value: float) -> int:
        """Return the cell of a value, counted from the high end."""
        return self.cells - 1 - self.cell(value)

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
    upright: tuple[float, float] | None = None,
) -> list[Line]:
    """Draw curves with reference lines and marks.

    Each label is on the row of its line or mark. Labels of one row are joined by a bracket. An arrow follows the
    label of a value above or below the picture.

    Args:
        curves: later ones cover earlier ones.
        references: drawn across, labelled at the right edge. Lines on the same row alternate.
        marks: drawn on the curves, labelled at the right edge.
        width: cells of the whole picture, including labels.
        height: lines of the whole picture, including the axis.
        log: whether the divergence has a log scale; values ≤ 0 are then gaps.
        cursor_step: a step to mark by a vertical line.
        across: the ends of the step axis; by default 0 and the last step.
        upright: the ends of the divergence axis; by default those of the curves and of the reference lines near them.

    Returns:
        `height` lines; a sentence if there is nothing to draw.
    """
    drawn = [(curve.role, _segments(curve.points, log)) for curve in curves]
    segments = [segment for _, parts in drawn for segment in parts]
    if not segments:
        return _sentence("No step has been recorded yet.", width, height)
    if width < _MIN_COLUMNS or height < 4:
        return _sentence("No room for the plot.", width, height)
    first = min(0.0, *(segment[0][0] for segment in segments))
    last = max(segment[-1][0] for segment in segments)
    first, last = across or (first, last)
    is_compact = height < _SEPARATE_TICK_LABELS_FROM
    rows = height - 1 if is_compact else height - 2
    low, high = _limits([y for segment in segments for _, y in segment], references, rows, log, upright)
    values = _Axis(low, high, rows, _DOTS_DOWN)
    shown_marks = [mark for mark in marks if first <= mark.step <= last]
    label_cells = width - _MIN_PLOT_COLUMNS - BRACKET_CELLS
    labels = placed_labels(_labels([*references, *shown_marks], values, label_cells, log), rows, label_cells)
    gutter = max((width_of(label) for label in labels.values()), default=0)
    y_ticks = _value_ticks(values, log)
    tick_width = max(len(text) for _, text in y_ticks)
    steps = _Axis(first, max(last, first + 1), width - gutter - tick_width - 1, _DOTS_ACROSS)
    canvas = _draw(drawn, steps, values, y_ticks, width - gutter, rows + 2)
    if is_compact:
        names = canvas.pop()
        axis = [("─" if char == "┬" else char, role) for char, role in canvas[-1]]
        canvas[-1] = [name if name[0] != " " else cell for name, cell in zip(names, axis, strict=True)]
    _overlay_references(canvas, references, values, tick_width + 1, log)
    if cursor_step is not None and first <= cursor_step <= last:
        _overlay_column(canvas, tick_width + 1 + steps.cell(cursor_step), rows)
    for mark in shown_marks:
        level = _scaled(mark.value, log)
        if level is not None and low <= level <= high:
            canvas[values.row(level)][tick_width + 1 + steps.cell(mark.step)] = (mark.sign, mark.role)
    return [merged_cells(cells) + labels.get(row, []) for row, cells in enumerate(canvas)]


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


def _labels(items: Sequence[Reference | Mark], values: _Axis, cells: int, log: bool) -> list[Label]:
    """Return the labels of lines and marks in at most `cells` cells; none if there is too little space."""
    if cells < _MIN_LABEL_CELLS:
        return []
    labels = []
    for item in items:
        level = _scaled(item.value, log)
        if not item.label:
            continue
        weight = 2.0 if isinstance(item, Reference) else 1.0
        if level is None or level < values.low:
            text, level, is_inside = f"{item.label} ↓", values.low, False
        elif level > values.high:
            text, level, is_inside = f"{item.label} ↑", values.high, False
        else:
            text, is_inside = item.label, True
        labels.append(Label(shortened(text, cells), values.row(level), level, item.role, weight, is_inside))
    return labels


def _limits(
    levels: Sequence[float],
    references: Sequence[Reference],
    rows: int,
    log: bool,
    upright: tuple[float, float] | None,
) -> tuple[float, float]:
    found = [_scaled(item.value, log) for item in references]
    ends = [level for end in upright or () if (level := _scaled(end, log)) is not None]
    if len(ends) < 2:
        nearest = min(levels) - (_DECADES_BELOW_CURVE if log else math.inf)
        ends = [*levels, *(level for level in found if level is not None and level >= nearest)]
    low, high = _padded(min(ends), max(ends))
    if not log and min(levels) >= 0:
        low = max(low, 0.0)
    below = sum(level is None or level < low for level in found)
    rows_below = min(below, max(rows // _ROWS_PER_ARROW, 1))
    return low - (high - low) * rows_below / rows, high  # rows for the labels of lines below the picture


def _padded(low: float, high: float) -> tuple[float, float]:
    scale = max(abs(low), abs(high))
    if high - low < max(_SMALLEST_RANGE * scale, 1e-12):
        margin = _MARGIN_OF_CONSTANT * (scale or 1.0)
    else:
        margin = _MARGIN * (high - low)
    return low - margin, high + margin


def _value_ticks(values: _Axis, log: bool) -> list[tuple[float, str]]:
    """Return positions and texts of at least two ticks, on rows of their own."""
    wanted = max(min(values.cells // 3, 6), 2)
    best: list[float] = []
    for number, marks in enumerate(_tick_candidates(values.low, values.high, wanted, log)):
        rows = {values.cell(mark): mark for mark in reversed(marks)}
        found = sorted(rows.values())
        if len(found) > len(best):
            best = found
        if len(best) >= (max(wanted - 1, 2) if log and number < len(_LOG_FACTORS) - 1 else 2):
            break
    best = best[:: math.ceil(len(best) / wanted)]
    texts = [_texts(best, digits, log) for digits in _TICK_DIGITS]
    distinct = next((names for names in texts if len({*names}) == len(best)), texts[-1])
    return list(zip(best, distinct, strict=True))


def _tick_candidates(low: float, high: float, wanted: int, log: bool) -> Iterator[list[float]]:
    """Yield ever more tick positions on the axis's scale, the last time its ends."""
    decades = range(math.floor(low), math.ceil(high) + 1) if log else range(0)
    for factors in _LOG_FACTORS if log else ():
        marks = [math.log10(factor) + decade for decade in decades for factor in factors]
        yield [mark for mark in marks if low <= mark <= high]
    for count in (wanted, 2 * wanted, 4 * wanted):
        if log:
            yield [math.log10(tick) for tick in ticks(10**low, 10**high, count) if 10**low <= tick <= 10**high]
        else:
            yield [tick for tick in ticks(low, high, count) if low <= tick <= high]
    yield [low, high]


def _texts(levels: Sequence[float], digits: int, log: bool) -> list[str]:
    return [f"{10**level if log else level:.{digits}g}" for level in levels]


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


def _overlay_references(
    canvas: list[list[tuple[str, str]]], references: Sequence[Reference], values: _Axis, start: int, log: bool
) -> None:
    by_row: dict[int, list[Reference]] = {}
    for item in references:
        level = _scaled(item.value, log)
        if level is not None and values.low <= level <= values.high:
            by_row.setdefault(values.row(level), []).append(item)
    for row, items in by_row.items():
        for column in range(start, len(canvas[row])):
            if canvas[row][column][0] == " ":
                item = items[(column - start) % len(items)]
                canvas[row][column] = (item.dash, item.role)


def _overlay_column(canvas: list[list[tuple[str, str]]], column: int, rows: int) -> None:
    for cells in canvas[:rows]:
        if cells[column][0] in " ╌─":
            cells[column] = ("│", "quiet")


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
