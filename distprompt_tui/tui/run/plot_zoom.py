"""Zoom of the divergence plot: the latest steps, and the range of their last half."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from distprompt_tui.tui.drawing.plot import Point

FRACTIONS = {1.0: "", 0.5: "last half", 0.2: "last fifth", 0.05: "last twentieth"}
"""Fractions of the steps that the plot shows, and their names."""


@dataclass(frozen=True)
class PlotZoom:
    """`fraction`: of the steps, the latest ones. `tail`: the range is that of the last half of the shown steps."""

    fraction: float = 1.0
    tail: bool = False

    def next_fraction(self) -> PlotZoom:
        fractions = list(FRACTIONS)
        return replace(self, fraction=fractions[(fractions.index(self.fraction) + 1) % len(fractions)])

    def toggle_tail(self) -> PlotZoom:
        return replace(self, tail=not self.tail)

    @property
    def words(self) -> str:
        """Description for the title; empty without zoom."""
        return ", ".join(filter(None, (FRACTIONS[self.fraction], "tail" if self.tail else "")))


def shown_steps(points: Sequence[Point], zoom: PlotZoom, cursor_step: float | None) -> tuple[float, float] | None:
    """Return the ends of the step axis, which contain the cursor; None for all steps. `points` is not empty."""
    if zoom.fraction == 1.0:
        return None
    start, end = points[0][0], points[-1][0]
    span = max((end - start) * zoom.fraction, 1.0)
    first = end - span
    if cursor_step is not None and cursor_step < first:
        first = max(cursor_step, start)
    return first, first + span


def tail_range(points: Sequence[Point], least: float | None, *, log: bool) -> tuple[float, float] | None:
    """Return the range of the last half of the points; None without values that can be drawn.

    It includes `least`, if that is no further below them than their range.
    """
    values = [value for _, value in points[len(points) // 2 :] if value is not None and math.isfinite(value)]
    values = [value for value in values if value > 0 or not log]
    if not values:
        return None
    low, high = min(values), max(values)
    if least is not None and (least > 0 or not log):
        is_near = low / least <= high / low if log else low - least <= high - low
        low = min(low, least) if is_near else low
    return low, high
