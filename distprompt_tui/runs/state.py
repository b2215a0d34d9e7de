"""A run as its viewers see it: `reduce(state, event)` is pure, and live view, replay, `--json` and tests share it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, Literal

from distprompt_tui.fields import items, maybe, number, positive, table, text, whole
from distprompt_tui.runs.events import FORMAT_VERSION, Event

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
    best_step: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The other divergences at one snapshot; `reverse_kl` is None where it is infinite."""

    step: int
    reverse_kl: float | None
    js: float
    tv: float


@dataclass(frozen=True, slots=True)
class PromptToken:
    """One position of a prompt.

    Attributes:
        id: the token; for a soft prompt the nearest one by cosine.
        text: its string, not yet made safe for a terminal.
        cosine: of the vector with that token's embedding; None in hard prompts.
        norm: length of the vector over the mean length of the vocabulary's; None in hard prompts.
        changed: the step that changed this position last; None in soft prompts.
        distance: of the vector from that token's embedding, over that mean length; None in hard prompts.
        gained: nats by which the divergence fell when this position changed last; None where it has never changed.
        locked: whether the search leaves it alone.
    """

    id: int
    text: str
    cosine: float | None = None
    norm: float | None = None
    changed: int | None = None
    distance: float | None = None
    gained: float | None = None
    locked: bool = False


@dataclass(frozen=True, slots=True)
class TriedToken:
    """A token that was tried at a position, and the divergence of the prompt with it there, nats."""

    id: int
    text: str
    kl: float


@dataclass(frozen=True, slots=True)
class Tried:
    """What was tried at a position of a hard prompt.

    Attributes:
        step: when the newest was measured.
        kl: divergence of the prompt then, nats; with a fluency weight, what was searched for: its objective.
        tokens: the best first; the one that stood there among them.
    """

    step: int
    kl: float
    tokens: tuple[TriedToken, ...]


@dataclass(frozen=True, slots=True)
class Projection:
    """A soft prompt's nearest tokens, taken as a hard prompt: what is lost between vectors and tokens.

    Attributes:
        step: at which it was measured.
        ids: the tokens.
        kl: their divergence, nats.
        drift: median distance of the vectors from their tokens' embeddings, over the vocabulary's mean norm.
    """

    step: int
    ids: tuple[int, ...]
    kl: float
    drift: float


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

    `reverse_kl` is None where it is infinite: the achieved has mass where the target has none. `candidates`: what was
    tried at each position of a hard prompt, None where nothing was; empty where it was not recorded.
    """

    step: int
    kl: float
    entropy: float
    reverse_kl: float | None
    js: float
    tv: float
    prompt: tuple[PromptToken, ...]
    tokens: tuple[TokenMass, ...]
    candidates: tuple[Tried | None, ...] = ()


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
    """All that a viewer knows of a run. Divergences and entropies in nats, times in Unix seconds or seconds.

    `changes_answered` counts what was asked of the prompt and done, or refused.
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
    memory: int | None = None
    curve: tuple[CurvePoint, ...] = ()
    readings: tuple[Reading, ...] = ()
    snapshot: Snapshot | None = None
    projection: Projection | None = None
    bounds: Bounds = Bounds()
    reason: str | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    exit_code: int = 0
    warnings: tuple[str, ...] = ()
    changes_answered: int = 0

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
    """The state after one event. An unknown type, or one with a field missing or of another kind than it should be,
    changes nothing but the time."""
    return reduce_all((event,), state)


def reduce_all(events: Iterable[Event], state: RunState | None = None) -> RunState:
    """The state after many events. A row of steps and snapshots costs one new state, not one each."""
    state = state or RunState()
    for is_rare, group in groupby(events, key=_is_rare):
        if not is_rare:
            state = _often(state, group)
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
        snapshot = _read_snapshot(event)
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


def _is_rare(event: Event) -> bool:
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
        length=whole(event["length"]),
        vocab_size=whole(event["vocab_size"]),
        entropy_target=number(event["entropy_target"]),
        uniform=number(event["uniform"]),
        steps_planned=maybe(whole, budget.get("steps")),
        seconds_planned=maybe(positive, budget.get("seconds")),
        until=maybe(number, budget.get("until")),
        started_at=positive(event["t"]),
    )


def _often(state: RunState, events: Iterable[Event]) -> RunState:
    """Steps, snapshots, and events of which only the time counts: gathered in a dictionary, one new state at the end.

    Copying the state for each of them would take seconds on a long run.
    """
    names = ("updated_at", "step", "kl", "start_kl", "best_kl", "best_step", "best_at", "entropy", "seconds", "memory")
    now: dict[str, Any] = {name: getattr(state, name) for name in names}
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
        entropy=number(event["entropy"]),
        seconds=positive(event["seconds"]),
        best_step=whole(event["best_step"]),
    )
    moment, memory = positive(event["t"]), maybe(whole, event.get("memory"))
    if point.best_kl != now["best_kl"]:  # with a fluency weight, the better prompt may have the higher divergence
        now |= {"best_kl": point.best_kl, "best_step": point.best_step, "best_at": moment}
    if now["start_kl"] is None:
        now["start_kl"] = point.kl
    now |= {"step": point.step, "kl": point.kl, "entropy": point.entropy, "seconds": point.seconds, "memory": memory}
    _append(curve, point)


def _snapshot(now: dict[str, Any], readings: list[Reading], event: Event) -> None:
    reading = Reading(whole(event["step"]), **_divergences(event))
    snapshot = _read_snapshot(event) if "prompt" in event else now["snapshot"]
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


def _divergences(event: Event) -> dict[str, Any]:
    return {
        "reverse_kl": maybe(number, event["reverse_kl"]),
        "js": number(event["js"]),
        "tv": number(event["tv"]),
    }


def _read_snapshot(event: Event) -> Snapshot:
    return Snapshot(
        step=whole(event["step"]),
        kl=number(event["kl"]),
        entropy=number(event["entropy"]),
        **_divergences(event),
        prompt=tuple(map(_prompt_token, items(event["prompt"]))),
        tokens=tuple(map(_token_mass, items(event["tokens"]))),
        candidates=tuple(map(_tried, items(event.get("candidates", [])))),
    )


def _prompt_token(values: Any) -> PromptToken:
    fields = table(values)
    return PromptToken(
        id=whole(fields["id"]),
        text=text(fields["text"]),
        changed=maybe(whole, fields.get("changed")),
        locked=fields.get("locked") is True,
        **{name: maybe(number, fields.get(name)) for name in ("cosine", "norm", "distance", "gained")},
    )


def _token_mass(values: Any) -> TokenMass:
    token, string, target, achieved, share = items(values)
    return TokenMass(whole(token), text(string), positive(target), positive(achieved), number(share))


def _tried(values: Any) -> Tried | None:
    if values is None:
        return None
    step, kl, tokens = items(values)
    return Tried(whole(step), number(kl), tuple(map(_tried_token, items(tokens))))


def _tried_token(values: Any) -> TriedToken:
    token, string, kl = items(values)
    return TriedToken(whole(token), text(string), number(kl))


def read_bounds(fields: dict[str, Any]) -> Bounds:
    """The bounds in a table; what it does not have is not known.

    Raises:
        ValueError: a field is of another kind than it should be.
    """
    why = maybe(text, fields.get("why_no_floor"))
    numbers = ("floor", "gap", "head_limit", "agreement", "norm_ratio", "seconds")
    return Bounds(why_no_floor=why, **{name: maybe(number, fields.get(name)) for name in numbers})


def _bounds(state: RunState, event: Event) -> RunState:
    known = {name: value for name, value in asdict(read_bounds(event)).items() if value is not None}
    return replace(state, bounds=replace(state.bounds, **known))


def _control(state: RunState, event: Event) -> RunState:
    if event["outcome"] in ("locked", "unlocked", "edited", "refused"):
        told = _warning(state, {"text": event["why"]}) if event["outcome"] == "refused" else state
        return replace(told, changes_answered=state.changes_answered + 1)
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
    return replace(
        state,
        phase="ended",
        progress=None,
        reason=text(event["reason"]),
        result=maybe(table, event.get("result")),
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
