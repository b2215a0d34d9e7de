"""The start screen's lists: rows of fixed columns, chosen with the arrows or the mouse."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from distprompt_tui import format
from distprompt_tui.runs.summary import RunSummary
from distprompt_tui.tui.lines import Line, content, cut, fitting, safe, spread, width_of
from distprompt_tui.tui.widgets.run_rows import state_span
from distprompt_tui.tui.widgets.status import REASONS, title_line

CURVE_CELLS = 10


@dataclass(frozen=True)
class Row:
    """One line: `value` names what it stands for; None makes it a heading that cannot be chosen.

    The columns at the right are the same in all rows, the most needed first where room is short.
    """

    value: str | None
    left: Line
    right: tuple[Line, ...] = ()


class PickList(OptionList):
    """A list of rows; keeps its choice when the rows change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "Down", show=False),
        Binding("k", "cursor_up", "Up", show=False),
        Binding("enter", "pick", "Choose", show=False),
    ]

    class Picked(Message):
        """Enter was pressed on a row; a click only moves the cursor."""

        def __init__(self, pick_list: PickList, value: str) -> None:
            super().__init__()
            self.pick_list = pick_list
            self.value = value

    def __init__(self, empty: str, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._empty = empty
        self._rows: Sequence[Row] = ()
        self._prompts: list[Content] = []
        self._drawn: tuple[Sequence[Row], str, int] | None = None

    @property
    def value(self) -> str | None:
        """What the chosen row stands for."""
        option = self.highlighted_option
        return option.id if option else None

    def show(self, rows: Sequence[Row], empty: str = "") -> None:
        """Show other rows; `empty` is the sentence for when there are none."""
        self._rows, self._empty = rows, empty or self._empty
        self._draw()

    def choose(self, value: str) -> None:
        """Put the cursor on a row."""
        if any(row.value == value for row in self._rows):
            self.highlighted = self.get_option_index(value)

    def action_pick(self) -> None:
        """Say that enter was pressed."""
        if self.value is not None:
            self.post_message(self.Picked(self, self.value))

    def on_resize(self, event: events.Resize) -> None:
        """Called by Textual."""
        self._draw()

    def _draw(self) -> None:
        width = self.scrollable_content_region.width
        drawn = (self._rows, self._empty, width)
        if width <= 0 or drawn == self._drawn:
            return
        self._drawn = drawn
        room = width - 1 - max((width_of(row.left) for row in self._rows if row.right), default=0)
        lines = [content([cut(spread(row.left, fitting(row.right, room), width), width)]) for row in self._rows]
        values = [row.value for row in self._rows]
        if self._rows and [option.id for option in self.options] == values:
            for index, (old, line) in enumerate(zip(self._prompts, lines, strict=True)):
                if not old.is_same(line):
                    self.replace_option_prompt_at_index(index, line)
            self._prompts = lines
            return
        self._prompts = lines
        chosen = self.value
        options = [
            Option(line, id=value, disabled=value is None) for line, value in zip(lines, values, strict=True)
        ] or [Option(content([[(self._empty, "quiet")]]), disabled=True)]
        self.set_options(options)
        if chosen in values and chosen is not None:
            self.choose(chosen)
        else:
            self.action_first()


def model_row(name: str, parameters: int | None, vocab_size: int | None, status: str, busy: bool) -> Row:
    """A model: is it ready, its name, its size."""
    signs = {"prepared": ("●", "good"), "installed": ("○", "warning"), "hub": ("○", "quiet"), "missing": ("✕", "error")}
    sign = ("◐", "warning") if busy else signs.get(status, ("○", "quiet"))
    columns: tuple[Line, ...] = (
        [(f"{format.magnitude(parameters):>6}", "quiet")],
        [(f"{format.count(vocab_size):>7}", "faint")],
    )
    return Row(name, [(f"{sign[0]} ", sign[1]), (safe(name), "strong")], columns)


def preset_row(name: str, by_rank: tuple[float, ...] | None) -> Row:
    """A preset and the curve of its target's mass by rank."""
    curve = mass_curve(by_rank, CURVE_CELLS) if by_rank else "·" * CURVE_CELLS
    return Row(name, [("  ", ""), (safe(name), "strong")], ([(curve, "target" if by_rank else "faint")],))


def heading_row(text: str) -> Row:
    """A line between rows."""
    return Row(None, [(text, "quiet")])


def run_row(summary: RunSummary) -> Row:
    """A run: its state, what it is, how close it came, when."""
    sign, role = state_span(summary.state)
    state = REASONS.get(summary.state, summary.state)
    left: Line = [(f"{sign} ", role), *title_line(summary.title)]
    columns: tuple[Line, ...] = (
        [(f"{safe(state):>14}", role if summary.is_live or role == "error" else "quiet")],
        [(f"KL {format.nats(summary.best_kl):>7}", "strong" if summary.best_kl is not None else "faint")],
        [(f"{'now' if summary.is_live else format.ago(time.time() - summary.changed_at):>10}", "faint")],
        [(f"step {summary.step:>6,}", "quiet")],
    )
    return Row(summary.run.name, left, columns)


def mass_curve(by_rank: Sequence[float], cells: int) -> str:
    """Masses by rank as a small curve; both axes are logarithmic, six powers of ten high."""
    top = max(by_rank, default=0.0)
    if top <= 0:
        return " " * cells
    return format.levels([format.log_position(mass, top * 1e-6, top) for mass in by_rank], cells)
