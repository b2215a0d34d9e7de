"""The status line and the banner below it: progress, problems, and available actions."""

from __future__ import annotations

from dataclasses import dataclass, field

from distprompt_tui.runs.result_notes import REASONS, outcome_notes
from distprompt_tui.runs.schema import read_result
from distprompt_tui.runs.state import RunState
from distprompt_tui.runs.summary import RunLabel
from distprompt_tui.text import formatting
from distprompt_tui.text.formatting import Line, Span
from distprompt_tui.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import (
    fit_parts,
    joined,
    justify,
    key_hints,
    plain_text,
    truncate,
    width_of,
    wrapped,
)
from distprompt_tui.tui.run.monitor import RunView
from distprompt_tui.tui.widgets.line_widget import LineWidget

APP_NAME = "distprompt"

_GAP = 2
_METER_FROM = 110
_METER_CELLS = 12


@dataclass(frozen=True)
class StatusData:
    """A run, its pending request (`pausing…`), the note of another state on the screen, and news.

    `stops_slowly`: a stop has been pending for some time.
    """

    view: RunView = field(default_factory=RunView)
    pending: str = ""
    read_only: bool = False
    note: tuple[Span, ...] = ()
    flash: tuple[Span, ...] = ()
    stops_slowly: bool = False


class StatusLine(LineWidget[StatusData]):
    def lines(self, width: int, height: int) -> list[Line]:
        return [status_line(self.data, width)]


class Banner(LineWidget[StatusData]):
    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(StatusData(), id=id)
        self._lines: list[Line] = []
        self.display = False

    def show(self, data: StatusData) -> None:
        """Draw another state; without a message, the widget has no height."""
        self.data = data
        lines = notice_lines(data, max(self.screen.size.width - 2, 20))
        if lines != self._lines:
            self._lines = lines
            self.display = bool(lines)
            self.styles.height = len(lines)
            self.refresh()

    def lines(self, width: int, height: int) -> list[Line]:
        return notice_lines(self.data, width)


def status_line(data: StatusData, width: int) -> Line:
    """Return preset › model › method at the left; phase, step, speed and time left at the right."""
    state = data.view.state
    phase: Line = [_phase(data)]
    right = [phase, list(data.flash)] if data.flash else [phase]
    if state.curve and state.steps_planned is not None:
        step: Line = [("step ", "quiet"), (f"{state.step:,}", "strong"), (f"/{state.steps_planned:,}", "quiet")]
        if width >= _METER_FROM:
            step += [("  ", ""), *_progress(state.step / max(state.steps_planned, 1))]
        right.append(step)
    if data.view.is_live and state.phase == "searching" and state.seconds_left is not None:
        right.append([("eta ", "quiet"), (formatting.duration(state.seconds_left), "")])
        right.append([(formatting.rate(state.steps_per_second), "quiet")])
        if state.memory is not None:
            utilization = "" if state.utilization is None else f"{formatting.percent(state.utilization / 100)} "
            right.append([(f"{sanitize(state.device)} {utilization}{formatting.size(state.memory)}", "quiet")])
    elif state.curve:
        right.append([("in ", "quiet"), (formatting.duration(state.seconds), "")])
    title = title_line(data.view.title)
    if state.bos is not None:
        title += [(f"  {sanitize(state.bos)}", "warning")]
    if data.read_only:
        title += [("  read-only", "warning")]
    if width_of(title) + len(APP_NAME) + _GAP + width_of(joined(right)) + _GAP <= width:
        title = [(f"{APP_NAME}{' ' * _GAP}", "heading"), *title]
    room = max(width - min(width_of(title), width // 2) - _GAP, 0)
    return justify(title, fit_parts(right, room), width)


def title_line(title: RunLabel) -> Line:
    if not title.method:
        return [(sanitize(title.preset), "strong")]
    return [
        (_name(title.preset), "strong"),
        (" › ", "faint"),
        (_name(title.model), "strong"),
        (" › ", "faint"),
        (f"{sanitize(title.method)} n={title.length}", "strong"),
    ]


def end_message(view: RunView) -> tuple[str, bool]:
    """Return a sentence on how a run ended, for use on other screens, and whether it failed."""
    state = view.state
    name = plain_text(title_line(view.title))
    if view.health == "crashed":
        return f"{name} crashed", True
    if state.reason == "error":
        return f"{name} failed: {sanitize(state.error or 'unknown error')}", True
    return f"{name}: {REASONS.get(state.reason or '', 'ended')}, best KL {formatting.nats(state.best_kl)}", False


def notice_lines(data: StatusData, width: int) -> list[Line]:
    """Return messages for all phases but searching, with available actions."""
    view, state = data.view, data.view.state
    if data.note:
        return [truncate(list(data.note), width)]
    if view.health == "crashed":
        return _crashed(view, width)
    if state.phase == "ended":
        return _ended(state, width)
    if data.stops_slowly:
        return [
            truncate([("The search will stop after the current step.   ", "quiet"), *key_hints("s kill now")], width)
        ]
    if view.health == "silent":
        text = f"No heartbeat from the worker for {view.silent_seconds} s; it may be in a long step."
        return [truncate([(f"{text}   ", "warning"), *key_hints("w worker output   s stop")], width)]
    if state.phase in ("starting", "preparing"):
        return [_preparing(state, width)]
    if state.progress is not None:
        return [_preparing(state, width)]
    return []


def _phase(data: StatusData) -> Span:
    view, state = data.view, data.view.state
    if view.health == "crashed":
        return "✕ crashed", "strong error"
    if data.pending and view.is_live:
        return f"◐ {data.pending}", "warning"
    if state.phase == "ended":
        words = REASONS.get(state.reason or "", sanitize(state.reason or ""))
        return (f"✕ {words}", "strong error") if state.reason == "error" else (f"■ {words}", "accent")
    if view.health == "silent":
        return f"● no heartbeat for {view.silent_seconds} s", "warning"
    return {
        "starting": ("○ starting", "quiet"),
        "preparing": ("◐ preparing", "quiet"),
        "searching": ("● running", "good"),
        "paused": ("‖ paused", "warning"),
    }[state.phase]


def _progress(fraction: float) -> Line:
    done = round(min(max(fraction, 0.0), 1.0) * _METER_CELLS)
    return [("━" * done, "accent"), ("━" * (_METER_CELLS - done), "faint")]


def _preparing(state: RunState, width: int) -> Line:
    if state.progress is None:
        return truncate([("Starting the worker: importing Python libraries takes a few seconds.", "quiet")], width)
    text = sanitize(state.progress.text or state.progress.stage)
    line: Line = [(text, "quiet")]
    if state.progress.fraction is not None:
        line = [*_progress(state.progress.fraction), (f" {100 * state.progress.fraction:.0f} %  ", "strong"), *line]
    return truncate(line, width)


def _ended(state: RunState, width: int) -> list[Line]:
    if state.reason == "error":
        text = f"The search failed: {sanitize(state.error or 'unknown error')}"
        steps = truncate(key_hints("w worker output   r again   esc start screen"), width)
        return [*wrapped(text, width, "error", max_lines=2), steps]
    parts: Line = [("Best ", "quiet"), (formatting.nats(state.best_kl), "strong"), (" nats", "quiet")]
    if state.best_step is not None:
        parts += [(f" at step {state.best_step:,}", "quiet")]
    if state.excess is not None:
        parts += [(", ", "quiet"), (formatting.nats(state.excess), "strong"), (" above the head optimum", "quiet")]
    elif state.bounds.floor is not None and state.best_kl is not None:
        parts += [(f", {formatting.nats(state.best_kl - state.bounds.floor)} above the floor", "quiet")]
    steps = key_hints("y copy the prompt   r again with the next seed   esc start screen")
    notes = [
        truncate([(f"{note[:1].upper()}{note[1:]}", "quiet")], width)
        for note in outcome_notes(read_result(state.result))
    ]
    return [truncate(parts, width), *notes, truncate(steps, width)]


def _crashed(view: RunView, width: int) -> list[Line]:
    text = "The worker was killed or crashed, without an error message. Its last output:"
    last = [truncate([(f"  {sanitize(line)}", "")], width) for line in view.log_tail[-2:]] or [[("  (none)", "quiet")]]
    steps = key_hints("w all output   r start again   esc start screen")
    return [truncate([(text, "error")], width), *last, truncate(steps, width)]


def _name(text: str) -> str:
    return sanitize(text) or "?"
