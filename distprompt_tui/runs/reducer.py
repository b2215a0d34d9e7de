"""From events to a run's state. It is pure, and live view, replay, `--json` and tests share it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from itertools import groupby
from typing import Any

from distprompt_tui.bounds.values import read_bounds
from distprompt_tui.runs.events import FORMAT_VERSION, Event
from distprompt_tui.runs.parsing import read_divergences, read_snapshot
from distprompt_tui.runs.state import CurvePoint, Progress, Projection, Reading, RunState
from distprompt_tui.storage.decode import field, items, maybe, number, positive, table, text, whole

MAX_CURVE_POINTS = 4096
"""A curve that grows beyond this loses every second point: a plot has a few hundred columns."""

MAX_ANSWERED = 256
"""Ids of answered requests that are kept. A viewer reads the events a few times a second."""


def reduce(state: RunState, event: Event) -> RunState:
    """The state after one event. An unknown type, or one with a field missing or of another kind than it should be,
    changes nothing but the time."""
    return reduce_all((event,), state)


def reduce_all(events: Iterable[Event], state: RunState | None = None) -> RunState:
    """The state after many events. A row of steps and snapshots costs one new state, not one each."""
    state = state or RunState()
    for is_rare, group in groupby(events, key=_is_infrequent):
        if not is_rare:
            state = _reduce_frequent(state, group)
            continue
        for event in group:
            state = replace(state, updated_at=_time(event, state.updated_at))
            try:
                state = _HANDLERS[event["type"]](state, event)
            except (KeyError, TypeError, ValueError):
                continue
    return state


def as_of(state: RunState, event: Event) -> RunState | None:
    """The state as it stood at a recorded snapshot. The curves stay whole, and so do bounds and phase.

    Args:
        state: of the whole run.
        event: the snapshot, whole.

    Returns:
        None where the event is damaged.
    """
    try:
        snapshot = read_snapshot(event)
    except (KeyError, TypeError, ValueError):
        return None
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


def _is_infrequent(event: Event) -> bool:
    kind = event.get("type")
    return isinstance(kind, str) and kind in _HANDLERS


def _time(event: Event, before: float | None) -> float | None:
    try:
        return positive(event.get("t"))
    except ValueError:
        return before


def _progress(state: RunState, event: Event) -> RunState:
    progress = Progress(text(event["stage"]), text(event["text"]), maybe(number, event.get("fraction")))
    return replace(state, progress=progress, phase="preparing" if state.phase == "starting" else state.phase)


def _started(state: RunState, event: Event) -> RunState:
    budget = table(event["budget"])
    words = ("run", "preset", "model", "method", "device", "dtype", "tokenizer_file", "recipe")
    written: dict[str, Any] = {name: text(event[name]) for name in words}
    if (version := whole(event.get("v", FORMAT_VERSION))) > FORMAT_VERSION:
        told = f"a newer version of this program writes this run (format {version}): not all of it may be shown"
        state = replace(state, warnings=(*state.warnings[-19:], told))
    return replace(
        state,
        phase="searching",
        progress=None,
        **written,
        bos=maybe(text, event.get("bos")),
        length=whole(event["length"]),
        vocab_size=whole(event["vocab_size"]),
        entropy_target=positive(event["entropy_target"]),
        uniform_kl=number(event["uniform_kl"]),
        steps_planned=maybe(whole, budget.get("steps")),
        seconds_planned=maybe(positive, budget.get("seconds")),
        until=maybe(number, budget.get("until")),
        started_at=positive(event["t"]),
    )


def _reduce_frequent(state: RunState, events: Iterable[Event]) -> RunState:
    """Steps, snapshots, and events of which only the time counts: gathered in a dictionary, one new state at the end.

    Copying the state for each of them would take seconds on a long run.
    """
    names = ("updated_at", "step", "kl", "start_kl", "best_kl", "best_step", "best_at", "entropy", "seconds")
    now: dict[str, Any] = {name: getattr(state, name) for name in (*names, "memory", "use")}
    now["snapshot"] = state.snapshot
    curve, readings = list(state.curve), list(state.readings)
    for event in events:
        now["updated_at"] = _time(event, now["updated_at"])
        try:
            if event.get("type") == "step":
                _step(now, curve, event)
            elif event.get("type") == "snapshot":
                _snapshot(now, readings, event)
        except (KeyError, TypeError, ValueError):
            continue
    return replace(state, **now, curve=tuple(curve), readings=tuple(readings))


def _step(now: dict[str, Any], curve: list[CurvePoint], event: Event) -> None:
    point = CurvePoint(
        step=whole(event["step"]),
        kl=number(event["kl"]),
        best_kl=number(event["best_kl"]),
        entropy=positive(event["entropy"]),
        seconds=positive(event["seconds"]),
        best_step=whole(event["best_step"]),
    )
    moment = positive(event["t"])
    taken = {"memory": maybe(whole, event.get("memory")), "use": maybe(positive, event.get("use"))}
    if point.best_kl != now["best_kl"]:  # with a fluency weight, the better prompt may have the higher divergence
        now |= {"best_kl": point.best_kl, "best_step": point.best_step, "best_at": moment}
    if now["start_kl"] is None:
        now["start_kl"] = point.kl
    now |= {"step": point.step, "kl": point.kl, "entropy": point.entropy, "seconds": point.seconds, **taken}
    _append(curve, point)


def _snapshot(now: dict[str, Any], readings: list[Reading], event: Event) -> None:
    reading = Reading(whole(event["step"]), **read_divergences(event))
    snapshot = read_snapshot(event) if "prompt" in event else now["snapshot"]
    if readings and readings[-1].step == reading.step:
        readings[-1] = reading  # the last word on a step: its end measures the best prompt
    else:
        _append(readings, reading)
    now["snapshot"] = snapshot


def _append(points: list[Any], point: Any) -> None:
    """Every second point goes where there are too many; the first and the newest stay."""
    points.append(point)
    if len(points) > MAX_CURVE_POINTS:
        points[:] = [*points[:-1:2], point]


def _bounds(state: RunState, event: Event) -> RunState:
    known = {name: value for name, value in asdict(read_bounds(event)).items() if value is not None}
    return replace(state, bounds=replace(state.bounds, **known))


def _control(state: RunState, event: Event) -> RunState:
    if (request := maybe(text, event.get("id"))) is not None:
        state = replace(state, answered=(*state.answered[1 - MAX_ANSWERED :], request))
    if event["outcome"] == "refused":
        return _warning(state, {"text": event["why"]})
    if event["outcome"] == "paused":
        return replace(state, phase="paused")
    if event["outcome"] == "resumed" and state.phase == "paused":
        return replace(state, phase="searching")
    return state


def _projection(state: RunState, event: Event) -> RunState:
    ids = tuple(map(whole, items(event["ids"])))
    found = Projection(whole(event["step"]), ids, number(event["kl"]), number(event["drift"]))
    return replace(state, projection=found)


def _warning(state: RunState, event: Event) -> RunState:
    return replace(state, warnings=(*state.warnings[-19:], text(event["text"])))


def _resumed(state: RunState, event: Event) -> RunState:
    """A worker took the run up again at `step`: that step and what came after it is reported again."""
    step = whole(event["step"])
    curve = tuple(point for point in state.curve if point.step < step)
    kept = state.best_step is not None and state.best_step < step
    return replace(
        state,
        phase="searching",
        reason=None,
        result=None,
        error=None,
        exit_code=0,
        step=step,
        best_kl=state.best_kl if kept else None,
        best_step=state.best_step if kept else None,
        start_kl=state.start_kl if step else None,
        curve=curve,
        readings=tuple(reading for reading in state.readings if reading.step < step),
    )


def _ended(state: RunState, event: Event) -> RunState:
    """The numbers become those of the best prompt, where it was measured: the last step had another one."""
    result = maybe(table, event.get("result"))
    best_kl, entropy = (field(number, result or {}, name) for name in ("kl", "entropy_achieved"))
    return replace(
        state,
        phase="ended",
        progress=None,
        reason=text(event["reason"]),
        result=result,
        best_kl=state.best_kl if best_kl is None else best_kl,
        entropy=state.entropy if entropy is None else entropy,
        error=maybe(text, event.get("error")),
        exit_code=whole(event.get("exit_code", 1 if event["reason"] == "error" else 0)),
    )


_HANDLERS: dict[str, Callable[[RunState, Event], RunState]] = {
    "progress": _progress,
    "started": _started,
    "bounds": _bounds,
    "control": _control,
    "projection": _projection,
    "warning": _warning,
    "resumed": _resumed,
    "ended": _ended,
}
