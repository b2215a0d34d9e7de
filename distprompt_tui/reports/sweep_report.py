"""Collects the data of a sweep's report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Literal

from distprompt_tui.reports.split_points import SplitPoint, split_points
from distprompt_tui.sweeps.costs import Cost, read_costs
from distprompt_tui.sweeps.curves import LengthPanel, Panel, length_panels, panels
from distprompt_tui.sweeps.directory import Failure, SweepDirectory
from distprompt_tui.sweeps.findings import FindingResult, evaluate_finding
from distprompt_tui.sweeps.pivot import best_restarts
from distprompt_tui.sweeps.results import ResultRow, SearchConfig
from distprompt_tui.sweeps.sweep_spec import Sweep

Rank = Literal["best", "median", "worst"]


@dataclass(frozen=True)
class Example:
    rank: Rank
    row: ResultRow


@dataclass(frozen=True)
class SweepReport:
    """A finished or unfinished sweep of `asked` searches; `costs` include the time for targets and head optima."""

    name: str
    sweep: Sweep
    asked: int
    rows: tuple[ResultRow, ...]
    failures: tuple[Failure, ...]
    panels: tuple[Panel, ...]
    findings: tuple[FindingResult, ...]
    costs: tuple[Cost, ...] = ()
    length_panels: tuple[LengthPanel, ...] = ()
    splits: tuple[SplitPoint, ...] = ()

    @property
    def versions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.versions for row in self.rows))


def report_sweep(directory: SweepDirectory) -> SweepReport:
    """Read a sweep directory.

    Raises:
        UsageError: `sweep.toml` is missing or damaged.
    """
    sweep, rows = directory.read_sweep(), directory.read_rows()
    return make_report(directory.name, sweep, rows, directory.read_failures(), read_costs(directory))


def make_report(
    name: str, sweep: Sweep, rows: Sequence[ResultRow], failures: Sequence[Failure], costs: Sequence[Cost]
) -> SweepReport:
    findings = evaluate_finding(rows, sweep.finding, sources_of(sweep)) if sweep.finding else []
    if len(rows) + len(failures) < sweep.search_count:
        done = Counter(row.config for row in rows)
        findings = [
            replace(result, missing=sweep.count_for(result.setting.model) - done[result.setting]) for result in findings
        ]
    return SweepReport(
        name=name,
        sweep=sweep,
        asked=sweep.search_count,
        rows=tuple(rows),
        failures=tuple(failures),
        panels=tuple(panels(rows)),
        findings=tuple(findings),
        costs=tuple(costs),
        length_panels=tuple(length_panels(rows)),
        splits=split_points(rows),
    )


def sources_of(sweep: Sweep) -> dict[str, str | None]:
    """Return, for each series, the model that makes its targets; None if it is the searched model, or no model."""
    return {series.name: series.target.get("model") for series in sweep.series}


def examples_of(rows: Sequence[ResultRow], setting: SearchConfig) -> list[Example]:
    ordered = sorted((row for row in best_restarts(rows) if row.config == setting), key=attrgetter("kl"))
    places: dict[int, Rank] = {len(ordered) - 1: "worst", (len(ordered) - 1) // 2: "median", 0: "best"}
    return [Example(places[place], ordered[place]) for place in sorted(places) if ordered]
