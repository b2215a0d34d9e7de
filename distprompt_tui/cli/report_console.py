"""Reports in the terminal: verdicts, curves by plotext, tables."""

from __future__ import annotations

import math
from itertools import cycle

import plotext
from rich.console import Console
from rich.table import Table
from rich.text import Text

from distprompt_tui.cli.tables import TABLE_ROWS, print_result, token_table
from distprompt_tui.reports import wording
from distprompt_tui.reports.run_report import RunReport
from distprompt_tui.reports.sweep_report import SweepReport
from distprompt_tui.sweeps.curves import Curve, Panel
from distprompt_tui.sweeps.findings import HYPOTHESES, Verdict
from distprompt_tui.text.formatting import gap_closed, nats
from distprompt_tui.text.terminal_text import safe
from distprompt_tui.text.ticks import log_ticks, ticks

PLOT_COLUMNS, PLOT_ROWS = 100, 22
STYLES = {"supported": "bold green", "not supported": "bold red", "inconclusive": "bold yellow", "not tested": "dim"}


def print_sweep_report(console: Console, report: SweepReport) -> None:
    """Verdicts first, then each setting's curves and points, then what it took."""
    console.print(Text(safe(report.sweep.title or report.name), style="bold"))
    print_verdicts(console, report)
    for panel in report.panels:
        console.print()
        console.print(Text(str(panel.setting), style="bold"))
        if any(len(curve.points) > 1 for curve in panel.curves):
            console.print(Text.from_ansi(_curves(panel, min(console.width, PLOT_COLUMNS))))
            console.print(Text(f"    {_legend(panel)}"))
        for curve in panel.curves:
            console.print(_points(curve))
    console.print()
    for line in wording.failure_lines(report):
        console.print(Text(safe(line)))
    console.print(Text(wording.cost_line(report)), soft_wrap=True)
    for versions in report.versions:
        console.print(Text(safe(f"distprompt-tui {versions}"), style="dim"), soft_wrap=True)


def print_verdicts(console: Console, report: SweepReport) -> None:
    """The claim of the sweep's finding, and a few lines for each setting and series that it was tested on."""
    if report.sweep.finding is None:
        return
    console.print(Text(f"Does it hold that {HYPOTHESES[report.sweep.finding]}?"))
    for verdict in report.verdicts:
        _print_verdict(console, verdict)
    if not report.verdicts:
        console.print("not tested: there are no results to test it on yet")


def _print_verdict(console: Console, verdict: Verdict) -> None:
    word = Text(f"{wording.SIGNS[verdict.outcome]} {verdict.word}", style=STYLES[verdict.outcome])
    console.print(word + Text(f"  {verdict.setting}: {verdict.series}", style="bold"), soft_wrap=True)
    for line in wording.verdict_lines(verdict):
        console.print(Text(f"    {line}"), soft_wrap=True)


def _points(curve: Curve) -> Table:
    """A line a point; 80 columns hold it."""
    table = Table(box=None, pad_edge=False, header_style="dim", title=Text(curve.series), title_justify="left")
    for name in wording.COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for point in curve.points:
        table.add_row(*wording.point_cells(point, narrow=True))
    return table


def _curves(panel: Panel, width: int) -> str:
    """Mean divergence by entropy; the head optimum of each series as a row of dots beneath."""
    _begin(width)
    highest = 0.0
    for curve, marker in zip(panel.curves, cycle(wording.MARKERS), strict=False):
        entropies = [point.entropy for point in curve.points]
        kls = [point.kl.value for point in curve.points]
        highest = max([highest, *kls])
        plotext.plot(entropies, kls, marker=marker)
        if limits := _head_optima(curve):
            plotext.plot(*zip(*limits, strict=True), marker="·")
    marks = ticks(0, highest)
    plotext.yticks(marks, [f"{mark:g}" for mark in marks])
    plotext.ylim(0, 1.05 * highest)
    plotext.xlabel("entropy of the target, nats")
    plotext.ylabel("KL, nats")
    return str(plotext.build())


def _legend(panel: Panel) -> str:
    names = [f"{marker} {curve.series}" for curve, marker in zip(panel.curves, cycle(wording.MARKERS), strict=False)]
    return "   ".join([*names, "· head optimum of each"])


def _head_optima(curve: Curve) -> list[tuple[float, float]]:
    return [(point.entropy, point.head_optimum.value) for point in curve.points if point.head_optimum is not None]


def print_run_report(console: Console, report: RunReport) -> None:
    """The divergence over the steps, the largest tokens at first and at last, and the numbers that a run ends with."""
    if len(report.curve) > 1:
        console.print(Text.from_ansi(_trace(report, min(console.width, PLOT_COLUMNS))))
    if report.first is not None:
        console.print(Text(f"before: KL {nats(report.first.kl)}, entropy {nats(report.first.entropy)}", style="bold"))
        console.print(token_table(report.first.tokens[:TABLE_ROWS], report.first.kl))
        console.print(Text("after", style="bold"))
    print_result(console, report.state, report.result)
    if report.state.gap_closed is not None:
        console.print(f"gap closed  {gap_closed(report.state.gap_closed)}", highlight=False)


def _trace(report: RunReport, width: int) -> str:
    """The best divergence so far on a logarithmic axis, with the head optimum where there is one."""
    _begin(width)
    drawn = [(point.step, point.best_kl) for point in report.curve if point.best_kl > 0]
    steps, kls = [step for step, _ in drawn], [kl for _, kl in drawn]
    plotext.plot(steps, [math.log10(kl) for kl in kls], marker="o", label="KL")
    limit = report.state.bounds.head_optimum
    if limit is not None and limit > min(kls) / 10:
        plotext.plot([steps[0], steps[-1]], [math.log10(limit)] * 2, marker="·", label="head optimum")
        kls = [*kls, limit]
    marks = log_ticks(min(kls), max(kls))
    plotext.yticks([math.log10(mark) for mark in marks], [f"{mark:g}" for mark in marks])
    stops = ticks(steps[0], steps[-1])
    plotext.xticks(stops, [f"{mark:g}" for mark in stops])
    plotext.ylim(math.log10(min(kls)) - 0.05, math.log10(max(kls)) + 0.05)
    plotext.xlabel("steps")
    plotext.ylabel("KL, nats")
    return str(plotext.build())


def _begin(width: int) -> None:
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, PLOT_ROWS)
