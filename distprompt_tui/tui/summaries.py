"""Past and living runs in a line each, read from the ends of their files."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distprompt_tui.tui.follow import RunTitle, read_title

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory

MAX_RUNS = 60
_TAIL_BYTES = 131_072
"""Holds at least one step event between two of the largest snapshots."""


@dataclass(frozen=True)
class RunSummary:
    """One run.

    Attributes:
        state: "running", "paused", "crashed", or the reason why it ended.
        best_kl: nats, None before the first step.
        seconds_per_step: None before the second step.
        age_seconds: since its last event.
    """

    run: RunDirectory
    title: RunTitle
    state: str
    best_kl: float | None
    step: int
    seconds_per_step: float | None
    age_seconds: float

    @property
    def is_live(self) -> bool:
        """Whether a worker is at work on it."""
        return self.state in ("running", "paused")


def recent_runs(runs_dir: Path) -> list[RunSummary]:
    """The newest runs, the living ones first."""
    from distprompt_tui.runs.directory import list_runs

    found = [summarise(run) for run in list_runs(runs_dir)[:MAX_RUNS]]
    return sorted(found, key=lambda summary: not summary.is_live)


def summarise(run: RunDirectory) -> RunSummary:
    """A run's line. A damaged or half-written file leaves its part unknown."""
    from distprompt_tui.runs.process import worker_pid

    alive = worker_pid(run) is not None
    newest: dict[str, dict[str, Any]] = {}
    for event in _last_events(run.events):
        if isinstance(event.get("type"), str):
            newest[event["type"]] = event
    step, ended = newest.get("step", {}), newest.get("ended", {})
    if ended.get("seq", -1) >= step.get("seq", 0) and not alive:
        state = str(ended.get("reason") or "ended")
    elif alive:
        state = "paused" if newest.get("control", {}).get("outcome") == "paused" else "running"
    else:
        state = "crashed"
    seconds, steps = step.get("seconds"), step.get("step")
    return RunSummary(
        run=run,
        title=read_title(run.spec_file),
        state=state,
        best_kl=_number(step.get("best_kl")),
        step=steps if isinstance(steps, int) else 0,
        seconds_per_step=seconds / steps if steps and isinstance(seconds, int | float) else None,
        age_seconds=max(time.time() - _last_change(run), 0.0),
    )


def seconds_per_step(runs: list[RunSummary], title: RunTitle) -> float | None:
    """What a step took in the newest run of the same model and method; None where there was none."""
    for summary in sorted(runs, key=lambda summary: summary.age_seconds):
        same = (summary.title.model, summary.title.method) == (title.model, title.method)
        if same and summary.seconds_per_step is not None:
            return summary.seconds_per_step
    return None


def _last_events(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            start = max(file.tell() - _TAIL_BYTES, 0)
            file.seek(start)
            lines = file.read().split(b"\n")
    except OSError:
        return []
    events = []
    for line in lines[1 if start else 0 :]:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def _last_change(run: RunDirectory) -> float:
    for path in (run.events, run.spec_file):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return time.time()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
