"""All that a report of a sweep says, gathered from its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from distprompt_tui.sweeps.costs import Cost, read_costs
from distprompt_tui.sweeps.curves import Panel, panels
from distprompt_tui.sweeps.directory import Failure, SweepDirectory
from distprompt_tui.sweeps.findings import FindingResult, evaluate_finding
from distprompt_tui.sweeps.results import ResultRow, SearchConfig
from distprompt_tui.sweeps.sweep_spec import Sweep

Rank = Literal["best", "median", "worst"]


@dataclass(frozen=True)
class Example:
    """One search of a setting, chosen by its divergence among all of the setting."""

    rank: Rank
    row: ResultRow


@dataclass(frozen=True)
class SweepReport:
    """A sweep, however far it is.

    Attributes:
        name: of its folder.
        sweep: as resolved.
        asked: searches of the whole grid.
        rows: the searches that have ended, in the order of the grid.
        failures: searches that were invalid or failed.
        panels: curves, a panel for each model, method and length.
        findings: none where the sweep is of no finding.
        costs: of the tasks that were done, targets and head optima included.
    """

    name: str
    sweep: Sweep
    asked: int
    rows: tuple[ResultRow, ...]
    failures: tuple[Failure, ...]
    panels: tuple[Panel, ...]
    findings: tuple[FindingResult, ...]
    costs: tuple[Cost, ...] = ()

    @property
    def versions(self) -> tuple[str, ...]:
        """Of the programs that carried the searches out, each once."""
        return tuple(dict.fromkeys(row.versions for row in self.rows))


def report_sweep(directory: SweepDirectory) -> SweepReport:
    """Read a sweep's folder.

    Raises:
        UsageError: its `sweep.toml` is missing or damaged.
    """
    sweep, rows = directory.read_sweep(), directory.read_rows()
    return make_report(directory.name, sweep, rows, directory.read_failures(), read_costs(directory))


def make_report(
    name: str, sweep: Sweep, rows: Sequence[ResultRow], failures: Sequence[Failure], costs: Sequence[Cost]
) -> SweepReport:
    """A report of what a sweep's folder holds; arguments as the attributes of `SweepReport`."""
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
    )


def sources_of(sweep: Sweep) -> dict[str, str | None]:
    """For each series the model that makes its targets; None for the one that is searched, or none at all."""
    return {series.name: series.target.get("model") for series in sweep.series}


def examples_of(rows: Sequence[ResultRow], setting: SearchConfig) -> list[Example]:
    """The best, the median and the worst search of a setting; fewer where there are fewer."""
    ordered = sorted((row for row in rows if row.config == setting), key=_divergence)
    places: dict[int, Rank] = {len(ordered) - 1: "worst", (len(ordered) - 1) // 2: "median", 0: "best"}
    return [Example(places[place], ordered[place]) for place in sorted(places) if ordered]


def _divergence(row: ResultRow) -> float:
    return row.kl
