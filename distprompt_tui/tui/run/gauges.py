"""The gauge from the start's divergence to the head optimum, and the entropies of both distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from textual.geometry import Size

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line, Span
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import fit_parts, truncate, width_of, wrapped
from distprompt_tui.tui.run.run_numbers import RunNumbers
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border

_NOTHING_YET = "The gauge starts with the first step."

_LEAST_CELLS = 6  # of a bar; shorter ones are left out

_LOG_SPAN = 1e-3
"""A logarithmic gauge ends at this fraction of the start's divergence, or a tenth of the best one, if the head optimum
is lower: it can be almost 0."""

_LOWEST = 1e-12  # nats


@dataclass(frozen=True)
class GaugeData:
    numbers: RunNumbers = field(default_factory=RunNumbers)
    log: bool = True

    @property
    def scale(self) -> str:
        return "KL, log" if self.log else "KL, linear"


class Gauges(LineWidget[GaugeData]):
    """One line on a low narrow screen, two on a low one, else all."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(GaugeData(), id=id, classes=classes)

    def on_mount(self) -> None:
        self._retitle()

    def show(self, data: GaugeData) -> None:
        width = self.content_size.width
        is_taller = len(self.lines(width, 0)) != len(_all_lines(data, width)) if self._shows_all else False
        super().show(data)
        self._retitle()
        if is_taller:
            self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.lines(width, 0))

    def lines(self, width: int, height: int) -> list[Line]:
        if not self.styles.border_left[0]:
            return [compact_line(self.data, width)]
        return _all_lines(self.data, width) if self._shows_all else gauge_lines(self.data, width)

    @property
    def _shows_all(self) -> bool:
        return bool(self.styles.border_left[0]) and not self.screen.has_class("-low")

    def _retitle(self) -> None:
        title = f"From start to head optimum, {self.data.scale}"
        label_border(self, title=[(title, "border")], subtitle=_gap_closed(self.data.numbers))


def compact_line(data: GaugeData, width: int) -> Line:
    """Return scale, gauge and gap closed in one line."""
    return _gauge(data, width, [(f"{data.scale}  ", "quiet")], _gap_closed(data.numbers))


def gauge_lines(data: GaugeData, width: int) -> list[Line]:
    """Return the gauge and the entropies, a line each."""
    return [_gauge(data, width, [], []), entropy_line(data.numbers, width)]


def split_lines(numbers: RunNumbers, width: int) -> list[Line]:
    """Return the divergence as head optimum and excess, what the bounds mean, and the witness, if there is one.

    Empty before the first step.
    """
    if numbers.judged_kl is None:
        return []
    known: Line = [("a known prompt reaches ", "quiet"), (numbers.witness, "target")]
    return [
        truncate(_split(numbers), width),
        *_explained(numbers, width),
        *([truncate(known, width)] if numbers.witness else []),
    ]


def entropy_line(numbers: RunNumbers, width: int) -> Line:
    """Return achieved and target entropy with one bar for both, from 0 to ln V."""
    if numbers.entropy_target is None or numbers.vocab_size < 2:
        return truncate([("The entropy is available once the target is built.", "quiet")], width)
    of = "entropy " if numbers.subject in ("now", "best prompt") else f"entropy, {numbers.subject_name}: "
    label: Line = [
        (of, "quiet"),
        (formatting.nats(numbers.entropy), "achieved"),
        (" → ", "quiet"),
        (f"{formatting.nats(numbers.entropy_target)} ", "target"),
    ]
    top = math.log(numbers.vocab_size)
    scale: Span = (f" ln V {top:.2f}", "quiet")
    room = width - width_of(label) - width_of([scale]) - 2
    if room < _LEAST_CELLS:
        return truncate(label, width)
    bar = formatting.overlaid_bars(numbers.entropy_target / top, (numbers.entropy or 0.0) / top, room)
    return [*label, ("├", "faint"), *bar, ("┤", "faint"), scale]


def position(value: float, numbers: RunNumbers, *, log: bool) -> float:
    """Return the position of a divergence on the gauge: 0 at the start, 1 at the head optimum."""
    start, end = numbers.start_kl or 0.0, numbers.bounds.head_optimum or 0.0
    if log:
        best = numbers.judged_kl
        lowest = min(start * _LOG_SPAN, best / 10 if best is not None and best > 0 else math.inf)
        end = max(end, lowest, _LOWEST)
        start, value = math.log(max(start, _LOWEST)), math.log(max(value, _LOWEST))
        end = math.log(end)
    if not start > end:
        return 0.0
    return min(max((start - value) / (start - end), 0.0), 1.0)


def _all_lines(data: GaugeData, width: int) -> list[Line]:
    gauge, entropy = gauge_lines(data, width)
    return [gauge, *split_lines(data.numbers, width), entropy]


def _gauge(data: GaugeData, width: int, before: Line, after: Line) -> Line:
    numbers = data.numbers
    judged, start, optimum = numbers.judged_kl, numbers.start_kl, numbers.bounds.head_optimum
    if judged is None or start is None:
        return truncate([(_NOTHING_YET, "quiet")], width)
    left: Line = [*before, ("start ", "quiet"), (f"{formatting.nats(start)} ", "")]
    if optimum is None:
        missing = "is being computed" if numbers.bounds_expected else "not available"
        return fit_parts([left, [(f"head optimum {missing}", "quiet")]], width)
    right: Line = [(f" head optimum {formatting.nats(optimum)}", "accent")]
    ending: Line = [("   ", ""), *after] if after else []
    room = width - width_of([*left, *right, *ending]) - 2
    if room < _LEAST_CELLS and after:
        return _gauge(data, width, before, [])
    if not start > optimum or room < _LEAST_CELLS:
        return fit_parts([left, right, after], width)
    return [*left, ("├", "faint"), *_bar(data, judged, room), ("┤", "faint"), *right, *ending]


def _bar(data: GaugeData, judged: float, cells: int) -> Line:
    """Draw █ up to the current divergence, ▒ up to the best one, ◆ there, and ░ for the excess."""
    numbers = data.numbers
    best = min(int(position(judged, numbers, log=data.log) * cells), cells - 1)
    now = best
    if numbers.kl is not None and numbers.kl > judged:
        now = min(int(position(numbers.kl, numbers, log=data.log) * cells), best)
    return [("█" * now, "accent"), ("▒" * (best - now), "accent"), ("◆", "strong"), ("░" * (cells - 1 - best), "quiet")]


def _gap_closed(numbers: RunNumbers) -> Line:
    if numbers.gap_closed is None:
        return []
    return [("gap closed ", "quiet"), (formatting.gap_closed(numbers.gap_closed), "strong")]


def _split(numbers: RunNumbers) -> Line:
    name: Span = ("text " if numbers.subject == "text" else "best ", "quiet")
    kl, optimum = (formatting.nats(numbers.judged_kl), "strong"), numbers.bounds.head_optimum
    if optimum is None:
        return [name, kl, (" nats", "quiet")]
    return [
        name,
        kl,
        (" = ", "quiet"),
        (f"head optimum {formatting.nats(optimum)}", "accent"),
        (" + ", "quiet"),
        (f"excess {formatting.nats(numbers.excess)}", "strong"),
    ]


def _explained(numbers: RunNumbers, width: int) -> list[Line]:
    bounds = numbers.bounds
    if bounds.why_no_floor:
        return wrapped(sanitize(f"No floor: {bounds.why_no_floor}"), width, "quiet", max_lines=2)
    if bounds.floor is None and bounds.head_optimum is None:
        expected = "Floor and head optimum are being computed."
        return wrapped(expected if numbers.bounds_expected else "No bounds available.", width, "quiet")
    floor = "no floor" if bounds.floor is None else f"floor {formatting.nats(bounds.shown_floor)} proven"
    if bounds.floor is not None and bounds.shown_floor != bounds.floor:
        floor += f" for states of norm ≥ {bounds.sphere_norm_ratio:g} √d, {formatting.nats(bounds.floor)} for all"
    if bounds.head_optimum is None or bounds.agreement is None:
        return wrapped(floor, width, "quiet")
    agreeing = "all" if bounds.agreement >= 1 else f"{formatting.percent(bounds.agreement)} of"
    return wrapped(f"{floor}; head optimum: {agreeing} restarts agree", width, "quiet")
