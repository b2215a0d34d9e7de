"""The plot of the divergence over the steps, with bounds and the best step."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal

from textual.binding import Binding, BindingType

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.runs.schema import Divergences, Step, Witness
from distprompt_tui.tui.drawing.plot import Curve, Mark, Point, Reference, plot_curves, plot_or_message
from distprompt_tui.tui.drawing.styled_text import fit_parts, plain_text, wrapped
from distprompt_tui.tui.run.plot_zoom import PlotZoom, shown_steps, tail_range
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border

Metric = Literal["kl", "reverse_kl", "js", "tv"]

METRICS: dict[Metric, tuple[str, str]] = {
    "kl": ("KL(p‖q)", "nats"),
    "reverse_kl": ("reverse KL", "nats"),
    "js": ("Jensen–Shannon", "nats"),
    "tv": ("total variation", ""),
}
"""Names and units. KL is recorded at each reported step, the others at each snapshot."""

_TITLE_CELLS = 60  # before the panel has a width

INFINITE = "Reverse KL is infinite at every step: q > 0 for tokens with p = 0."


@dataclass(frozen=True)
class PlotData:
    """Data of the plot; divergences in nats.

    Attributes:
        cursor_step: step on the other panels, if it is not the latest.
        latest_label: name of the latest value: "now", "last step" or "best prompt".
        witness: a prompt that is known before the search.
        length: of the searched prompt.
    """

    curve: tuple[Step, ...] = ()
    readings: tuple[Divergences, ...] = ()
    uniform_kl: dict[str, float] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=Bounds)
    best_kl: float | None = None
    best_step: int | None = None
    cursor_step: int | None = None
    latest_label: str = "now"
    empty: str = "The plot starts with the first step."
    witness: Witness | None = None
    length: int = 0


class DivergencePlot(LineWidget[PlotData], can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Earlier step", show=False),
        Binding("right", "move(1)", "Later step", show=False),
        Binding("home", "move(-1000000)", "First step", show=False),
        Binding("end", "leave", "Follow the latest step", show=False),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(PlotData(), id=id, classes=classes)
        self.log_scale = True
        self.metric: Metric = "kl"
        self.zoom = PlotZoom()
        self._cursor: int | None = None

    def on_mount(self) -> None:
        self._retitle()

    def on_resize(self) -> None:
        self._retitle()

    def toggle_scale(self) -> None:
        self.log_scale = not self.log_scale
        self._retitle()
        self.redraw()

    def next_metric(self) -> None:
        names = list(METRICS)
        self.metric = names[(names.index(self.metric) + 1) % len(names)]
        self._cursor = None
        self._retitle()
        self.redraw()

    def set_zoom(self, zoom: PlotZoom) -> None:
        self.zoom = zoom
        self._retitle()
        self.redraw()

    def show(self, data: PlotData) -> None:
        super().show(data)
        self._retitle()

    def lines(self, width: int, height: int) -> list[Line]:
        points = series(self.data, self.metric)
        if not points or all(value is None for _, value in points):
            text = INFINITE if points else self.data.empty
            return [[] for _ in range(height // 2)] + wrapped(text, width, "quiet")
        cursor = self._place(points)
        cursor_step = points[cursor][0] if cursor is not None else None
        across = shown_steps(points, self.zoom, cursor_step)
        if across is not None:
            points = [point for point in points if across[0] <= point[0] <= across[1]]
        least = self.data.bounds.head_optimum if self.metric == "kl" else None
        plot = partial(
            plot_curves,
            [Curve(points)],
            references(self.data, self.metric),
            _marks(self.data, self.metric),
            width,
            height,
            log=self.log_scale,
            cursor_step=cursor_step,
            across=across,
            upright=tail_range(points, least, log=self.log_scale) if self.zoom.tail else None,
        )
        return plot_or_message(plot, width)

    def action_move(self, by: int) -> None:
        count = len(series(self.data, self.metric))
        if not count:
            return
        stride = max(count // max(self.content_size.width, 1), 1) if abs(by) == 1 else 1
        start = count - 1 if self._cursor is None else self._cursor
        self._cursor = min(max(start + by * stride, 0), count - 1)
        self._retitle()
        self.redraw()

    def action_leave(self) -> None:
        self._cursor = None
        self._retitle()
        self.redraw()

    def _place(self, points: list[Point]) -> int | None:
        if not points or (self.data.cursor_step is None and self._cursor is None):
            return None
        if self.data.cursor_step is not None:
            steps = [step for step, _ in points]
            return max(bisect_right(steps, self.data.cursor_step) - 1, 0)
        return min(self._cursor or 0, len(points) - 1)

    def _retitle(self) -> None:
        points = series(self.data, self.metric)
        unit = METRICS[self.metric][1]
        place = self._place(points)
        if place is None:
            infinite = [value is None for _, value in points]
            gaps = "gaps: infinite" if any(infinite) and not all(infinite) else ""
            scale = "log" if self.log_scale else "linear"
            parts: list[Line] = [[(text, "border")] for text in (gaps, unit, scale, self.zoom.words) if text]
            what: Line = [(self._heading(points), "border")]
            title = plain_text(fit_parts([what, *parts], self.content_size.width or _TITLE_CELLS, (", ", "")))
        elif self.metric == "kl":
            point = self.data.curve[place]
            title = f"Step {point.step:,}  KL {formatting.nats(point.kl)}  best so far {formatting.nats(point.best_kl)}"
        else:
            step, value = points[place]
            title = f"Step {step:,}  {METRICS[self.metric][0]} {_value(value)}"
        label_border(self, title=[(title, "border")])

    def _heading(self, points: list[Point]) -> str:
        """Return the divergence's name; the latest and the lowest value if it is not the headline's."""
        name = METRICS[self.metric][0]
        if self.metric == "kl" or not points:
            return f"Divergence  {name}"
        name = f"{name[:1].upper()}{name[1:]}"
        best = best_of(self.data, self.metric)
        if best is None:
            return f"{name}  infinite"
        latest = f"{self.data.latest_label} {_value(points[-1][1])}"
        return f"{name}  {latest}, lowest {_value(best[1])}"


def series(data: PlotData, metric: Metric) -> list[Point]:
    if metric == "kl":
        return [(point.step, point.kl) for point in data.curve]
    return [(reading.step, getattr(reading, metric)) for reading in data.readings]


def references(data: PlotData, metric: Metric) -> list[Reference]:
    """Return the known reference lines. Floor, head optimum and witness apply to forward KL only.

    The witness has its length if it is longer than the searched prompt.
    """
    known = [("uniform", data.uniform_kl.get(metric), "faint", "╌")]
    if metric == "kl":
        known += [
            ("head optimum", data.bounds.head_optimum, "accent", "╌"),
            ("floor", data.bounds.shown_floor, "quiet", "─"),
        ]
    lines = [
        Reference(f"{name} {formatting.nats(value)}", value, role, dash)
        for name, value, role, dash in known
        if value is not None
    ]
    if metric == "kl" and data.witness is not None:
        name = f"witness ({data.witness.length})" if data.witness.length > data.length else "witness"
        lines.append(Reference(f"{name} {formatting.nats(data.witness.kl)}", data.witness.kl, "target"))
    return lines


def best_of(data: PlotData, metric: Metric) -> tuple[int, float] | None:
    """Return step and value of the best prompt; of a divergence other than KL, the lowest reported value."""
    if metric == "kl":
        return None if data.best_kl is None or data.best_step is None else (data.best_step, data.best_kl)
    known = [(value, int(step)) for step, value in series(data, metric) if value is not None and math.isfinite(value)]
    if not known:
        return None
    value, step = min(known)
    return step, value


def _marks(data: PlotData, metric: Metric) -> list[Mark]:
    best = best_of(data, metric)
    name = "best" if metric == "kl" else "lowest"
    return [] if best is None else [Mark(f"◆ {name} {formatting.nats(best[1])} @{best[0]}", *best)]


def _value(value: float | None) -> str:
    return "infinite" if value is None else formatting.nats(value)
