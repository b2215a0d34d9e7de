"""The divergence over the steps, with what can be reached and what has been."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from textual.binding import Binding, BindingType

from distprompt_tui import format
from distprompt_tui.runs.state import Bounds, CurvePoint
from distprompt_tui.tui.lines import Line, wrapped
from distprompt_tui.tui.plot import Mark, Reference, plot_lines
from distprompt_tui.tui.widgets.painted import Painted, label_border


@dataclass(frozen=True)
class PlotData:
    """What the plot shows; divergences in nats."""

    curve: tuple[CurvePoint, ...] = ()
    uniform: float | None = None
    bounds: Bounds = field(default_factory=Bounds)
    best_kl: float | None = None
    best_step: int | None = None
    empty: str = "The curve starts with the first step."


class DivergencePlot(Painted[PlotData], can_focus=True):
    """Log or linear; ← and → read single points off the curve."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "move(-1)", "Earlier step", show=False),
        Binding("right", "move(1)", "Later step", show=False),
        Binding("home", "move(-1000000)", "First step", show=False),
        Binding("end", "leave", "Follow the newest step", show=False),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(PlotData(), id=id, classes=classes)
        self.log_scale = True
        self._cursor: int | None = None

    def on_mount(self) -> None:
        """Called by Textual."""
        self._retitle()

    def toggle_scale(self) -> None:
        """Change between a logarithmic and a linear axis."""
        self.log_scale = not self.log_scale
        self._retitle()
        self.redraw()

    def show(self, data: PlotData) -> None:
        """Draw another curve."""
        super().show(data)
        self._retitle()

    def lines(self, width: int, height: int) -> list[Line]:
        """What to draw. A failure of the plotting library is a sentence, not the end of the app."""
        if not self.data.curve:
            return [[] for _ in range(height // 2)] + wrapped(self.data.empty, width, "quiet")
        points = [(point.step, point.kl) for point in self.data.curve]
        cursor = self._point()
        try:
            return plot_lines(
                points,
                references(self.data),
                _marks(self.data),
                width,
                height,
                log=self.log_scale,
                cursor_step=cursor.step if cursor else None,
            )
        except Exception as error:
            return wrapped(f"The plot could not be drawn: {type(error).__name__}: {error}", width, "quiet")

    def action_move(self, by: int) -> None:
        """Read another point."""
        if not self.data.curve:
            return
        stride = max(len(self.data.curve) // max(self.content_size.width, 1), 1) if abs(by) == 1 else 1
        start = len(self.data.curve) - 1 if self._cursor is None else self._cursor
        self._cursor = min(max(start + by * stride, 0), len(self.data.curve) - 1)
        self._retitle()
        self.redraw()

    def action_leave(self) -> None:
        """Follow the newest point again."""
        self._cursor = None
        self._retitle()
        self.redraw()

    def _point(self) -> CurvePoint | None:
        if self._cursor is None or not self.data.curve:
            return None
        return self.data.curve[min(self._cursor, len(self.data.curve) - 1)]

    def _retitle(self) -> None:
        """The border tells the scale, and the point under the cursor."""
        title = f"Divergence  KL(p‖q), nats, {'log' if self.log_scale else 'linear'}"
        if (point := self._point()) is not None:
            title = f"Step {point.step}  KL {format.nats(point.kl)}  best {format.nats(point.best_kl)}"
        label_border(self, title=[(title, "border")])


def references(data: PlotData) -> list[Reference]:
    """The lines that are known by now."""
    bounds = data.bounds
    known = [
        ("uniform", data.uniform, "faint", "╌"),
        ("head limit", bounds.head_limit, "accent", "╌"),
        ("floor", bounds.floor, "quiet", "─"),
    ]
    return [
        Reference(f"{name} {format.nats(value)}", value, role, dash)
        for name, value, role, dash in known
        if value is not None
    ]


def _marks(data: PlotData) -> list[Mark]:
    if data.best_kl is None or data.best_step is None:
        return []
    return [Mark(f"◆ best {format.nats(data.best_kl)} @{data.best_step}", data.best_step, data.best_kl)]
