"""Measured task costs, and estimates for the remaining tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distprompt_tui.core.storage.decode import Count, Finite
from distprompt_tui.sweeps.directory import SweepDirectory, read_lines
from distprompt_tui.sweeps.results import SearchConfig
from distprompt_tui.sweeps.tasks import Task


@dataclass(frozen=True)
class Cost:
    """Cost of one finished task; `peak_bytes` as in `executors.protocol.AttemptResult`."""

    method: str
    model: str
    length: Count
    searches: Count
    seconds: Finite
    peak_bytes: Count

    @property
    def config(self) -> SearchConfig:
        return SearchConfig(self.method, self.model, self.length)


@dataclass(frozen=True)
class TimeEstimate:
    """Remaining work of one configuration, in seconds of one worker; None if none of its tasks was measured yet."""

    config: SearchConfig
    tasks: int
    searches: int
    seconds_each: float | None
    seconds: float | None
    peak_bytes: int | None


def read_costs(directory: SweepDirectory) -> list[Cost]:
    return read_lines(directory.tasks_file, Cost)


def estimates(costs: Sequence[Cost], tasks: Sequence[Task]) -> list[TimeEstimate]:
    found = []
    for config in dict.fromkeys(task.config for task in tasks):
        own = [task for task in tasks if task.config == config]
        searches = sum(len(task.searches) for task in own)
        measured = [cost for cost in costs if cost.config == config]
        each = _seconds_each(measured)
        peak = max((cost.peak_bytes for cost in measured), default=None)
        found.append(TimeEstimate(config, len(own), searches, each, None if each is None else each * searches, peak))
    return found


def seconds_left(costs: Sequence[Cost], tasks: Sequence[Task], width: int) -> float | None:
    """Estimate the seconds that `width` workers need; None if nothing was measured.

    Unmeasured configurations count as the mean of the others.
    """
    mean = _seconds_each(costs)
    if mean is None:
        return None
    parts = estimates(costs, tasks)
    seconds = sum(mean * part.searches if part.seconds is None else part.seconds for part in parts)
    return seconds / max(min(width, len(tasks)), 1)


def _seconds_each(costs: Sequence[Cost]) -> float | None:
    searches = sum(cost.searches for cost in costs)
    return sum(cost.seconds for cost in costs) / searches if searches else None
