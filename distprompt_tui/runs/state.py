"""A run as its viewers see it: `reduce(state, event)` is pure, and live view, replay, `--json` and tests share it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from distprompt_tui.runs.events import Event

MAX_CURVE_POINTS = 4096
"""A curve that grows beyond this loses every second point: a plot has a few hundred columns."""

Phase = Literal["starting", "preparing", "searching", "paused", "ended"]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One reported step."""

    step: int
    kl: float
    best_kl: float
    entropy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class PromptToken:
    """One position of a prompt.

    Attributes:
        id: the token; for a soft prompt the nearest one by cosine.
        text: its string, not yet made safe for a terminal.
        cosine: of the vector with that token's embedding; None in hard prompts.
        norm: length of the vector over the mean length of the vocabulary's; None in hard prompts.
        changed: the step that changed this position last; None in soft prompts.
    """

    id: int
    text: str
    cosine: float | None = None
    norm: float | None = None
    changed: int | None = None


@dataclass(frozen=True, slots=True)
class TokenMass:
    """A token's mass in target and achieved, and its part of the divergence in nats (`shares.kl_shares`)."""

    id: int
    text: str
    target: float
    achieved: float
    share: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The prompt and the two distributions' largest tokens at one step; divergences in nats.

    `reverse_kl` is None where it is infinite: the achieved has mass where the target has none.
    """

    step: int
    kl: float
    entropy: float
    reverse_kl: float | None
    js: float
    tv: float
    prompt: tuple[PromptToken, ...]
    tokens: tuple[TokenMass, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How close any prompt could come, in nats; None where it is not known (yet)."""

    floor: float | None = None
    gap: float | None = None
    head_limit: float | None = None
    agreement: float | None = None
    norm_ratio: float | None = None
    why_no_floor: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What the worker does before (or beside) the search; `fraction` in 0..1 where it is known."""

    stage: str
    text: str
    fraction: float | None = None


@dataclass(frozen=True)
class RunState:
    """All that a viewer knows of a run. Divergences and entropies in nats, times in Unix seconds or seconds."""

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
    entropy_target: float | None = None
    uniform: float | None = None
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
    curve: tuple[CurvePoint, ...] = ()
    snapshot: Snapshot | None = None
    bounds: Bounds = Bounds()
    reason: str | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    exit_code: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def steps_per_second(self) -> float | None:
        """Speed over the newest points of the curve."""
        recent = self.curve[-30:]
        if len(recent) < 2 or recent[-1].seconds <= recent[0].seconds:
            return None
        return (recent[-1].step - recent[0].step) / (recent[-1].seconds - recent[0].seconds)

    @property
    def seconds_left(self) -> float | None:
        """Until the budget is spent, at the present speed."""
        left = []
        if self.steps_planned is not None and (speed := self.steps_per_second):
            left.append((self.steps_planned - self.step) / speed)
        if self.seconds_planned is not None:
            left.append(self.seconds_planned - self.seconds)
        return max(min(left), 0.0) if left else None

    @property
    def left(self) -> float | None:
        """Best divergence − head limit: what the prompt and the optimiser left on the table."""
        if self.best_kl is None or self.bounds.head_limit is None:
            return None
        return self.best_kl - self.bounds.head_limit

    @property
    def closed(self) -> float | None:
        """Share of the way from the initial prompt's divergence to the head limit."""
        if self.left is None or self.start_kl is None or self.bounds.head_limit is None:
            return None
        possible = self.start_kl - self.bounds.head_limit
        return 1 - self.left / possible if possible > 0 else None


def reduce(state: RunState, event: Event) -> RunState:
    """The state after one event. An unknown type, or one that misses its fields, changes nothing but the time."""
    handler = _HANDLERS.get(event.get("type", ""))
    if isinstance(event.get("t"), int | float):
        state = replace(state, updated_at=event["t"])
    if handler is None:
        return state
    try:
        return handler(state, event)
    except (KeyError, TypeError, ValueError):
        return state


def reduce_all(events: Iterable[Event], state: RunState | None = None) -> RunState:
    """The state after many events."""
    state = state or RunState()
    for event in events:
        state = reduce(state, event)
    return state


def _progress(state: RunState, event: Event) -> RunState:
    progress = Progress(event["stage"], event["text"], event.get("fraction"))
    return replace(state, progress=progress, phase="preparing" if state.phase == "starting" else state.phase)


def _started(state: RunState, event: Event) -> RunState:
    budget = event["budget"]
    return replace(
        state,
        phase="searching",
        progress=None,
        run=event["run"],
        preset=event["preset"],
        model=event["model"],
        method=event["method"],
        length=event["length"],
        device=event["device"],
        dtype=event["dtype"],
        vocab_size=event["vocab_size"],
        tokenizer_file=event["tokenizer_file"],
        recipe=event["recipe"],
        entropy_target=event["entropy_target"],
        uniform=event["uniform"],
        steps_planned=budget.get("steps"),
        seconds_planned=budget.get("seconds"),
        until=budget.get("until"),
        started_at=event["t"],
    )


def _step(state: RunState, event: Event) -> RunState:
    point = CurvePoint(event["step"], event["kl"], event["best_kl"], event["entropy"], event["seconds"])
    curve = (*state.curve, point)
    improved = state.best_kl is None or point.best_kl < state.best_kl
    return replace(
        state,
        step=point.step,
        kl=point.kl,
        entropy=point.entropy,
        seconds=point.seconds,
        start_kl=point.kl if state.start_kl is None else state.start_kl,
        best_kl=point.best_kl if improved else state.best_kl,
        best_step=event["best_step"] if improved else state.best_step,
        best_at=event["t"] if improved else state.best_at,
        curve=curve if len(curve) <= MAX_CURVE_POINTS else (*curve[:-1:2], point),
    )


def _snapshot(state: RunState, event: Event) -> RunState:
    snapshot = Snapshot(
        step=event["step"],
        kl=event["kl"],
        entropy=event["entropy"],
        reverse_kl=event["reverse_kl"],
        js=event["js"],
        tv=event["tv"],
        prompt=tuple(PromptToken(**token) for token in event["prompt"]),
        tokens=tuple(TokenMass(*row) for row in event["tokens"]),
    )
    return replace(state, snapshot=snapshot)


def _bounds(state: RunState, event: Event) -> RunState:
    known = {name: event[name] for name in Bounds.__slots__ if event.get(name) is not None}
    return replace(state, bounds=replace(state.bounds, **known))


def _control(state: RunState, event: Event) -> RunState:
    if event["outcome"] == "paused":
        return replace(state, phase="paused")
    if event["outcome"] == "resumed" and state.phase == "paused":
        return replace(state, phase="searching")
    return state


def _warning(state: RunState, event: Event) -> RunState:
    return replace(state, warnings=(*state.warnings[-19:], event["text"]))


def _resumed(state: RunState, event: Event) -> RunState:
    """A worker took the run up again at `step`: what came after that step did not happen."""
    return replace(
        state,
        phase="searching",
        reason=None,
        result=None,
        error=None,
        step=event["step"],
        curve=tuple(point for point in state.curve if point.step <= event["step"]),
    )


def _ended(state: RunState, event: Event) -> RunState:
    return replace(
        state,
        phase="ended",
        progress=None,
        reason=event["reason"],
        result=event.get("result"),
        error=event.get("error"),
        exit_code=event.get("exit_code", 1 if event["reason"] == "error" else 0),
    )


_HANDLERS: dict[str, Callable[[RunState, Event], RunState]] = {
    "progress": _progress,
    "started": _started,
    "step": _step,
    "snapshot": _snapshot,
    "bounds": _bounds,
    "control": _control,
    "warning": _warning,
    "resumed": _resumed,
    "ended": _ended,
}
