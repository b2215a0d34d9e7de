"""The plot of the divergence over the steps, with bounds and the best step."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal

from textual.binding import Binding, BindingType

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.runs.schema import Divergences, Step
from distprompt_tui.text import formatting
from distprompt_tui.text.formatting import Line
from distprompt_tui.tui.drawing.plot import Curve, Mark, Point, Reference, plot_curves, plot_or_message
from distprompt_tui.tui.drawing.styled_text import wrapped
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border

Metric = Literal["kl", "reverse_kl", "js", "tv"]

METRICS: dict[Metric, tuple[str, str]] = {
    "kl": ("KL(p‖q)", "nats, "),
    "reverse_kl": ("reverse KL(q‖p)", "nats, "),
    "js": ("Jensen–Shannon", "nats, "),
    "tv": ("total variation", ""),
}
"""Names and units. KL is recorded at each reported step, the others at each snapshot."""

INFINITE = "Reverse KL is infinite at every step: q > 0 for tokens with p = 0."


@dataclass(frozen=True)
class PlotData:
    """Data of the plot; divergences in nats. `cursor_step` is the step on the other panels, if it is not the latest."""

    curve: tuple[Step, ...] = ()
    readings: tuple[Divergences, ...] = ()
    uniform_kl: dict[str, float] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=Bounds)
    best_kl: float | None = None
    best_step: int | None = None
    cursor_step: int | None = None
    empty: str = "The plot starts with the first step."


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
        self._cursor: int | None = None

    def on_mount(self) -> None:
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

    def show(self, data: PlotData) -> None:
        super().show(data)
        self._retitle()

    def lines(self, width: int, height: int) -> list[Line]:
        points = series(self.data, self.metric)
        if not points or all(value is None for _, value in points):
            text = INFINITE if points else self.data.empty
            return [[] for _ in range(height // 2)] + wrapped(text, width, "quiet")
        cursor = self._place(points)
        plot = partial(
            plot_curves,
            [Curve(points)],
            references(self.data, self.metric),
            _marks(self.data) if self.metric == "kl" else [],
            width,
            height,
            log=self.log_scale,
            cursor_step=points[cursor][0] if cursor is not None else None,
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
        name, unit = METRICS[self.metric]
        place = self._place(points)
        if place is None:
            title = f"Divergence  {name}, {unit}{'log' if self.log_scale else 'linear'}"
            if any(value is None for _, value in points):
                title += "; gaps: infinite"
        elif self.metric == "kl":
            point = self.data.curve[place]
            title = f"Step {point.step}  KL {formatting.nats(point.kl)}  best {formatting.nats(point.best_kl)}"
        else:
            step, value = points[place]
            title = f"Step {step}  {name} {'infinite' if value is None else formatting.nats(value)}"
        label_border(self, title=[(title, "border")])


def series(data: PlotData, metric: Metric) -> list[Point]:
    if metric == "kl":
        return [(point.step, point.kl) for point in data.curve]
    return [(reading.step, getattr(reading, metric)) for reading in data.readings]


def references(data: PlotData, metric: Metric) -> list[Reference]:
    """Return the known reference lines. Floor and head optimum apply to forward KL only."""
    known = [("uniform", data.uniform_kl.get(metric), "faint", "╌")]
    if metric == "kl":
        known += [("head optimum", data.bounds.head_optimum, "accent", "╌"), ("floor", data.bounds.floor, "quiet", "─")]
    return [
        Reference(f"{name} {formatting.nats(value)}", value, role, dash)
        for name, value, role, dash in known
        if value is not None
    ]


def _marks(data: PlotData) -> list[Mark]:
    if data.best_kl is None or data.best_step is None:
        return []
    return [Mark(f"◆ best {formatting.nats(data.best_kl)} @{data.best_step}", data.best_step, data.best_kl)]
