"""Follows a sweep: reads its folder, in a thread, into one frozen view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distprompt_tui.core.errors import UsageError

if TYPE_CHECKING:
    from distprompt_tui.reports.sweep_report import SweepReport
    from distprompt_tui.sweeps.directory import SweepDirectory
    from distprompt_tui.sweeps.index import SweepProgress
    from distprompt_tui.sweeps.sweep_spec import Sweep
    from distprompt_tui.sweeps.tasks import Task

MOST_SEARCHES = 100_000  # takes some seconds to read, and is far above any sweep run so far; a grid may have billions


@dataclass(frozen=True)
class SweepView:
    """A sweep at one time, for its screen. All fields are empty before the first read.

    Attributes:
        claim: the hypothesis of its findings; empty without one.
        seconds_left: estimated from completed tasks; None if unknown.
        problem: why the sweep cannot be read.
    """

    progress: SweepProgress | None = None
    report: SweepReport | None = None
    claim: str = ""
    seconds_left: float | None = None
    problem: str = ""


class SweepMonitor:
    """Reads a sweep's folder, if it exists. `poll` blocks on files and tests findings; call it in a thread."""

    def __init__(self, directory: SweepDirectory, sweep: Sweep | None) -> None:
        from distprompt_tui.sweeps.results_reader import SweepReader

        self.directory = directory
        self.sweep = sweep
        self._reader = SweepReader(directory)
        self._tasks: list[Task] | None = None
        self._report: SweepReport | None = None
        self._left: float | None = None

    def poll(self) -> SweepView:
        try:
            return self._read()
        except (UsageError, OSError) as error:
            return SweepView(problem=str(error))

    def _read(self) -> SweepView:
        from distprompt_tui.sweeps.findings import HYPOTHESES
        from distprompt_tui.sweeps.index import progress_of
        from distprompt_tui.sweeps.process import runner_pid
        from distprompt_tui.sweeps.tasks import plan_tasks

        sweep = self.sweep = self.sweep or self.directory.read_sweep()
        if (count := sweep.search_count) > MOST_SEARCHES:
            raise UsageError(f"its grid has {count:,} searches; the maximum is {MOST_SEARCHES:,}")
        self._tasks = self._tasks or plan_tasks(sweep)
        pid = runner_pid(self.directory)
        has_new_rows = self._reader.read()
        if has_new_rows or self._report is None:
            self._report = self._report_of(sweep, self._tasks)
        if pid is None or has_new_rows or self._left is None:
            self._left = None if pid is None else self._seconds_left(self._tasks, pid)
        return SweepView(
            progress_of(sweep, self.directory, self._reader, pid is not None),
            self._report,
            HYPOTHESES[sweep.finding] if sweep.finding else "",
            self._left,
        )

    def _report_of(self, sweep: Sweep, tasks: list[Task]) -> SweepReport:
        from distprompt_tui.reports.sweep_report import make_report
        from distprompt_tui.sweeps.directory import filter_to_grid

        reader = self._reader
        rows = filter_to_grid(reader.rows.values(), (search for task in tasks for search in task.searches))
        return make_report(self.directory.name, sweep, rows, reader.failures, reader.costs)

    def _seconds_left(self, tasks: list[Task], pid: int) -> float | None:
        """Estimate the time for tasks with missing rows from the number of local workers; None if unknown."""
        from distprompt_tui.sweeps.costs import seconds_left
        from distprompt_tui.sweeps.process import worker_count

        if not self._reader.costs or not (workers := worker_count(pid)):
            return None
        invalid = (failure.key for failure in self._reader.failures if not failure.attempts)
        settled = {*self._reader.rows, *invalid}
        missing = [task for task in tasks if not settled.issuperset(task.keys)]
        return seconds_left(self._reader.costs, missing, workers)
