"""The screen of one sweep: progress, findings, curves and points."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.reports import wording
from distprompt_tui.tui.drawing.styled_text import fit_parts, truncate
from distprompt_tui.tui.keymap import SWEEP_KEYS
from distprompt_tui.tui.platform.poller import Poller
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.sweeps.controller import SweepController
from distprompt_tui.tui.sweeps.monitor import SweepMonitor, SweepView
from distprompt_tui.tui.sweeps.sweep_lines import finding_lines, notes, settings_line, status_line
from distprompt_tui.tui.sweeps.sweep_plot import SweepPicture, SweepPlot
from distprompt_tui.tui.sweeps.sweep_points import PointTable
from distprompt_tui.tui.sweeps.sweep_preview import Findings
from distprompt_tui.tui.widgets.app_screen import AppScreen
from distprompt_tui.tui.widgets.line_widget import label_border
from distprompt_tui.tui.widgets.one_line import OneLine

if TYPE_CHECKING:
    from distprompt_tui.sweeps.curves import Panel
    from distprompt_tui.sweeps.directory import SweepDirectory
    from distprompt_tui.sweeps.sweep_spec import Sweep

_WHOLE_FROM_ROWS = 34  # from this height on, findings are shown in full if there is room, not only their effects

_FLAT_BELOW_ROWS = 20  # below this height, the table of points is hidden

_MOST_VERDICT_ROWS, _MOST_POINT_ROWS = 0.2, 0.28  # maximum fractions of the screen; the curves have the rest

_BESIDE_BARS = 0.35  # the findings' maximum fraction beside bars, which need less room than curves

_FRAME_LINES = 2

_LEAST_PICTURE_ROWS = 8  # with fewer rows, the plot is hidden if the user shows findings in full

_LINES_AROUND = 4  # status, settings, keys and the plot's rule, on a low screen

_SENTENCES = {
    "not begun": "Not started. Press r to start its {total:,} searches; they continue after you quit.",
    "running": "The first searches are running. A point appears when one of its searches has ended.",
    "stopped": "Stopped before a search ended. r: resume, w: output of the processes.",
    "failed": "All searches failed. w: output of the processes, r: retry.",
    "done": "No results: all targets were invalid.",
}
"""Message instead of a plot, by the sweep's state."""


class SweepScreen(AppScreen):
    """Polls at the app's refresh rate; tests findings in a thread, only if there are new rows."""

    AUTO_FOCUS = "#rows"
    keys = SWEEP_KEYS
    key_section = "sweep"

    def __init__(self, directory: SweepDirectory, sweep: Sweep | None, size: str) -> None:
        super().__init__()
        self._heading = f"{sweep.name}, {size}" if sweep and size else directory.name
        self._monitor = SweepMonitor(directory, sweep)
        self._controller = SweepController(self, directory)
        self._view = SweepView()
        self._chosen = 0
        self._log = False
        self._whole: bool | None = None
        self._is_whole = False
        self.poller = Poller(partial(in_thread, self._monitor.poll), self._show_view)

    def compose_body(self) -> ComposeResult:
        yield OneLine([], id="header")
        yield OneLine([], id="settings")
        yield Findings([], id="findings", classes="panel")
        yield SweepPlot(SweepPicture(sentence="Reading sweep…"), id="picture", classes="panel")
        yield PointTable(id="points", classes="panel")

    def on_mount(self) -> None:
        self.set_interval(1 / self.context.updates_per_second, self.tick)
        self.call_after_refresh(self.tick)
        self._show()

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._show)

    def _show_view(self, view: SweepView) -> None:
        if view != self._view:
            self._view = view
            self._show()

    @property
    def state(self) -> str:
        return self._view.progress.state if self._view.progress else ""

    @property
    def _panels(self) -> tuple[Panel, ...]:
        return self._view.report.panels if self._view.report else ()

    @property
    def _entropies(self) -> tuple[float, ...]:
        report = self._view.report
        return (report.sweep.entropies if report else None) or ()

    def _show(self) -> None:
        if not self.is_composed:
            return
        width = self.app.size.width - 2
        self.query_one("#header", OneLine).show(status_line(self._heading, self._view, width))
        findings = self._view.report.findings if self._view.report else ()
        chosen = settings_line(self._panels, findings, self._chosen, width) if self._panels else []
        self.query_one("#settings", OneLine).show(chosen)
        self._show_findings()
        self._show_panel()
        self.show_keys()

    def _show_findings(self) -> None:
        report, box = self._view.report, self.query_one(Findings)
        width = self.app.size.width - (2 if self.has_class("-low") else 4)
        lines: list[Line] = []
        if report is not None and self._panels:
            setting = self._panels[self._chosen].setting
            own = [result for result in report.findings if result.setting == setting]
            whole = finding_lines(own, width, whole=True)
            most = self._rows(_MOST_VERDICT_ROWS if len(self._entropies) > 1 else _BESIDE_BARS)
            has_room = self.app.size.height >= _WHOLE_FROM_ROWS and len(whole) <= most
            self._is_whole = has_room if self._whole is None else self._whole
            lines = whole if self._is_whole else finding_lines(own, width, whole=False)
        if self._view.claim and not lines:
            lines = [[("Not tested: no results yet.", "quiet")]]
        lines += notes(report, width) if report is not None else []
        box.display = bool(lines)
        box.styles.height = len(lines) + self._frame
        claim = f"Finding: {self._view.claim}" if self._view.claim else "Without a result"
        label_border(box, title=truncate([(claim, "border")], width))
        box.show(lines)

    def _show_panel(self) -> None:
        curves = self._panels[self._chosen].curves if self._panels else ()
        plot, table = self.query_one(SweepPlot), self.query_one(PointTable)
        planned = None if curves or self._view.problem else self._monitor.sweep
        plot.show(SweepPicture(curves, self._entropies, self._log, *self._sentence(), planned))
        label_border(plot, title=[(self._title(), "border")])
        points = sum(len(curve.points) for curve in curves)
        is_crowded = self.has_class("-low") and (self._is_whole or self.app.size.height < _FLAT_BELOW_ROWS)
        rows_left = self.app.size.height - len(self.query_one(Findings).data) - _LINES_AROUND
        plot.display = not (is_crowded and rows_left < _LEAST_PICTURE_ROWS)
        table.display = bool(curves) and not is_crowded
        table.styles.height = min(points + 1, self._rows(_MOST_POINT_ROWS)) + self._frame
        table.show(curves)
        cost = wording.cost_parts(self._view.report) if self._view.report else []
        subtitle = fit_parts([[(part, "border")] for part in cost], self.app.size.width - 8, (", ", "border"))
        label_border(table, title=[("Points: means over the targets, 95 % intervals", "border")])
        label_border(table, subtitle=subtitle)

    def _title(self) -> str:
        if not self._panels:
            return sanitize(self._view.report.sweep.title) if self._view.report else ""
        over = f" over the targets' entropy, {'log' if self._log else 'linear'}" if len(self._entropies) > 1 else ""
        return f"{sanitize(str(self._panels[self._chosen].setting))}  KL(p‖q) in nats{over}"

    def _sentence(self) -> tuple[str, str]:
        if self._view.problem:
            problem = self._view.problem.replace(f"{self._monitor.directory.path}/", "")
            return f"The sweep cannot be read. {sanitize(problem)}", "error"
        if (progress := self._view.progress) is None:
            return "Reading sweep…", "quiet"
        return _SENTENCES[progress.state].format(total=progress.total), "quiet"

    def _rows(self, part: float) -> int:
        return round(part * self.app.size.height)

    @property
    def _frame(self) -> int:
        return 1 if self.has_class("-low") else _FRAME_LINES

    def availability(self) -> Mapping[str, bool | None]:
        return {
            **self._controller.availability(self.state),
            "setting": len(self._panels) > 1 or None,
            "findings": bool(self._view.report and self._view.report.findings) or None,
            "scale": (bool(self._panels) and len(self._entropies) > 1) or None,
            "sweeps": None,
        }

    def key_words(self) -> Mapping[str, str]:
        return {
            "scale": "linear" if self._log else "log",
            "findings": "effects" if self._is_whole else "findings",
            "run": "start" if self.state == "not begun" else "resume",
        }

    def action_setting(self, by: int) -> None:
        if self._panels:
            self._chosen = (self._chosen + by) % len(self._panels)
            self._show()

    def action_findings(self) -> None:
        self._whole = not self._is_whole
        self._show()

    def action_scale(self) -> None:
        self._log = not self._log
        self._show()

    def action_run(self) -> None:
        self._controller.start(self._monitor.sweep, self.state, self.tick)

    def action_stop(self) -> None:
        self._controller.stop(self.state, self.tick)

    def action_log(self) -> None:
        from distprompt_tui.tui.widgets.log_screen import LogScreen

        self.app.push_screen(LogScreen(self._monitor.directory.log, ()))
