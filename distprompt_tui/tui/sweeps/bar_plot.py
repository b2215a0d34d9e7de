"""Bars of a sweep with a single entropy: a bar for each series, and the spread over the targets if there is room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from distprompt_tui.core.text.formatting import Line, nats
from distprompt_tui.core.text.terminal_text import fit, sanitize
from distprompt_tui.core.text.ticks import ticks
from distprompt_tui.reports import wording
from distprompt_tui.tui.drawing.styled_text import fit_parts, truncate
from distprompt_tui.tui.sweeps.sweep_lines import marked

if TYPE_CHECKING:
    from distprompt_tui.sweeps.curves import Curve, Point

TARGET_SIGN = "●"

_NAME_CELLS = (8, 26)
_LEAST_BAR = 10
_GAP = "  "

_AXIS_LINES = 2
_LEAST_BLOCK_LINES = 4  # of a series with its spread: bar, interval, targets and a blank line
_MOST_BAR_LINES = 12
_CELLS_BETWEEN_TICKS = 16


@dataclass(frozen=True)
class _Scale:
    """Cells of a bar of `end` nats."""

    end: float
    cells: int

    def reach(self, value: float) -> int:
        """Return the number of cells from zero to a value."""
        return min(round(max(value, 0.0) / self.end * self.cells), self.cells) if self.end > 0 else 0

    def cell(self, value: float) -> int:
        return min(self.reach(value), self.cells - 1)


@dataclass(frozen=True)
class _Row:
    letter: str
    number: int
    name: str
    point: Point

    @property
    def role(self) -> str:
        return f"series {self.number}"


def bar_lines(curves: Sequence[Curve], width: int, height: int) -> list[Line]:
    """Draw each series at its single entropy: a bar up to the head optimum, and the excess.

    With at least four lines a series, the interval and every target are drawn below the bar on the same scale.
    """
    rows = [
        _Row(letter, number, curve.series, curve.points[0]) for letter, number, curve in marked(curves) if curve.points
    ]
    least, most = _NAME_CELLS
    names = min(max(least, *(cell_len(sanitize(row.name)) for row in rows)), most)
    numbers = [wording.average(row.point.kl) + _witness(row.point) for row in rows]
    cells = max(width - names - max(map(len, numbers)) - 6, _LEAST_BAR)
    block = (height - _AXIS_LINES - 1) // len(rows)
    is_tall = block >= _LEAST_BLOCK_LINES
    scale = _Scale(max(_largest(row.point, with_spread=is_tall) for row in rows), cells)
    lines: list[Line] = []
    for row in rows:
        bar = _bar(row, scale)
        numbers_of: Line = [(_GAP + wording.average(row.point.kl), "strong"), (_witness(row.point), "quiet")]
        label: Line = [(row.letter, row.role), (f" {fit(sanitize(row.name), names)}{_GAP}", "")]
        indent: Line = [(" " * (names + 2 + len(_GAP)), "")]
        lines.append([*label, *bar, *numbers_of])
        if is_tall:
            thickness = min(block - _LEAST_BLOCK_LINES + 1, _MOST_BAR_LINES)
            lines += [[*indent, *bar]] * (thickness - 1)
            lines += [[*indent, (_interval(row.point, scale), row.role)], [*indent, (_targets(row.point, scale), "")]]
        lines.append([])
    if is_tall:
        lines += [[(" " * (names + 2 + len(_GAP)), ""), (text, "quiet")] for text in _axis(scale)]
    elif height < len(lines):
        lines = lines[::2]
    legend = fit_parts(_legend(rows, is_tall), width, ("   ", ""))
    return [truncate(line, width) for line in [*lines[: max(height - 1, 1)], legend]]


def _legend(rows: Sequence[_Row], is_tall: bool) -> list[Line]:
    parts: list[Line] = []
    if any(row.point.head_optimum for row in rows):
        parts = [[("█", "strong"), (" head optimum", "quiet")], [("░", "strong"), (" excess", "quiet")]]
    asked = rows[0].point.asked
    at = "" if asked is None else f" at entropy {asked:g}"
    if not is_tall:
        return [*parts, [(f"KL in nats{at}, mean and 95 % interval", "quiet")]]
    spread: list[Line] = [
        [("├┼┤", "strong"), (" mean and 95 % interval", "quiet")],
        [(TARGET_SIGN, "strong"), (" target, digit: several", "quiet")],
    ]
    return [*parts, *spread, [(f"KL in nats{at}", "quiet")]]


def _witness(point: Point) -> str:
    return "" if point.witness_kl is None else f"  witness {nats(point.witness_kl.value)}"


def _largest(point: Point, *, with_spread: bool) -> float:
    spread = (point.kl.high or 0.0, *point.kls) if with_spread else ()
    return max(point.kl.value, *spread, 0.0)


def _bar(row: _Row, scale: _Scale) -> Line:
    limit, reach = row.point.head_optimum, scale.reach(row.point.kl.value)
    solid = reach if limit is None else min(scale.reach(limit.value), reach)
    parts: Line = [("█" * solid, row.role), ("░" * (reach - solid), row.role)]
    return [*(part for part in parts if part[0]), (" " * (scale.cells - reach), "")]


def _interval(point: Point, scale: _Scale) -> str:
    line = [" "] * scale.cells
    if point.kl.low is not None and point.kl.high is not None:
        low, high = scale.cell(point.kl.low), scale.cell(point.kl.high)
        line[low : high + 1] = "─" * (high + 1 - low)
        line[low], line[high] = "├", "┤"
    line[scale.cell(point.kl.value)] = "┼"
    return "".join(line)


def _targets(point: Point, scale: _Scale) -> str:
    """Return a sign in the cell of each target; a digit in a cell with several."""
    counts = Counter(scale.cell(kl) for kl in point.kls)
    signs = {cell: TARGET_SIGN if count == 1 else str(min(count, 9)) for cell, count in counts.items()}
    return "".join(signs.get(cell, " ") for cell in range(scale.cells))


def _axis(scale: _Scale) -> list[str]:
    line, labels = ["─"] * scale.cells, [" "] * scale.cells
    for value in ticks(0.0, scale.end, max(scale.cells // _CELLS_BETWEEN_TICKS, 2)):
        cell, text = scale.cell(value), f"{value:g}"
        line[cell] = "┬"
        start = min(cell, scale.cells - len(text))
        labels[start : start + len(text)] = text
    return ["".join(line), "".join(labels)]
