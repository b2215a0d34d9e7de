"""Table of a setting's points: each series at each entropy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import fit, sanitize
from distprompt_tui.reports import wording
from distprompt_tui.tui.drawing.styled_text import truncate
from distprompt_tui.tui.sweeps.sweep_lines import marked
from distprompt_tui.tui.widgets.line_widget import LineWidget, ScrollLineWidget

if TYPE_CHECKING:
    from distprompt_tui.sweeps.curves import Curve

WIDE_FROM = 104  # from this width on, the excess has an interval and series have names

_GAP = "  "
_NAME_CELLS = 22
_ROLES = ("", "quiet", "strong", "", "", "quiet", "quiet", "")
"""Of `wording.columns_of`; the last columns are dropped first if space is short."""


def point_lines(curves: Sequence[Curve], width: int) -> list[Line]:
    """Return the column names and one line a point; empty without points."""
    is_wide = width >= WIDE_FROM
    columns = wording.columns_of(point for curve in curves for point in curve.points)
    rows = [
        (letter, number, curve.series, wording.point_cells(point, columns, narrow=not is_wide))
        for letter, number, curve in marked(curves)
        for point in curve.points
    ]
    if not rows:
        return []
    cells = [max(map(len, column)) for column in zip(columns, *(row[3] for row in rows), strict=True)]
    names = min(max(len("series"), *(cell_len(sanitize(row[2])) for row in rows)), _NAME_CELLS) if is_wide else 0
    kept = _columns_in(width - 2 - names, cells)

    def line(first: Line, texts: Sequence[str], roles: Sequence[str]) -> Line:
        columns = zip(texts[:kept], cells, roles, strict=False)
        return truncate([*first, *((f"{_GAP}{text:>{room}}", role) for text, room, role in columns)], width)

    header = line([(f"  {fit('series', names)}" if is_wide else " ", "quiet")], columns, ["quiet"] * len(cells))
    lines = [header]
    for letter, number, series, texts in rows:
        name: Line = [(f" {fit(sanitize(series), names)}", "")] if is_wide else []
        lines.append(line([(letter, f"series {number}"), *name], texts, _ROLES))
    return lines


class PointRows(ScrollLineWidget):
    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._curves: Sequence[Curve] = ()
        self._lines: list[Line] = []
        self._width = 0

    def show(self, curves: Sequence[Curve]) -> None:
        self._curves, self._width = curves, 0
        self.set_line_count(sum(len(curve.points) for curve in curves))

    def line(self, index: int, width: int) -> Line:
        if width != self._width:
            self._lines, self._width = point_lines(self._curves, width)[1:], width
        return self._lines[index] if index < len(self._lines) else []


class PointHeader(LineWidget[Sequence["Curve"]]):
    def lines(self, width: int, height: int) -> list[Line]:
        return point_lines(self.data, width)[:1]


class PointTable(Vertical):
    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._header = PointHeader(())
        self._rows = PointRows(id="rows")

    def compose(self) -> ComposeResult:
        yield self._header
        yield self._rows

    def show(self, curves: Sequence[Curve]) -> None:
        self._header.show(curves)
        self._rows.show(curves)


def _columns_in(width: int, cells: Sequence[int]) -> int:
    ends = accumulate(len(_GAP) + room for room in cells)
    return sum(end <= width for end in ends)
