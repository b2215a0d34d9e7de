"""Pure functions from events to the state of a run, shared by live view, replay and `--json`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from itertools import groupby
from typing import Any

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.runs import schema
from distprompt_tui.runs.schema import Divergences, Event, Snapshot, Step
from distprompt_tui.runs.state import RunState

MAX_CURVE_POINTS = 4096  # longer curves lose every second point; a plot has a few hundred columns
MAX_ANSWERED = 256  # ids of answered requests that are kept; viewers read the events a few times a second
MAX_WARNINGS = 20
EDITS = ("edited", "locked", "unlocked")  # outcomes of applied changes of the prompt


def reduce(state: RunState, event: Event) -> RunState:
    """Return the state after one event. An event of an unknown type changes only the time."""
    return reduce_all((event,), state)


def reduce_all(events: Iterable[Event], state: RunState | None = None) -> RunState:
    """Return the state after many events. Consecutive steps and snapshots are combined into one new state."""
    state = state or RunState()
    for is_infrequent, group in groupby(events, key=lambda event: type(event) in _HANDLERS):
        if not is_infrequent:
            state = _reduce_frequent(state, group)
            continue
        for event in group:
            state = _HANDLERS[type(event)](replace(state, updated_at=_time(event, state.updated_at)), event)
    return state


def state_at(state: RunState, snapshot: Snapshot) -> RunState:
    """Return the state of a run at a recorded snapshot. Curves, bounds and phase stay the same."""
    before = bisect_right(state.curve, snapshot.step, key=lambda point: point.step)
    point = state.curve[before - 1] if before else None
    return replace(
        state,
        snapshot=snapshot,
        step=snapshot.step,
        kl=snapshot.kl,
        entropy=snapshot.entropy,
        projection=None,
        seconds=point.seconds if point else 0.0,
        best_kl=point.best_kl if point else None,
        best_step=point.best_step if point else None,
    )


def _time(event: Event, before: float | None) -> float | None:
    """Return the time of the latest event. A reader may pass the newest snapshot after the events that follow it."""
    if event.t is None:
        return before
    return max(event.t, before) if isinstance(event, Snapshot) and before is not None else event.t


def _progress(state: RunState, event: schema.Progress) -> RunState:
    return replace(state, progress=event, phase="preparing" if state.phase == "starting" else state.phase)


_STARTED_FIELDS = {field.name for field in fields(RunState)} & {*schema.Started.__struct_fields__}


def _started(state: RunState, event: schema.Started) -> RunState:
    if event.v is not None and event.v > schema.FORMAT_VERSION:
        state = _add_warning(
            state, f"a newer version of this program wrote this run (format {event.v}): some data may not be shown"
        )
    copied: dict[str, Any] = {name: getattr(event, name) for name in _STARTED_FIELDS}
    return replace(
        state,
        phase="searching",
        progress=None,
        **copied,
        steps_planned=event.budget.steps,
        seconds_planned=event.budget.seconds,
        until=event.budget.until,
        started_at=event.t,
    )


def _reduce_frequent(state: RunState, events: Iterable[Event]) -> RunState:
    """Combine events without a handler into one new state. Copying it for each event takes seconds on a long run."""
    names = ("updated_at", "step", "kl", "start_kl", "best_kl", "best_step", "best_at", "entropy", "seconds")
    acc: dict[str, Any] = {name: getattr(state, name) for name in (*names, "memory", "utilization", "snapshot")}
    curve, readings = list(state.curve), list(state.readings)
    for event in events:
        acc["updated_at"] = _time(event, acc["updated_at"])
        if isinstance(event, Step):
            _step(acc, curve, event)
        elif isinstance(event, Divergences):
            _snapshot(acc, readings, event)
    return replace(state, **acc, curve=tuple(curve), readings=tuple(readings))


def _step(acc: dict[str, Any], curve: list[Step], event: Step) -> None:
    if event.best_kl != acc["best_kl"]:  # with a fluency weight, the better prompt may have the higher divergence
        acc |= {"best_kl": event.best_kl, "best_step": event.best_step, "best_at": event.t}
    if acc["start_kl"] is None:
        acc["start_kl"] = event.kl
    acc |= {name: getattr(event, name) for name in ("step", "kl", "entropy", "seconds", "memory", "utilization")}
    _append(curve, event)


def _snapshot(acc: dict[str, Any], readings: list[Divergences], event: Divergences) -> None:
    reading = Divergences(event.step, event.kl, event.entropy, event.reverse_kl, event.js, event.tv)
    if readings and readings[-1].step == reading.step:
        readings[-1] = reading  # at its end, a search measures the best prompt
    else:
        _append(readings, reading)
    if isinstance(event, Snapshot):
        acc["snapshot"] = event


def _append(points: list[Any], point: Any) -> None:
    points.append(point)
    if len(points) > MAX_CURVE_POINTS:
        points[:] = [*points[:-1:2], point]


def _bounds(state: RunState, event: schema.Bounds) -> RunState:
    found = {field.name: getattr(event, field.name) for field in fields(Bounds)}
    known = {name: value for name, value in found.items() if value is not None}
    return replace(state, bounds=replace(state.bounds, **known))


def _control(state: RunState, event: schema.Control) -> RunState:
    if event.id is not None:
        state = replace(state, answered=(*state.answered[1 - MAX_ANSWERED :], event.id))
    if event.outcome == "refused" and event.why is not None:
        return _add_warning(state, event.why)
    if event.outcome in EDITS:
        return replace(state, edits=(*state.edits[1 - MAX_ANSWERED :], event))
    if event.outcome == "stopping":
        return replace(state, stopping_at=state.stopping_at or event.t)
    if event.outcome == "paused":
        return replace(state, phase="paused")
    if event.outcome == "resumed" and state.phase == "paused":
        return replace(state, phase="searching")
    return state


def _add_warning(state: RunState, text: str) -> RunState:
    return replace(state, warnings=(*state.warnings[1 - MAX_WARNINGS :], text))


def _resumed(state: RunState, event: schema.Resumed) -> RunState:
    """Remove `event.step` and later steps: the new worker reports them again."""
    step = event.step
    kept = state.best_step is not None and state.best_step < step
    return replace(
        state,
        phase="searching",
        reason=None,
        result=None,
        error=None,
        exit_code=0,
        stopping_at=None,
        step=step,
        best_kl=state.best_kl if kept else None,
        best_step=state.best_step if kept else None,
        start_kl=state.start_kl if step else None,
        curve=tuple(point for point in state.curve if point.step < step),
        readings=tuple(reading for reading in state.readings if reading.step < step),
    )


def _ended(state: RunState, event: schema.Ended) -> RunState:
    """Set the measurements of the best prompt, if there are any: the last step had another prompt."""
    measured = schema.read_result(event.result)
    return replace(
        state,
        phase="ended",
        progress=None,
        reason=event.reason,
        result=event.result,
        best_kl=state.best_kl if measured.kl is None else measured.kl,
        entropy=state.entropy if measured.entropy_achieved is None else measured.entropy_achieved,
        error=event.error,
        exit_code=int(event.reason == "error") if event.exit_code is None else event.exit_code,
    )


_HANDLERS: dict[type[Event], Callable[[RunState, Any], RunState]] = {
    schema.Progress: _progress,
    schema.Started: _started,
    schema.Bounds: _bounds,
    schema.Control: _control,
    schema.Projection: lambda state, event: replace(state, projection=event),
    schema.Warning: lambda state, event: _add_warning(state, event.text),
    schema.Resumed: _resumed,
    schema.Ended: _ended,
}
