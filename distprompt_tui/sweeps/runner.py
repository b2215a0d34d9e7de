"""Carrying a sweep out: what is missing goes to an executor, what comes back is written down, what fails is retried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distprompt_tui.sweeps.costs import Cost, TimeEstimate, estimates, read_costs, seconds_left
from distprompt_tui.sweeps.directory import Failure, SweepDirectory, SweepWriter, append_records
from distprompt_tui.sweeps.executors.protocol import AttemptResult, Executor
from distprompt_tui.sweeps.tasks import Task, plan_tasks

ATTEMPTS = 2
"""At a task, before it is given up."""


@dataclass(frozen=True)
class Progress:
    """How far a sweep is after a report.

    Attributes:
        report: of the attempt that has just ended.
        done: searches that need no more work.
        total: searches of the grid.
        seconds_left: until the tasks in hand are done; None where nothing was measured yet.
    """

    report: AttemptResult
    done: int
    total: int
    seconds_left: float | None


OnProgress = Callable[[Progress], None]


class SweepRunner:
    """The work on one sweep, for who holds its lock.

    Attributes:
        failed: failures of this time; those of an earlier time are tried again.
    """

    def __init__(self, directory: SweepDirectory) -> None:
        self._directory = directory
        self._tasks = plan_tasks(directory.read_sweep())
        self._writer = SweepWriter(directory)
        self._costs = read_costs(directory)
        self.failed: list[Failure] = []

    @property
    def total(self) -> int:
        """Searches of the grid."""
        return sum(len(task.searches) for task in self._tasks)

    @property
    def done(self) -> int:
        """Searches that need no more work."""
        settled = self._writer.settled
        return sum(key in settled for task in self._tasks for key in task.keys)

    def estimates(self) -> list[TimeEstimate]:
        """What the missing tasks will take."""
        return estimates(self._costs, self.missing())

    def missing(self) -> list[Task]:
        """The tasks of which a search at least has not ended. They are done whole: a batch's company matters."""
        settled = self._writer.settled
        return [task for task in self._tasks if not settled.issuperset(task.keys)]

    def first_of_each_kind(self) -> list[Task]:
        """The first task of each kind that nothing was measured of."""
        known = {cost.config for cost in self._costs}
        first_of_each_kind = {task.config: task for task in reversed(self.missing()) if task.config not in known}
        return list(reversed(first_of_each_kind.values()))

    def run_tasks(self, tasks: Sequence[Task], executor: Executor, show: OnProgress) -> None:
        """Have tasks done; each outcome is on disk before the next report is asked for.

        Args:
            tasks: of this sweep.
            executor: who does them.
            show: told after each attempt.
        """
        attempts: Counter[str] = Counter()
        pending = {task.keys[0]: task for task in tasks}
        for task in tasks:
            executor.submit(task)
        while pending:
            report = executor.wait()
            name = report.task.keys[0]
            attempts[name] += 1
            if report.error is None:
                self._commit(report)
                del pending[name]
            elif attempts[name] < ATTEMPTS:
                executor.submit(report.task)
            else:
                self.failed += self._writer.mark_failed(report.task.keys, attempts[name], report.error)
                del pending[name]
            left = seconds_left(self._costs, list(pending.values()), executor.width)
            show(Progress(report, self.done, self.total, left))

    def _commit(self, report: AttemptResult) -> None:
        self._writer.commit(report.outcomes)
        cost = Cost(*report.task.config, len(report.task.searches), report.seconds, report.peak_bytes)
        append_records(self._directory.tasks_file, [cost])
        self._costs.append(cost)
