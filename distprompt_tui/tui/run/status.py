"""The status line and the banner below it: progress, problems, and available actions."""

from __future__ import annotations

from dataclasses import dataclass, field

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line, Span
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.result_notes import REASONS, outcome_notes
from distprompt_tui.runs.schema import read_result
from distprompt_tui.runs.summary import RunLabel
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
_SHORTEST_TITLE, _SHORT_TITLE_FROM = 20, 76  # below this width, the title keeps half of it
_METER_FROM = 110
_METER_CELLS = 12


@dataclass(frozen=True)
class StatusData:
    """A run, its pending request (`pausing…`), and the note of another state on the screen.

    `stops_slowly`: a stop has been pending for some time.
    """

    view: RunView = field(default_factory=RunView)
    pending: str = ""
    read_only: bool = False
    note: tuple[Span, ...] = ()
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
    """Return preset › model › method at the left; phase, step, time left, speed and device at the right.

    If space is short, the device is left out, then the title is shortened.
    """
    state = data.view.state
    title = title_line(data.view.title)
    if state.weights is not None:
        title += [(f" · {sanitize(state.weights)}", "quiet")]
    if state.bos is not None:
        title += [(f"  {sanitize(state.bos)}", "warning")]
    if data.read_only:
        title += [("  read-only", "warning")]
    phase: Line = [_phase(data)]
    progress, short = (_progress_parts(data.view, width, word) for word in ("step ", ""))
    room = width - width_of(title) - _GAP
    forms = (joined([phase, *progress, _device(data.view)]), joined([phase, *progress]), joined([phase, *short]))
    right = next((form for form in forms if width_of(form) <= room), None)
    if right is None:
        shortest = _SHORTEST_TITLE if width >= _SHORT_TITLE_FROM else width // 2
        right = fit_parts([phase, *short], max(width - min(width_of(title), shortest) - _GAP, 0))
    elif width_of(right) + len(APP_NAME) + _GAP <= room:
        title = [(f"{APP_NAME}{' ' * _GAP}", "heading"), *title]
    return justify(title, right, width)


def _progress_parts(view: RunView, width: int, word: str) -> list[Line]:
    """Return step, time left and speed, or the elapsed time; `word` precedes the step."""
    state, parts = view.state, list[Line]()
    if state.curve and state.steps_planned is not None:
        step: Line = [(word, "quiet"), (f"{state.step:,}", "strong"), (f"/{state.steps_planned:,}", "quiet")]
        if width >= _METER_FROM:
            step += [("  ", ""), *_meter(state.step / max(state.steps_planned, 1))]
        parts.append(step)
    if view.is_live and state.phase == "searching" and state.seconds_left is not None:
        parts.append([("eta ", "quiet"), (formatting.duration(state.seconds_left), "")])
        parts.append([(formatting.rate(state.steps_per_second), "quiet")])
    elif state.curve:
        parts.append([("elapsed ", "quiet"), (formatting.duration(state.seconds), "")])
    return parts


def _device(view: RunView) -> Line:
    state = view.state
    if not view.is_live or state.phase != "searching" or state.memory is None:
        return []
    utilization = "" if state.utilization is None else f"{formatting.percent(state.utilization / 100)} "
    return [(f"{sanitize(state.device)} {utilization}{formatting.size(state.memory)}", "quiet")]


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
        return _crashed(data, width)
    if state.phase == "ended":
        return _ended(data, width)
    if data.stops_slowly:
        return [
            truncate([("The search will stop after the current step.   ", "quiet"), *_hints(data, "s kill now")], width)
        ]
    if view.health == "silent":
        text = f"No heartbeat from the worker for {view.silent_seconds} s; it may be in a long step."
        return [truncate([(f"{text}   ", "warning"), *_hints(data, "w worker output", "s stop")], width)]
    if state.phase in ("starting", "preparing"):
        return [_preparing(view, width)]
    if state.progress is not None:
        return [_preparing(view, width)]
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


def _meter(fraction: float) -> Line:
    done = round(min(max(fraction, 0.0), 1.0) * _METER_CELLS)
    return [("━" * done, "accent"), ("━" * (_METER_CELLS - done), "faint")]


def _preparing(view: RunView, width: int) -> Line:
    progress = view.state.progress
    if progress is None:
        return truncate([("Starting the worker: importing Python libraries takes a few seconds.", "quiet")], width)
    line: Line = [(sanitize(progress.text or progress.stage), "quiet")]
    if view.stage_seconds:
        line.append((f", {formatting.duration(view.stage_seconds)}", "quiet"))
    if progress.fraction is not None:
        line = [*_meter(progress.fraction), (f" {100 * progress.fraction:.0f} %  ", "strong"), *line]
    return truncate(line, width)


def _hints(data: StatusData, *hints: str) -> Line:
    """Return the keys and their actions; those that change or start a search are left out of a read-only app."""
    return key_hints("   ".join(hint for hint in hints if not (data.read_only and hint.startswith(("r ", "s ")))))


def _ended(data: StatusData, width: int) -> list[Line]:
    state = data.view.state
    if state.reason == "error":
        text = f"The search failed: {sanitize(state.error or 'unknown error')}"
        steps = truncate(_hints(data, "w worker output", "r again", "esc start screen"), width)
        return [*wrapped(text, width, "error", max_lines=2), steps]
    copying = ["y copy the prompt"] if state.best_kl is not None else []
    steps = _hints(data, *copying, "r again with the next seed", "esc start screen")
    if not state.result and state.best_kl is not None:
        unmeasured = "The best prompt was not measured: the panels show the last step."
        return [truncate([(unmeasured, "quiet")], width), truncate(steps, width)]
    notes = [
        truncate([(f"{note[:1].upper()}{note[1:]}", "quiet")], width)
        for note in outcome_notes(read_result(state.result))
    ]
    return [*notes, truncate(steps, width)]


def _crashed(data: StatusData, width: int) -> list[Line]:
    text = "The worker was killed or crashed, without an error message. Its last output:"
    last = [truncate([(f"  {sanitize(line)}", "")], width) for line in data.view.log_tail[-2:]]
    steps = _hints(data, "w all output", "r start again", "esc start screen")
    return [truncate([(text, "error")], width), *(last or [[("  (none)", "quiet")]]), truncate(steps, width)]


def _name(text: str) -> str:
    return sanitize(text) or "?"
