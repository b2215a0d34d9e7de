"""Prints reports to the terminal: findings, the curves of the app, tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from distprompt_tui.cli.tables import print_result, print_tokens
from distprompt_tui.core.text.formatting import Line, counted, gap_closed, nats
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.reports import split_points, wording
from distprompt_tui.reports.run_report import RunReport
from distprompt_tui.reports.split_points import SplitPoint
from distprompt_tui.reports.sweep_report import SweepReport
from distprompt_tui.sweeps.curves import Curve, LengthPanel
from distprompt_tui.sweeps.findings import HYPOTHESES, FindingResult
from distprompt_tui.tui.drawing import plot
from distprompt_tui.tui.sweeps.sweep_plot import curve_lines, legend_lines

PLOT_COLUMNS, PLOT_ROWS = 100, 22
ROLES = {"quiet": "dim", "faint": "dim", "strong": "bold"} | {
    f"{shade}series {number}": f"{shade}{colour}"
    for number, colour in enumerate(("cyan", "yellow", "green", "magenta", "blue", "red"), start=1)
    for shade in ("", "dim ")
}
"""Rich styles of the app's roles."""

STYLES = {"supported": "bold green", "not supported": "bold red", "inconclusive": "bold yellow", "not tested": "dim"}


def print_sweep_report(console: Console, report: SweepReport) -> None:
    console.print(Text(sanitize(report.sweep.title or report.name), style="bold"))
    print_findings(console, report)
    for panel in report.panels:
        console.print()
        console.print(Text(str(panel.setting), style="bold"))
        if any(len(curve.points) > 1 for curve in panel.curves):
            width = min(console.width, PLOT_COLUMNS)
            console.print(Text("KL in nats over the entropy of the target", style="dim"))
            _print_lines(console, curve_lines(panel.curves, report.sweep.entropies or (), width, PLOT_ROWS, log=False))
            _print_lines(console, legend_lines(panel.curves, width))
        for curve in panel.curves:
            console.print(_points(curve))
    for lengths in report.length_panels:
        _print_lengths(console, lengths)
    _print_splits(console, report.splits)
    console.print()
    for line in wording.failure_lines(report):
        console.print(Text(sanitize(line)))
    console.print(Text(wording.cost_line(report)), soft_wrap=True)
    for versions in report.versions:
        console.print(Text(sanitize(f"distprompt-tui {versions}"), style="dim"), soft_wrap=True)


def print_findings(console: Console, report: SweepReport) -> None:
    if report.sweep.finding is None:
        return
    console.print(Text(f"Claim: {HYPOTHESES[report.sweep.finding]}."))
    for result in report.findings:
        _print_finding(console, result)
    if not report.findings:
        console.print("not tested: there are no results yet")


def _print_finding(console: Console, result: FindingResult) -> None:
    word = Text(f"{wording.SIGNS[result.outcome]} {result.word}", style=STYLES[result.outcome])
    console.print(word + Text(f"  {result.setting}: {result.series}", style="bold"), soft_wrap=True)
    for line in wording.finding_lines(result):
        console.print(Text(f"    {line}"), soft_wrap=True)


def _points(curve: Curve) -> Table:
    """Return a table of at most 80 columns with a row per point."""
    table = Table(box=None, pad_edge=False, header_style="dim", title=Text(curve.series), title_justify="left")
    columns = wording.columns_of(curve.points, narrow=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for point in curve.points:
        table.add_row(*wording.point_cells(point, columns, narrow=True))
    return table


def _print_lengths(console: Console, panel: LengthPanel) -> None:
    """Print the excess by length, or the divergence on a model without head optima."""
    by_excess = panel.has_excess
    what = "excess in nats" if by_excess else "KL in nats"
    console.print()
    console.print(Text(f"{panel}: {what} by length of the prompt", style="bold"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("series")
    for length in panel.lengths:
        table.add_column(str(length), justify="right", no_wrap=True)
    for name, points in panel.curves:
        values = {length: point.excess if by_excess else point.kl for length, point in points}
        shown = (values.get(length) for length in panel.lengths)
        table.add_row(Text(sanitize(name)), *(nats(value.value if value else None) for value in shown))
    console.print(table)


def _print_splits(console: Console, points: Sequence[SplitPoint]) -> None:
    if not points:
        return
    console.print()
    console.print(Text("Hard prompts: KL = head optimum + (reference − optimum) + (hard − reference)", style="bold"))
    for (model, length, series), group in groupby(points, key=lambda point: (point.model, point.length, point.series)):
        title = f"{Path(model).name}, {counted(length, 'token')}: {sanitize(series)}"
        table = Table(box=None, pad_edge=False, header_style="dim", title=Text(title), title_justify="left")
        for name in split_points.COLUMNS:
            table.add_column(name, justify="right")
        for point in group:
            table.add_row(*split_points.split_cells(point))
        console.print(table)


def _print_lines(console: Console, lines: Iterable[Line]) -> None:
    for line in lines:
        console.print(Text.assemble(*((text, ROLES.get(role, "")) for text, role in line)), no_wrap=True)


def print_run_report(console: Console, report: RunReport) -> None:
    if len(report.curve) > 1:
        console.print(Text("best KL so far in nats over the steps", style="dim"))
        _print_lines(console, _trace(report, min(console.width, PLOT_COLUMNS)))
    if report.first is not None:
        console.print(Text(f"before: KL {nats(report.first.kl)}, entropy {nats(report.first.entropy)}", style="bold"))
        print_tokens(console, report.first, report.state.vocab_size)
        console.print(Text("after", style="bold"))
    print_result(console, report.state, report.result)
    if report.state.gap_closed is not None:
        console.print(f"gap closed  {gap_closed(report.state.gap_closed)}", highlight=False)


def _trace(report: RunReport, width: int) -> list[Line]:
    state = report.state
    known = state.witness.kl if state.witness is not None else None
    limits = [
        ("uniform", state.uniform_kl),
        ("head optimum", state.bounds.head_optimum),
        ("floor", state.bounds.shown_floor),
    ]
    limits.append(("witness", known))
    references = [plot.Reference(f"{name} {nats(kl)}", kl, "quiet") for name, kl in limits if kl is not None]
    points = [(float(point.step), point.best_kl) for point in report.curve]
    step, best = points[-1]
    marks = [] if best is None else [plot.Mark(f"best {nats(best)}", step, best)]
    return plot.plot_curves([plot.Curve(points)], references, marks, width, PLOT_ROWS, log=True)
