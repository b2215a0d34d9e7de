"""Lines of the editor: the sum of the probabilities, how to spread the rest, and problems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import events
from textual.message import Message

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.drawing.styled_text import joined, justify, truncate, wrapped
from distprompt_tui.tui.widgets.line_widget import LineWidget

if TYPE_CHECKING:
    from distprompt_tui.core.config.target_specs import Rest


@dataclass(frozen=True)
class RestData:
    total: float = 0.0
    rest: Rest = "uniform"


class RestChoice(LineWidget[RestData]):
    """Two lines; a click switches the choice."""

    class Clicked(Message):
        """The other way was asked for."""

    def lines(self, width: int, height: int) -> list[Line]:
        return rest_lines(self.data, width)

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Clicked())


def rest_lines(data: RestData, width: int) -> list[Line]:
    from distprompt_tui.core.config.target_specs import SUM_TOLERANCE

    left = 1 - data.total
    total: Line = [("sum ", "quiet"), (formatting.mass(data.total), "target")]
    if left < -SUM_TOLERANCE:
        over: Line = [(f"{formatting.mass(-left)} too much", "error")]
        return [justify(total, over, width), truncate(_ways(data.rest, "faint"), width)]
    if left <= SUM_TOLERANCE:
        return [justify(total, [("no rest", "quiet")], width), truncate(_ways(data.rest, "faint"), width)]
    return [
        justify(total, [("rest ", "quiet"), (formatting.mass(left), "strong"), (" of 1", "quiet")], width),
        truncate(_ways(data.rest, "strong"), width),
    ]


def _ways(rest: Rest, role: str) -> Line:
    ways: list[Line] = [[("rest ", "quiet"), ("^r", "key")]]
    for name, words in (("uniform", "evenly"), ("model", "model's proportions")):
        chosen = name == rest
        ways.append([("● " if chosen else "○ ", "accent" if chosen else "faint"), (words, role if chosen else "quiet")])
    return joined(ways)


@dataclass(frozen=True)
class ValidationData:
    """What prevents a search (`is_wrong`: an error), and the meaning of the focused row."""

    problem: str = ""
    is_wrong: bool = False
    row: str = ""


class ValidationBar(LineWidget[ValidationData]):
    def lines(self, width: int, height: int) -> list[Line]:
        return validation_lines(self.data, width, height)


def validation_lines(data: ValidationData, width: int, height: int) -> list[Line]:
    """Return the problem or that there is none, then the focused row unless the problem covers it."""
    row = "" if data.row in data.problem else sanitize(data.row)
    text = sanitize(data.problem[:1].upper() + data.problem[1:]) or "Valid target: ^g starts a search"
    sign, role = ("✕ ", "error") if data.is_wrong else ("○ ", "quiet") if data.problem else ("● ", "good")
    words = wrapped(text, width - 2, "error" if data.is_wrong else "", max_lines=1 if row else height)
    lines: list[Line] = [[(sign if number == 0 else "  ", role), *line] for number, line in enumerate(words)]
    return [*lines, [("  ", ""), *truncate([(row, "quiet")], width - 2)]] if row else lines
