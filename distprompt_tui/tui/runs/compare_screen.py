"""Compares two to six runs: one plot, updated while runs are live, and the differences of their specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from textual.app import ComposeResult

from distprompt_tui.runs.compare import spec_differences
from distprompt_tui.runs.summary import RunSummary, read_spec_fields, summarise
from distprompt_tui.tui.keymap import COMPARE_KEYS
from distprompt_tui.tui.platform.poller import Poller
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.run.monitor import RunMonitor
from distprompt_tui.tui.runs.comparison import Compared, ComparedCurves, Differences, Legend, PlotData
from distprompt_tui.tui.widgets.app_screen import AppScreen
from distprompt_tui.tui.widgets.line_widget import label_border
from distprompt_tui.tui.widgets.one_line import OneLine

_FRAME_LINES = 2
_MOST_DIFFERENCES = 10


class CompareScreen(AppScreen):
    """Each run keeps the digit of its mark."""

    AUTO_FOCUS = "#differences"
    flat_below = 20
    keys = COMPARE_KEYS
    key_section = "compare"

    def __init__(self, marked: Sequence[tuple[int, RunSummary]]) -> None:
        super().__init__()
        self._runs = [Compared(number, summary) for number, summary in marked]
        self._monitors = [RunMonitor(summary.run) for _, summary in marked]
        self._by_seconds = False
        self._log = True
        self.poller = Poller(partial(in_thread, self._read_runs), self._show_runs)

    def compose_body(self) -> ComposeResult:
        yield OneLine([("Compare  ", "heading"), (f"{len(self._runs)} runs", "strong")], id="header")
        yield ComparedCurves(PlotData(), id="curves", classes="panel")
        yield Legend(self._runs, id="legend", classes="panel")
        yield Differences(id="differences", classes="panel")

    def on_mount(self) -> None:
        self._log = self.context.settings.divergence_scale == "log"
        self.query_one("#legend").border_title = "Runs"
        self.query_one("#differences").border_title = "Differing settings"
        self.set_interval(1 / self.context.updates_per_second, self.tick)
        self.call_after_refresh(self.tick)

    def tick(self) -> None:
        """Poll while a run is live; finished runs are read once."""
        if any(run.summary.is_live or not run.curve for run in self._runs):
            super().tick()

    def _show_runs(self, runs: list[Compared]) -> None:
        self._runs = runs
        if self.is_composed:
            self._show()

    def _read_runs(self) -> list[Compared]:
        return [
            replace(
                run,
                summary=summarise(run.summary.run, run.summary),
                curve=monitor.poll().state.curve,
                spec=run.spec or read_spec_fields(run.summary.run.spec_file),
            )
            for run, monitor in zip(self._runs, self._monitors, strict=True)
        ]

    def _show(self) -> None:
        self.query_one(ComparedCurves).show(PlotData(self._runs, self._log, self._by_seconds))
        self.query_one(Legend).show(self._runs)
        differences = spec_differences([run.spec for run in self._runs])
        table = self.query_one(Differences)
        table.styles.height = min(len(differences), _MOST_DIFFERENCES) + 1 + _FRAME_LINES
        table.show([run.number for run in self._runs], differences)
        scale, over = "log" if self._log else "linear", "seconds" if self._by_seconds else "steps"
        title = f"Best KL(p‖q) so far, nats, {scale}, over {over}"
        label_border(self.query_one(ComparedCurves), title=[(title, "border")])
        self.show_keys()

    def key_words(self) -> Mapping[str, str]:
        return {"scale": "linear" if self._log else "log", "time": "steps" if self._by_seconds else "seconds"}

    def action_scale(self) -> None:
        self._log = not self._log
        self._show()

    def action_time(self) -> None:
        self._by_seconds = not self._by_seconds
        self._show()
