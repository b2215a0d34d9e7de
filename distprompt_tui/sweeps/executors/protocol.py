"""What an executor is to the sweep that it works for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from distprompt_tui.sweeps.tasks import SearchOutcome, Task


@dataclass(frozen=True)
class AttemptResult:
    """How one attempt at a task ended.

    Attributes:
        outcomes: of its searches; none where it failed.
        error: why it failed, in one sentence; None where it did not.
        seconds: wall-clock time of the attempt, the loading of the model left out.
        peak_bytes: most memory that the worker's process has had; on a GPU, that its tensors have had there.
    """

    task: Task
    outcomes: tuple[SearchOutcome, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    peak_bytes: int = 0


class Executor(Protocol):
    """Takes tasks and gives reports, in whatever order they end."""

    @property
    def width(self) -> int:
        """How many tasks it can carry out at a time."""
        ...

    def submit(self, task: Task) -> None:
        """Take a task; returns at once."""
        ...

    def wait(self) -> AttemptResult:
        """The next attempt that has ended; blocks until there is one. One task at least must be submitted."""
        ...

    def close(self) -> None:
        """End everything that was started, finished or not."""
        ...


def report_of(task: Task, handle_task: dict[str, Any]) -> AttemptResult:
    """The report of what a worker answered."""
    outcomes = tuple(SearchOutcome.model_validate(outcome) for outcome in handle_task.get("outcomes", ()))
    return AttemptResult(
        task, outcomes, handle_task.get("error"), handle_task.get("seconds", 0.0), handle_task.get("peak_bytes", 0)
    )
