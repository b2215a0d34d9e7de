"""Findings and curves of the sweep selected in the list, or its grid; shown on tall terminals only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import truncate
from distprompt_tui.tui.sweeps.monitor import SweepView
from distprompt_tui.tui.sweeps.sweep_lines import finding_lines
from distprompt_tui.tui.sweeps.sweep_plot import SweepPicture, SweepPlot
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border

if TYPE_CHECKING:
    from distprompt_tui.sweeps.curves import Panel
    from distprompt_tui.sweeps.sweep_spec import Sweep

PREVIEW_FROM_ROWS = 36  # minimum height of the screen


class SweepPreview(Vertical):
    """The first setting of a sweep, or the grid of a sweep without results. Hidden without either."""

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._findings = Findings([])
        self._plot = SweepPlot(SweepPicture())

    def compose(self) -> ComposeResult:
        yield self._findings
        yield self._plot

    def show(self, view: SweepView, sweep: Sweep | None) -> None:
        panels: Sequence[Panel] = view.report.panels if view.report else ()
        self.display = (bool(panels) or sweep is not None) and self.screen.size.height >= PREVIEW_FROM_ROWS
        if not panels or view.report is None:
            self._show_grid(sweep)
            return
        first, others = panels[0], len(panels) - 1
        results = [result for result in view.report.findings if result.setting == first.setting]
        lines = finding_lines(results, self.screen.size.width - 4, whole=False)
        self._findings.show(lines)
        self._findings.styles.height = len(lines)
        self._findings.display = bool(lines)
        self._plot.show(SweepPicture(first.curves, view.report.sweep.entropies or ()))
        more = f"  and {others} other setting{'s' * (others != 1)}: press enter" if others else ""
        label_border(self, title=[(f"{sanitize(str(first.setting))}  KL(p‖q) in nats{more}", "border")])

    def _show_grid(self, sweep: Sweep | None) -> None:
        self._findings.display = False
        if sweep is not None:
            self._plot.show(SweepPicture(sentence=f"No results yet. {sweep.search_count:,} searches:", planned=sweep))
            label_border(self, title=[("Grid", "border")])


class Findings(LineWidget[list[Line]]):
    """Lines of the findings of a setting."""

    def lines(self, width: int, height: int) -> list[Line]:
        return [truncate(line, width) for line in self.data]
