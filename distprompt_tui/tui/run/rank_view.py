"""Probability by rank: both distributions over each other, each in its own order, on log axes."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding, BindingType

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.braille import DOTS_ACROSS, braille
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.context import is_ascii_only
from distprompt_tui.tui.drawing.log_axes import (
    LogAxis,
    axis_line,
    curve_bits,
    labels_down,
    rank_label,
)
from distprompt_tui.tui.drawing.plot import merged_cells
from distprompt_tui.tui.drawing.styled_text import fit_parts, truncate
from distprompt_tui.tui.run.density_picture import GUTTER
from distprompt_tui.tui.run.distribution import Distribution
from distprompt_tui.tui.run.vocabulary_view import VocabularyView

if TYPE_CHECKING:
    from distprompt_tui.core.metrics.distribution_summary import RankCurves

_MIN_HEIGHT, _MIN_WIDTH = 6, 24
_TARGET, _ACHIEVED, _BOTH = "=-#"
"""Signs in ASCII mode, as in the bars."""


@dataclass(frozen=True, eq=False)
class RankData:
    """`missing` is the number of tokens that are not known."""

    curves: RankCurves
    label: str
    missing: int


def rank_lines(data: RankData, cursor: int | None, width: int, height: int, *, ascii_only: bool) -> list[Line]:
    """Draw both curves.

    Args:
        data: curves with two points for each column of the plot.
        cursor: column to read, from the left.
        width: cells of the whole picture, including the labels.
        height: lines of the whole picture, including a heading and the axis.
        ascii_only: draw signs instead of dots.
    """
    curves = data.curves
    columns, rows = width - GUTTER - 1, height - 3
    down = LogAxis(curves.down.low, curves.down.high, rows, curves.down.is_cut)
    across = LogAxis(0, max(math.log10(curves.size), 0.1), columns)
    target = curve_bits(curves.target.tolist(), down, dotted=False)
    achieved = curve_bits(curves.achieved.tolist(), down, dotted=True)
    labels = labels_down(down)
    lines: list[Line] = [_heading(data, cursor, width, ascii_only=ascii_only)]
    for row in range(rows):
        cells = [
            _cell(target.get((row, column), 0), achieved.get((row, column), 0), ascii_only=ascii_only)
            for column in range(columns)
        ]
        if cursor is not None and cells[cursor][0] == " ":
            cells[cursor] = ("│", "quiet")
        lines.append([(f"{labels.get(row, ''):>{GUTTER - 1}} ", "quiet"), ("│", "faint"), *merged_cells(cells)])
    lines.append([(" " * GUTTER + "└", "faint"), (axis_line(across, rank_label), "quiet")])
    return [*lines, truncate(_note(data), width)]


def rank_at(curves: RankCurves, column: int) -> int:
    """Return the rank of a column's left point."""
    points = len(curves.target)
    return round(math.exp(math.log(curves.size) * column * DOTS_ACROSS / max(points - 1, 1)))


def _heading(data: RankData, cursor: int | None, width: int, *, ascii_only: bool) -> Line:
    if cursor is None:
        signs = (_TARGET * 2, _ACHIEVED * 2) if ascii_only else ("⠒⠒", "⠂⠂")
        legend: list[Line] = [[(f"{signs[0]} target", "target")], [(f"{signs[1]} {data.label}", "achieved")]]
        return fit_parts([*legend, [("p, q ↑  rank →  log-log", "quiet")]], width)
    curves = data.curves
    target, achieved = (10 ** float(curve[cursor * DOTS_ACROSS]) for curve in (curves.target, curves.achieved))
    return fit_parts(
        [
            [(f"rank {rank_at(data.curves, cursor):,}", "strong")],
            [("target ", "quiet"), (_read_off(target), "target")],
            [(f"{data.label} ", "quiet"), (_read_off(achieved), "achieved")],
        ],
        width,
    )


def _read_off(value: float) -> str:
    return "0" if math.isnan(value) else formatting.mass(value)


def _note(data: RankData) -> Line:
    if data.missing:
        return [(f"Ranks among {data.curves.size:,} recorded tokens; {data.missing:,} were not recorded.", "quiet")]
    zeros = [f"{name} = 0 for {count:,}" for name, count in zip("pq", data.curves.zeros, strict=True) if count]
    text = "Each distribution is sorted by itself."
    return [(f"{text} {', '.join(zeros)}." if zeros else text, "quiet")]


def _cell(target: int, achieved: int, *, ascii_only: bool) -> tuple[str, str]:
    if not target and not achieved:
        return " ", ""
    sign, role = (
        (_BOTH, "agreed") if target and achieved else (_TARGET, "target") if target else (_ACHIEVED, "achieved")
    )
    return (sign if ascii_only else braille(target | achieved)), role


class RankView(VocabularyView[RankData, int]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "A smaller rank", show=False),
        Binding("right", "move(1)", "A larger rank", show=False),
        Binding("home", "move(-1000000)", "The first rank", show=False),
        Binding("end", "leave", "No rank", show=False),
    ]

    def measure(self, width: int, height: int) -> Hashable:
        return width - GUTTER - 1 if width >= _MIN_WIDTH and height >= _MIN_HEIGHT else None

    @staticmethod
    def summarise(distribution: Distribution, measures: Hashable) -> RankData:
        from distprompt_tui.core.metrics.distribution_summary import rank_curves

        curves = rank_curves(distribution.target, distribution.achieved, cast("int", measures) * DOTS_ACROSS)
        return RankData(curves, distribution.comparison_label, distribution.missing.count)

    def drawn(self, summary: RankData, width: int, height: int) -> list[Line]:
        columns = len(summary.curves.target) // DOTS_ACROSS
        if columns != width - GUTTER - 1:  # resized; the curves for this width follow
            return []
        cursor = None if self.cursor is None else min(self.cursor, columns - 1)
        return rank_lines(summary, cursor, width, height, ascii_only=is_ascii_only(self))

    def action_move(self, by: int) -> None:
        if self.data is not None:
            columns = len(self.data.curves.target) // DOTS_ACROSS
            self._select(0 if self.cursor is None else min(max(self.cursor + by, 0), columns - 1))
