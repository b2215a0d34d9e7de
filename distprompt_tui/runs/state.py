"""The state of a run, which `runs.reducer` computes from its events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.runs.schema import Control, Divergences, Progress, Projection, Snapshot, Step, Witness

Phase = Literal["starting", "preparing", "searching", "paused", "ended"]

FORCED = "stopped (forced)"  # reason for the end of a run if its worker was killed on request
NO_BOUNDS = Bounds()


@dataclass(frozen=True)
class RunState:
    """The state of a run. Divergences and entropies are in nats, `*_at` in Unix seconds, other times in seconds.

    `schema.Started` and `schema.Step` describe the fields of the same names. `answered` contains the ids of the latest
    answered requests, `edits` the answers to the latest applied changes of the prompt. `stopping_at` is the time at
    which the worker acknowledged a stop.
    """

    phase: Phase = "starting"
    progress: Progress | None = None
    run: str = ""
    preset: str = ""
    model: str = ""
    method: str = ""
    length: int = 0
    device: str = ""
    dtype: str = ""
    vocab_size: int = 0
    tokenizer_file: str = ""
    recipe: str = ""
    bos: str | None = None
    weights: str | None = None
    entropy_target: float | None = None
    uniform_kl: float | None = None
    witness: Witness | None = None
    steps_planned: int | None = None
    seconds_planned: float | None = None
    until: float | None = None
    started_at: float | None = None
    updated_at: float | None = None
    step: int = 0
    kl: float | None = None
    start_kl: float | None = None
    best_kl: float | None = None
    best_step: int | None = None
    best_at: float | None = None
    entropy: float | None = None
    seconds: float = 0.0
    memory: int | None = None
    utilization: float | None = None
    curve: tuple[Step, ...] = ()
    readings: tuple[Divergences, ...] = ()
    snapshot: Snapshot | None = None
    projection: Projection | None = None
    bounds: Bounds = NO_BOUNDS
    reason: str | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    exit_code: int = 0
    warnings: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()
    edits: tuple[Control, ...] = ()
    stopping_at: float | None = None

    @property
    def steps_per_second(self) -> float | None:
        """Speed over the last 30 points of the curve."""
        recent = self.curve[-30:]
        if len(recent) < 2 or recent[-1].seconds <= recent[0].seconds:
            return None
        return (recent[-1].step - recent[0].step) / (recent[-1].seconds - recent[0].seconds)

    @property
    def seconds_per_step(self) -> float | None:
        return 1 / self.steps_per_second if self.steps_per_second else None

    @property
    def seconds_left(self) -> float | None:
        """Time until the budget is spent, at the present speed."""
        estimates = []
        if self.steps_planned is not None and (speed := self.steps_per_second):
            estimates.append((self.steps_planned - self.step) / speed)
        if self.seconds_planned is not None:
            estimates.append(self.seconds_planned - self.seconds)
        return max(min(estimates), 0.0) if estimates else None

    @property
    def excess(self) -> float | None:
        return self.bounds.excess(self.best_kl)

    @property
    def gap_closed(self) -> float | None:
        return self.bounds.gap_closed(self.best_kl, self.start_kl)
