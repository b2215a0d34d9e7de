"""The protocol of executors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from distprompt_tui.sweeps.tasks import SearchOutcome, Task


@dataclass(frozen=True)
class AttemptResult:
    """Outcomes of one attempt at a task, or the `error` of a failed one.

    `seconds` excludes loading the model. `peak_bytes` is the peak of the worker's process; on a GPU, of its tensors.
    """

    task: Task
    outcomes: tuple[SearchOutcome, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    peak_bytes: int = 0


class Executor(Protocol):
    """Runs tasks in parallel and returns their results in order of completion."""

    @property
    def width(self) -> int:
        """Maximum number of parallel tasks."""
        ...

    def submit(self, task: Task) -> None:
        """Submit a task without blocking."""
        ...

    def wait(self) -> AttemptResult:
        """Block until an attempt ends, and return its result. Requires a submitted task."""
        ...

    def close(self) -> None:
        """End all started processes, and with them all running tasks."""
        ...


def report_of(task: Task, handle_task: dict[str, Any]) -> AttemptResult:
    outcomes = tuple(SearchOutcome.model_validate(outcome) for outcome in handle_task.get("outcomes", ()))
    return AttemptResult(
        task, outcomes, handle_task.get("error"), handle_task.get("seconds", 0.0), handle_task.get("peak_bytes", 0)
    )
