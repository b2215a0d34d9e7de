"""Load and memory of the search's device over time, for large terminals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.schema import Step
from distprompt_tui.tui.drawing.styled_text import truncate, wrapped
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border

_LEVELS = " ▁▂▃▄▅▆▇█"

_NOT_RECORDED = "This run has no record of its device."


@dataclass(frozen=True)
class DeviceData:
    """The reported steps, with the load and the memory that the worker measured, and the device's name."""

    curve: tuple[Step, ...] = ()
    device: str = ""


class DeviceGraph(LineWidget[DeviceData]):
    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(DeviceData(), id=id, classes=classes)

    def on_mount(self) -> None:
        self._retitle()

    def show(self, data: DeviceData) -> None:
        super().show(data)
        self._retitle()

    def lines(self, width: int, height: int) -> list[Line]:
        return device_lines(self.data, width, height)

    def _retitle(self) -> None:
        name = f"Device  {sanitize(self.data.device)}" if self.data.device else "Device"
        end = formatting.duration(self.data.curve[-1].seconds) if self.data.curve else ""
        label_border(self, title=[(name, "border")], subtitle=[(f"0 … {end}" if end else "", "border")])


def device_lines(data: DeviceData, width: int, height: int) -> list[Line]:
    """Return two graphs over the seconds of the search, load above memory, each below its latest and largest value."""
    loads = _over_time(((step.seconds, step.utilization) for step in data.curve), width)
    memory = _over_time(((step.seconds, step.memory) for step in data.curve), width)
    if not loads and not memory:
        return wrapped(_NOT_RECORDED if data.curve else "The graph starts with the first step.", width, "quiet")
    rows = max((height - 2) // 2, 1)
    lines: list[Line] = []
    if loads:
        unit = " of a core" if data.device.startswith("cpu") else ""
        highest = f"{unit}, max {formatting.percent(max(loads) / 100)}"
        lines.append(_numbers("load", formatting.percent(loads[-1] / 100), highest, width))
        lines += graph(loads, max(max(loads), 100.0), rows, "achieved")
    if memory:
        highest = f", max {formatting.size(int(max(memory)))}"
        lines.append(_numbers("memory", formatting.size(int(memory[-1])), highest, width))
        lines += graph(memory, max(memory), rows, "accent")
    return lines


def _numbers(name: str, latest: str, highest: str, width: int) -> Line:
    return truncate([(f"{name} ", "quiet"), (latest, "strong"), (highest, "quiet")], width)


def graph(values: Sequence[float], top: float, rows: int, role: str) -> list[Line]:
    """Draw values from 0 to `top` as columns of block characters, one cell each; positive ones are never empty."""
    scale = rows * 8 / top if top > 0 else 0.0
    heights = [max(round(value * scale), int(value > 0)) for value in values]
    return [
        [("".join(_LEVELS[min(max(height - 8 * row, 0), 8)] for height in heights), role)]
        for row in range(rows - 1, -1, -1)
    ]


def _over_time(points: Iterable[tuple[float, float | None]], columns: int) -> list[float]:
    """Return the mean value of each of `columns` equal intervals of time; empty without values.

    A value holds for the time since the one before it.
    """
    known = [(seconds, float(value)) for seconds, value in points if value is not None]
    if not known or columns < 1:
        return []
    end = known[-1][0]
    buckets: list[list[float]] = [[] for _ in range(columns)]
    for seconds, value in known:
        place = math.ceil(seconds / end * columns) - 1 if end > 0 else 0
        buckets[min(max(place, 0), columns - 1)].append(value)
    means, later = list[float](), known[-1][1]
    for bucket in reversed(buckets):
        later = sum(bucket) / len(bucket) if bucket else later
        means.append(later)
    return means[::-1]
