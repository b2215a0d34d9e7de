"""Frames of log-log plots: ticks at powers of ten, an axis line with its labels, curves in Braille."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distprompt_tui.core.text.braille import DOT_BITS, DOTS_ACROSS, DOTS_DOWN

_STEPS = (1, 2, 3, 5, 10, 20, 50, 100, 200)
_ROWS_BETWEEN_LABELS = 2
_CELLS_BETWEEN_LABELS = 2


@dataclass(frozen=True, slots=True)
class LogAxis:
    """A log axis from 10**low to 10**high over a number of cells; `is_cut`: smaller values are drawn at its low end."""

    low: float
    high: float
    cells: int
    is_cut: bool = False

    def cell(self, power: float) -> int:
        """Return the cell of 10**power, counted from the low end."""
        place = (power - self.low) / (self.high - self.low) * self.cells
        return min(max(math.floor(place), 0), self.cells - 1)

    def power(self, cell: float) -> float:
        """Return the power of ten at a cell's low end; `cell` + 0.5 is its middle."""
        return self.low + cell / self.cells * (self.high - self.low)

    def ticks(self, cells_between: int) -> list[int]:
        """Return powers of ten at least `cells_between` apart, rising; the ends if fewer than two fit."""
        low, high = math.ceil(self.low), math.floor(self.high)
        per_power = self.cells / (self.high - self.low)
        step = next((step for step in _STEPS if step * per_power >= cells_between), _STEPS[-1])
        found = [power for power in range(low, high + 1) if power % step == 0]
        return found if len(found) > 1 else [low, high] if low < high else [low]


def power_label(power: int) -> str:
    """Format a power of ten as a probability: `1`, `0.1`, `0.01`, `1e-3`."""
    return {0: "1", -1: "0.1", -2: "0.01"}.get(power, f"1e{power}")


def rank_label(power: int) -> str:
    return f"{10**power:,}"


def labels_down(axis: LogAxis) -> dict[int, str]:
    """Return labels by row, counted from the top."""
    return {
        axis.cells - 1 - axis.cell(power): _label(axis, power, power_label)
        for power in axis.ticks(_ROWS_BETWEEN_LABELS)
    }


def axis_line(axis: LogAxis, label: Callable[[int], str]) -> str:
    """Return the line below a plot, `axis.cells` wide, with its labels after their ticks."""
    longest = max(len(_label(axis, power, label)) for power in (math.ceil(axis.low), math.floor(axis.high)))
    line = list("─" * axis.cells)
    end = 0
    for power in axis.ticks(longest + 1 + _CELLS_BETWEEN_LABELS):
        text = _label(axis, power, label)
        tick = axis.cell(power)
        text = text if tick == 0 else "┴" + text
        start = min(tick, axis.cells - len(text))
        if start >= end:
            line[start : start + len(text)] = text
            end = start + len(text) + 1
    return "".join(line)


def curve_bits(levels: Sequence[float], axis: LogAxis, *, dotted: bool) -> dict[tuple[int, int], int]:
    """Draw a curve in Braille.

    Args:
        levels: a power of ten for each column of dots, two a cell; NaN where the curve has ended.
        axis: of the levels, from bottom to top.
        dotted: whether only the left dots of each cell are drawn, to distinguish two curves without colour.

    Returns:
        Bits of a Braille character by (row, column) of cells.
    """
    dots = LogAxis(axis.low, axis.high, axis.cells * DOTS_DOWN)
    heights = [None if math.isnan(level) else dots.cells - 1 - dots.cell(level) for level in levels]
    found: dict[tuple[int, int], int] = {}
    for place, (here, after) in enumerate(zip(heights, [*heights[1:], None], strict=True)):
        column, side = divmod(place, DOTS_ACROSS)
        if here is None or (dotted and side):
            continue
        last = here if after is None or abs(after - here) < 2 else after - (1 if after > here else -1)
        for dot in range(min(here, last), max(here, last) + 1):
            row, part = divmod(dot, DOTS_DOWN)
            found[row, column] = found.get((row, column), 0) | DOT_BITS[part][side]
    return found


def _label(axis: LogAxis, power: int, label: Callable[[int], str]) -> str:
    return ("≤" if axis.is_cut and power == math.ceil(axis.low) else "") + label(power)
