"""Curves, legend and spec differences of several runs. Each run has a digit and a colour."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import mean, stdev
from typing import Any

from textual.geometry import Size

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import fit, sanitize
from distprompt_tui.reports.split import split_line
from distprompt_tui.runs.compare import have_same_task
from distprompt_tui.runs.schema import Step
from distprompt_tui.runs.summary import RunSummary
from distprompt_tui.tui.drawing.plot import Curve, Mark, Reference, plot_curves, plot_or_message
from distprompt_tui.tui.drawing.styled_text import truncate, width_of
from distprompt_tui.tui.runs.run_rows import header_line, layout_for, run_line
from distprompt_tui.tui.widgets.line_widget import LineWidget, ScrollLineWidget

DIGITS_A_CURVE = 4  # number of digits along a curve, besides the one at its end

_FIELD_CELLS = (14, 30)
_SAME_LIMIT = 1e-4  # nats. Head optima of the same target on the same model differ only by the solver's tolerance.


@dataclass(frozen=True)
class Compared:
    """One run among others: its digit, its line, its curve, and its spec as plain values."""

    number: int
    summary: RunSummary
    curve: Sequence[Step] = ()
    spec: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PlotData:
    """The runs on one plot; `by_seconds`: over the time that they searched, not over their steps."""

    runs: Sequence[Compared] = ()
    log: bool = True
    by_seconds: bool = False


class ComparedCurves(LineWidget[PlotData]):
    def lines(self, width: int, height: int) -> list[Line]:
        curves = [(run.number, _points(run.curve, self.data.by_seconds)) for run in self.data.runs]
        drawn = [Curve(points, f"series {number}") for number, points in curves]
        references, marks = _limits(self.data.runs), _digits(curves)
        plot = partial(plot_curves, drawn, references, marks, width, height, log=self.data.log)
        return plot_or_message(plot, width)


class Legend(LineWidget[Sequence[Compared]]):
    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return 1 + len(self.data) + len(seed_lines(self.data, width)) + len(split_lines(self.data, width))

    def show(self, data: Sequence[Compared]) -> None:
        before, after = (len(seed_lines(runs, 1)) + len(split_lines(runs, 1)) for runs in (self.data, data))
        super().show(data)
        if before != after:
            self.refresh(layout=True)

    def lines(self, width: int, height: int) -> list[Line]:
        layout = layout_for(width)
        rows = [run_line(run.summary, layout, here=False, number=run.number, now=None) for run in self.data]
        return [header_line(layout, None), *rows, *seed_lines(self.data, width), *split_lines(self.data, width)]


class Differences(ScrollLineWidget):
    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._numbers: list[int] = []
        self._fields: list[tuple[str, list[str | None]]] = []

    def show(self, numbers: Sequence[int], differences: Mapping[str, list[str | None]]) -> None:
        self._numbers, self._fields = list(numbers), list(differences.items())
        self.set_line_count(len(self._fields) + 1)

    def line(self, index: int, width: int) -> Line:
        if not self._fields:
            return [("The specs do not differ.", "quiet")] if index == 0 else []
        least, most = _FIELD_CELLS
        name_cells = min(max(least, *(len(name) + 1 for name, _ in self._fields)), most, width // 3)
        cells = max((width - name_cells) // len(self._numbers), 2)
        if index == 0:
            digits: Line = [(fit(str(number), cells), f"series {number}") for number in self._numbers]
            return truncate([(fit("field", name_cells), "quiet"), *digits], width)
        name, values = self._fields[index - 1]
        shown: Line = [(fit(sanitize("—" if value is None else value), cells - 1) + " ", "") for value in values]
        return truncate([(fit(sanitize(name), name_cells - 1) + " ", "quiet"), *shown], width)


def _points(curve: Sequence[Step], by_seconds: bool) -> list[tuple[float, float | None]]:
    return [(point.seconds if by_seconds else float(point.step), point.best_kl) for point in curve]


def _limits(runs: Sequence[Compared]) -> list[Reference]:
    """Return the head optima if all runs have the same target; otherwise the legend shows each run's excess.

    Runs on the same model share a line. A line of some of the runs has their digits and the first one's colour.
    """
    targets = [run.spec.get("target") for run in runs]
    if any(target != targets[0] for target in targets):
        return []
    groups: list[list[Compared]] = []
    for run in runs:
        if (limit := run.summary.head_optimum) is None:
            continue
        same = (group for group in groups if abs((group[0].summary.head_optimum or 0.0) - limit) <= _SAME_LIMIT)
        if (group := next(same, None)) is not None:
            group.append(run)
        else:
            groups.append([run])
    return [_limit(group, is_common=len(group) == len(runs)) for group in groups]


def _limit(group: Sequence[Compared], *, is_common: bool) -> Reference:
    first = group[0]
    digits = "" if is_common else " ".join(str(run.number) for run in group) + " "
    value = first.summary.head_optimum or 0.0
    role = "accent" if is_common else f"dim series {first.number}"
    return Reference(f"{digits}head optimum {formatting.nats(value)}", value, role)


def seed_lines(runs: Sequence[Compared], width: int) -> list[Line]:
    """Return a line for each group of runs that differ in their seed only: mean and standard deviation of their KL.

    Of runs that are equal, the first one counts.
    """
    groups: dict[str, dict[object, Compared]] = {}
    for run in runs:
        if run.spec and run.summary.best_kl is not None:
            groups.setdefault(_without_seed(run.spec), {}).setdefault(run.spec.get("seed"), run)
    lines: list[Line] = []
    for by_seed in groups.values():
        group = list(by_seed.values())
        if len(group) < 2:
            continue
        values = [run.summary.best_kl or 0.0 for run in group]
        line: Line = [("   ", "")]
        line += [(f"{run.number} ", f"series {run.number}") for run in group]
        line += [(f"the same search with {len(group)} seeds: KL ", "quiet"), (formatting.nats(mean(values)), "strong")]
        line += [(" ± ", "quiet"), (formatting.nats(stdev(values)), "strong")]
        meaning = " (mean ± standard deviation)"
        line.append((meaning if width_of(line) + len(meaning) <= width else " (mean ± SD)", "faint"))
        lines.append(truncate(line, width))
    return lines


def split_lines(runs: Sequence[Compared], width: int) -> list[Line]:
    """Return a line for each hard run with a head optimum: its divergence split in three (`reports.split`).

    The reference is the best soft prompt of the same length for the same target, model and context among the runs, else
    the run's witness.
    """
    lines: list[Line] = []
    for run in runs:
        kl, optimum = run.summary.best_kl, run.summary.head_optimum
        if not run.spec or run.summary.title.method == "soft" or kl is None or optimum is None:
            continue
        soft = [
            other.summary.best_kl
            for other in runs
            if other.summary.title.method == "soft"
            and other.summary.best_kl is not None
            and other.summary.title.length == run.summary.title.length
            and have_same_task(other.spec, run.spec)
        ]
        reference = min(soft) if soft else run.summary.witness_kl
        if reference is not None:
            line: Line = [("   ", ""), (f"{run.number} ", f"series {run.number}")]
            line.append((f"KL {formatting.nats(kl)} = ", "quiet"))
            text = split_line(kl, optimum, reference, "soft" if soft else "witness", width - width_of(line))
            lines.append(truncate([*line, (text, "")], width))
    return lines


def _without_seed(spec: Mapping[str, Any]) -> str:
    fields = {name: value for name, value in spec.items() if name not in ("seed", "title", "description")}
    return json.dumps(fields, sort_keys=True, default=str)


def _digits(curves: Sequence[tuple[int, list[tuple[float, float | None]]]]) -> list[Mark]:
    """Place each curve's digit along it, at most one in a column, and with its last value at its end."""
    longest = max((points[-1][0] for _, points in curves if points), default=0.0)
    marks = []
    for place, (number, points) in enumerate(curves):
        role = f"series {number}"
        for part in range(DIGITS_A_CURVE):
            wanted = longest * (part + (place + 1) / (len(curves) + 1)) / DIGITS_A_CURVE
            if points and wanted < points[-1][0]:
                step, value = next(point for point in points if point[0] >= wanted)
                marks.append(Mark("", step, value or 0.0, role, str(number)))
        if points:
            step, value = points[-1]
            marks.append(Mark(f"{number} {formatting.nats(value)}", step, value or 0.0, role, str(number)))
    return marks
