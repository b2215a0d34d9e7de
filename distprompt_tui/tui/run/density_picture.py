"""The density of all tokens over target and achieved probability, as lines with a cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.braille import braille
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.drawing.log_axes import LogAxis, axis_line, labels_down, power_label
from distprompt_tui.tui.drawing.plot import merged_cells

if TYPE_CHECKING:
    from distprompt_tui.core.metrics.distribution_summary import Density, LogRange

Place = tuple[int, int]  # row from the top and column of a cell

GUTTER = 7  # cells for labels of the vertical axis, such as `≤1e-12`
HEADING = 1
_ASCII_LEVELS = " .,:;+x%@"
_ABOVE, _BELOW = "q > p", "q < p"


def picture_size(width: int, height: int) -> Place:
    """Return rows and columns of the density in a picture with axes and a heading."""
    return height - HEADING - 1, width - GUTTER - 1


def axes(density: Density) -> tuple[LogAxis, LogAxis]:
    """Return the axes of p over the columns and of q over the rows, without a column or row of zeros."""
    across = _axis(density.across, density.columns - density.zero_column)
    return across, _axis(density.down, density.rows - density.zero_row)


def picture_lines(density: Density, cursor: Place | None, label: str, *, ascii_only: bool) -> list[Line]:
    """Draw a density with axes, the diagonal q = p and a cursor.

    Args:
        density: summary to draw.
        cursor: cell to mark.
        label: name of the achieved distribution.
        ascii_only: draw the number of tokens as one of eight characters instead of dots.
    """
    across, down = axes(density)
    zero, rows = int(density.zero_column), density.rows - density.zero_row
    canvas = [[(" ", "")] * density.columns for _ in range(density.rows)]
    for row, column in _diagonal(across, down):
        canvas[row][column + zero] = ("╱", "faint")
    _write(canvas, density, 0, zero + 1, _ABOVE, "achieved")
    _write(canvas, density, rows - 1, density.columns - len(_BELOW) - 1, _BELOW, "target")
    roles = _roles(density, across, down)
    dots, levels, counts = density.dots.tolist(), density.levels.tolist(), density.counts.tolist()
    for row in range(density.rows):
        for column in range(density.columns):
            if counts[row][column]:
                char = _ASCII_LEVELS[levels[row][column]] if ascii_only else braille(dots[row][column])
                canvas[row][column] = (char, roles[row][column])
    if cursor is not None:
        row, column = cursor
        canvas[row][column] = (canvas[row][column][0], "chosen")
    labels = labels_down(down)
    lines: list[Line] = [[(f"{label} q ↑  target p →  log-log", "quiet")]]
    for row, cells in enumerate(canvas[:rows]):
        start = [(f"{labels.get(row, ''):>{GUTTER - 1}} ", "quiet")]
        lines.append([*start, *merged_cells([*cells[:zero], ("│", "faint"), *cells[zero:]])])
    corner = ("0" if zero else "") + "└"
    lines.append([(" " * GUTTER + corner, "faint"), (axis_line(across, power_label), "quiet")])
    if density.zero_row:
        cells = canvas[-1]
        lines.append([(f"{'0':>{GUTTER - 1}} ", "quiet"), *merged_cells([*cells[:zero], (" ", ""), *cells[zero:]])])
    return lines


def place_at(density: Density, x: int, y: int) -> Place | None:
    """Return the cell at a position in the picture, in cells from its top left corner; None outside of all cells."""
    zero, rows = int(density.zero_column), density.rows - density.zero_row
    row, column = y - HEADING, x - GUTTER
    if column == zero or row == rows:  # the axes
        return None
    row, column = row - (row > rows), column - (column > zero)
    return (row, column) if 0 <= row < density.rows and 0 <= column < density.columns else None


def next_place(density: Density, cursor: Place, down: int, right: int) -> Place:
    """Return the cell with tokens that is next in a direction: in the nearest row or column that has one."""
    axis, sign = (0, down) if down else (1, right)
    ahead = [
        place
        for place in zip(*(indices.tolist() for indices in density.counts.nonzero()), strict=True)
        if (place[axis] - cursor[axis]) * sign > 0
    ]

    def distance(place: Place) -> Place:
        return abs(place[axis] - cursor[axis]), abs(place[1 - axis] - cursor[1 - axis])

    return min(ahead, key=distance, default=cursor)


def largest_place(density: Density) -> Place:
    """Return the cell with the largest KL contribution."""
    filled = zip(*(indices.tolist() for indices in density.counts.nonzero()), strict=True)
    return max(filled, key=lambda place: float(density.contributions[place]), default=(0, 0))


def place_in(before: Density, cursor: Place, after: Density) -> Place:
    """Return the cell of `after` that is closest to the probabilities of a cell of `before`, and has tokens."""
    if (before.across, before.down, before.counts.shape) == (after.across, after.down, after.counts.shape):
        return cursor
    (across, down), (new_across, new_down) = axes(before), axes(after)
    p = across.power(cursor[1] - before.zero_column + 0.5)
    q = down.power(down.cells - 1 - cursor[0] + 0.5)
    row, column = new_down.cells - 1 - new_down.cell(q), new_across.cell(p) + after.zero_column
    filled = zip(*(indices.tolist() for indices in after.counts.nonzero()), strict=True)
    return min(filled, key=lambda place: abs(place[0] - row) + abs(place[1] - column), default=(row, column))


def describe_place(density: Density, place: Place) -> str:
    """Return the ranges of p and q of a cell."""
    across, down = axes(density)
    row, column = place
    column -= density.zero_column
    p = "p = 0" if column < 0 else f"p {_between(across, column)}"
    rows = density.rows - density.zero_row
    q = "q = 0" if row >= rows else f"q {_between(down, rows - 1 - row)}"
    return f"{p}, {q}"


def _between(axis: LogAxis, cell: int) -> str:
    low, high = (formatting.mass(10 ** axis.power(end)) for end in (cell, cell + 1))
    return f"< {high}" if axis.is_cut and cell == 0 else f"{low}–{high}"


def _axis(ends: LogRange, cells: int) -> LogAxis:
    return LogAxis(ends.low, ends.high, cells, ends.is_cut)


def _diagonal(across: LogAxis, down: LogAxis) -> set[Place]:
    """Return the cells in which q = p: one in every column and in every row, where the axes overlap."""
    places = set()
    for column in range(across.cells):
        if down.low <= (power := across.power(column + 0.5)) <= down.high:
            places.add((down.cells - 1 - down.cell(power), column))
    for row in range(down.cells):
        if across.low <= (power := down.power(row + 0.5)) <= across.high:
            places.add((down.cells - 1 - row, across.cell(power)))
    return places


def _roles(density: Density, across: LogAxis, down: LogAxis) -> list[list[str]]:
    """Return the colour of each cell: that of the distribution with the larger probability."""
    zero, rows = int(density.zero_column), density.rows - density.zero_row
    near = max((across.high - across.low) / across.cells, (down.high - down.low) / down.cells) / 2
    roles = []
    for row in range(density.rows):
        q = down.power(rows - 1 - row + 0.5) if row < rows else None
        line = []
        for column in range(density.columns):
            p = across.power(column - zero + 0.5) if column >= zero else None
            if p is None or q is None:
                line.append("agreed" if p is q else "achieved" if p is None else "target")
            else:
                line.append("agreed" if abs(q - p) <= near else "achieved" if q > p else "target")
        roles.append(line)
    return roles


def _write(canvas: list[list[tuple[str, str]]], density: Density, row: int, start: int, text: str, role: str) -> None:
    """Write a text where no token is."""
    end = start + len(text)
    if start >= 0 and end <= density.columns and not density.counts[row, start:end].any():
        canvas[row][start:end] = [(char, role) for char in text]
