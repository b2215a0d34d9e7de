"""Entropies of both distributions on one scale, and the excess."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from distprompt_tui.bounds.values import Bounds
from distprompt_tui.runs.state import RunState
from distprompt_tui.text import formatting
from distprompt_tui.text.formatting import Line
from distprompt_tui.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import fit_parts, truncate, wrapped
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border


@dataclass(frozen=True)
class EntropyData:
    """Entropies in nats; `vocab_size` sets the end of the scale, `comparison_label` is the second one's name."""

    target: float | None = None
    achieved: float | None = None
    vocab_size: int = 0
    comparison_label: str = "achieved"


class EntropyGauge(LineWidget[EntropyData]):
    BORDER_TITLE = "Entropy, nats"

    def show(self, data: EntropyData) -> None:
        super().show(data)
        if data.vocab_size > 1:
            scale = f"0 … ln {data.vocab_size:,} = {math.log(data.vocab_size):.2f}"
            label_border(self, subtitle=[(scale, "border")])

    def lines(self, width: int, height: int) -> list[Line]:
        return entropy_lines(self.data, width)


def entropy_lines(data: EntropyData, width: int) -> list[Line]:
    if data.target is None or data.vocab_size < 2:
        return wrapped("Available once the target is built.", width, "quiet")
    top = math.log(data.vocab_size)
    return [
        _gauge("target", data.target, top, width, "target"),
        _gauge(data.comparison_label, data.achieved, top, width, "achieved"),
    ]


def _gauge(name: str, value: float | None, top: float, width: int, role: str) -> Line:
    label: Line = [(f"{name:<9} ", "quiet"), (f"{formatting.nats(value):>7} ", role)]
    room = max(width - 18, 0)
    return [*label, (formatting.bar(value / top, room) if value is not None else "", role)]


_NOTHING_YET = "The excess is available after the first step."


@dataclass(frozen=True)
class ExcessData:
    """The split of the divergence, nats; `name` labels `best_kl`. `last_step`: the entropy is that of the last step."""

    best_kl: float | None = None
    start_kl: float | None = None
    excess: float | None = None
    gap_closed: float | None = None
    bounds: Bounds = field(default_factory=Bounds)
    entropy_target: float | None = None
    entropy: float | None = None
    bounds_expected: bool = True
    name: str = "best"
    last_step: bool = False

    @staticmethod
    def of(state: RunState, name: str = "best", *, last_step: bool = False) -> ExcessData:
        return ExcessData(
            state.best_kl,
            state.start_kl,
            state.excess,
            state.gap_closed,
            state.bounds,
            state.entropy_target,
            state.entropy,
            state.phase != "ended",
            name,
            last_step,
        )


class ExcessGauge(LineWidget[ExcessData]):
    BORDER_TITLE = "Excess"

    def show(self, data: ExcessData) -> None:
        super().show(data)
        label_border(self, subtitle=_closed(data))

    def lines(self, width: int, height: int) -> list[Line]:
        return one_line(self.data, width) if not self.styles.border_left[0] else excess_lines(self.data, width)


def one_line(data: ExcessData, width: int) -> list[Line]:
    if data.best_kl is None:
        return wrapped(_NOTHING_YET, width, "quiet", max_lines=1)
    return [fit_parts([_split(data), _entropies(data), _closed(data)], width, ("   ", ""))]


def excess_lines(data: ExcessData, width: int) -> list[Line]:
    if data.best_kl is None:
        return wrapped(_NOTHING_YET, width, "quiet")
    lines = [truncate(_split(data), width)]
    if data.bounds.head_optimum is not None and data.best_kl > 0:
        lines.append(_split_bar(data.bounds.head_optimum / data.best_kl, width))
    return [*lines, *_explained(data, width)]


def _split(data: ExcessData) -> Line:
    kl, limit = (formatting.nats(data.best_kl), "strong"), data.bounds.head_optimum
    if limit is None:
        return [(f"{data.name} ", "quiet"), kl, (" nats", "quiet")]
    return [
        (f"{data.name} ", "quiet"),
        kl,
        (" = ", "quiet"),
        (f"head optimum {formatting.nats(limit)}", "accent"),
        (" + ", "quiet"),
        (f"excess {formatting.nats(data.excess)}", "strong"),
    ]


def _closed(data: ExcessData) -> Line:
    return (
        [("gap closed ", "quiet"), (formatting.gap_closed(data.gap_closed), "strong")]
        if data.gap_closed is not None
        else []
    )


def _entropies(data: ExcessData) -> Line:
    if data.entropy is None or data.entropy_target is None:
        return []
    return [
        ("H at last step " if data.last_step else "H ", "quiet"),
        (f"{data.entropy:.2f}", "achieved"),
        (" of ", "quiet"),
        (f"{data.entropy_target:.2f}", "target"),
    ]


def _split_bar(share: float, width: int) -> Line:
    cells = round(min(max(share, 0.0), 1.0) * width)
    return [("█" * cells, "accent"), ("▒" * (width - cells), "strong")]


def _explained(data: ExcessData, width: int) -> list[Line]:
    bounds = data.bounds
    if bounds.why_no_floor:
        return wrapped(sanitize(f"No floor: {bounds.why_no_floor}"), width, "quiet", max_lines=2)
    if bounds.floor is None and bounds.head_optimum is None:
        expected = "Floor and head optimum are being computed."
        return wrapped(expected if data.bounds_expected else "No bounds available.", width, "quiet", max_lines=2)
    if bounds.head_optimum is None:
        text = f"floor {formatting.nats(bounds.floor)}: proven for any prompt; head optimum: not yet"
        return wrapped(text, width, "quiet", max_lines=2)
    floor = f"floor {formatting.nats(bounds.floor)} proven" if bounds.floor is not None else "no floor"
    measured = "measured" if bounds.agreement is None else f"{formatting.percent(bounds.agreement)} of starts agree"
    return wrapped(f"{floor}; head optimum: {measured}", width, "quiet", max_lines=2)
