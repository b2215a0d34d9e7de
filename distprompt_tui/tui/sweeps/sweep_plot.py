"""Plot of a sweep's setting: curves over the entropies, or bars for a single entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.plot import Curve, Mark, Reference, plot_curves, plot_or_message
from distprompt_tui.tui.drawing.plot import Point as Place
from distprompt_tui.tui.drawing.styled_text import joined, truncate, width_of, wrapped
from distprompt_tui.tui.sweeps.bar_plot import bar_lines
from distprompt_tui.tui.sweeps.plan_lines import plan_lines
from distprompt_tui.tui.sweeps.sweep_lines import marked
from distprompt_tui.tui.widgets.line_widget import LineWidget

if TYPE_CHECKING:
    from distprompt_tui.sweeps import curves
    from distprompt_tui.sweeps.bootstrap import MeanCI
    from distprompt_tui.sweeps.sweep_spec import Sweep

LIMIT_SIGN, FLOOR_SIGN, WITNESS_SIGN = "·", "▁", "w"

_LEAST_PLAN_LINES = 8  # with less room, only the message is shown

_MARGIN = 0.03  # fraction of the axis beside the first and the last point


@dataclass(frozen=True)
class SweepPicture:
    """Curves of a setting, or a message above the grid of the sweep.

    `entropies`, from the grid, set the axis; with at most one, bars are drawn.
    """

    curves: Sequence[curves.Curve] = ()
    entropies: Sequence[float] = ()
    log: bool = False
    sentence: str = ""
    role: str = "quiet"
    planned: Sweep | None = None


class SweepPlot(LineWidget[SweepPicture]):
    def lines(self, width: int, height: int) -> list[Line]:
        curves = self.data.curves
        if not curves:
            return self._without_curves(width, height)
        if len(self.data.entropies) < 2:
            return plot_or_message(lambda: bar_lines(curves, width, height), width)
        legend = legend_lines(curves, width)
        plot = partial(curve_lines, curves, self.data.entropies, width, height - len(legend), log=self.data.log)
        return plot_or_message(lambda: [*plot(), *legend], width)

    def _without_curves(self, width: int, height: int) -> list[Line]:
        sentence = wrapped(self.data.sentence, width, self.data.role)
        if self.data.planned is None or height < len(sentence) + _LEAST_PLAN_LINES:
            return [[] for _ in range(height // 3)] + sentence
        lines = [*sentence, [], *plan_lines(self.data.planned, width)]
        return lines if len(lines) <= height else [*lines[: height - 1], [("…", "quiet")]]


def curve_lines(
    curves: Sequence[curves.Curve], grid: Sequence[float], width: int, height: int, *, log: bool
) -> list[Line]:
    """Draw mean divergence over the entropy of the targets as built; letters on points and lines mark the series."""
    drawn: list[Curve] = []
    floors, limits, witnesses, letters = list[Mark](), list[Mark](), list[Mark](), list[Mark]()
    for place, (letter, number, curve) in enumerate(marked(curves)):
        role, kls = f"series {number}", _places(curve, "kl")
        drawn.insert(0, Curve(_places(curve, "head_optimum"), f"dim {role}"))
        drawn.append(Curve(kls, role))
        floors += _marks(_places(curve, "floor"), FLOOR_SIGN, "quiet")
        limits += _marks(_places(curve, "head_optimum"), LIMIT_SIGN, role)
        witnesses += _marks(_places(curve, "witness_kl"), WITNESS_SIGN, role)
        between = _between(kls, (place + 1) / (len(curves) + 1)) if len(curves) > 1 and not log else []
        letters += _marks([*kls, *between], letter, role)
    entropies = [*grid, *(point.entropy for curve in curves for point in curve.points)]
    margin = _MARGIN * (max(entropies) - min(entropies))
    across = min(entropies) - margin, max(entropies) + margin
    zero = [] if log else [Reference("", 0.0, "", " ")]  # start of the axis
    return plot_curves(drawn, zero, [*floors, *limits, *witnesses, *letters], width, height, log=log, across=across)


def legend_lines(curves: Sequence[curves.Curve], width: int) -> list[Line]:
    parts: list[Line] = [
        [(letter, f"series {number}"), (f" {sanitize(curve.series)}", "")] for letter, number, curve in marked(curves)
    ]
    every = [point for curve in curves for point in curve.points]
    if any(point.head_optimum for point in every):
        parts.append([(LIMIT_SIGN, "strong"), (" head optimum of each", "quiet")])
    if any(point.floor for point in every):
        parts.append([(FLOOR_SIGN, "quiet"), (" floor", "quiet")])
    if any(point.witness_kl for point in every):
        parts.append([(WITNESS_SIGN, "strong"), (" witness of each", "quiet")])
    lines: list[Line] = [[]]
    for part in parts:
        line = joined([lines[-1], part], ("   ", ""))
        if lines[-1] and width_of(line) > width:
            lines.append(part)
        else:
            lines[-1] = line
    return [truncate(line, width) for line in lines]


def _places(curve: curves.Curve, measure: str) -> list[Place]:
    return [(point.entropy, _value(getattr(point, measure))) for point in curve.points]


def _between(places: Sequence[Place], part: float) -> list[Place]:
    return [
        (x + part * (next_x - x), y + part * (next_y - y))
        for (x, y), (next_x, next_y) in pairwise(places)
        if y is not None and next_y is not None
    ]


def _marks(places: Sequence[Place], sign: str, role: str) -> list[Mark]:
    return [Mark("", entropy, value, role, sign) for entropy, value in places if value is not None]


def _value(average: MeanCI | None) -> float | None:
    return None if average is None else average.value
