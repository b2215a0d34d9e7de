"""Runs a sweep: submits missing tasks to an executor, writes their results, and retries failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distprompt_tui.sweeps.costs import Cost, TimeEstimate, estimates, read_costs, seconds_left
from distprompt_tui.sweeps.directory import Failure, SweepDirectory, SweepWriter, append_records
from distprompt_tui.sweeps.executors.protocol import AttemptResult, Executor
from distprompt_tui.sweeps.tasks import Task, plan_tasks

ATTEMPTS = 2  # attempts at a task before it counts as failed


@dataclass(frozen=True)
class Progress:
    """Progress of a sweep after an attempt; `seconds_left` for pending tasks is None if nothing was measured yet."""

    report: AttemptResult
    done: int
    total: int
    seconds_left: float | None


OnProgress = Callable[[Progress], None]


class SweepRunner:
    """Runs a sweep. The caller must hold its lock. Searches in `failed` are tried again by the next runner."""

    def __init__(self, directory: SweepDirectory) -> None:
        self._directory = directory
        self._tasks = plan_tasks(directory.read_sweep())
        self._writer = SweepWriter(directory)
        self._costs = read_costs(directory)
        self.failed: list[Failure] = []

    @property
    def total(self) -> int:
        return sum(len(task.searches) for task in self._tasks)

    @property
    def done(self) -> int:
        settled = self._writer.settled
        return sum(key in settled for task in self._tasks for key in task.keys)

    def estimates(self) -> list[TimeEstimate]:
        return estimates(self._costs, self.missing())

    def missing(self) -> list[Task]:
        """Return the tasks with an unfinished search. They run whole, because results depend on the batch."""
        settled = self._writer.settled
        return [task for task in self._tasks if not settled.issuperset(task.keys)]

    def first_of_each_kind(self) -> list[Task]:
        """Return the first missing task of each unmeasured configuration."""
        known = {cost.config for cost in self._costs}
        first_of_each_kind = {task.config: task for task in reversed(self.missing()) if task.config not in known}
        return list(reversed(first_of_each_kind.values()))

    def run_tasks(self, tasks: Sequence[Task], executor: Executor, show: OnProgress) -> None:
        """Run tasks; each outcome is on disk before `show` is called and the next attempt is awaited."""
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
