"""The line below the status line: divergence, excess, floor and entropy. It stays in place whatever happens."""

from __future__ import annotations

from dataclasses import dataclass, field

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.drawing.styled_text import fit_parts, joined, width_of
from distprompt_tui.tui.run.run_numbers import RunNumbers
from distprompt_tui.tui.widgets.line_widget import LineWidget

_WIDE_FROM = 100  # columns for three spaces between the numbers


@dataclass(frozen=True)
class HeadlineData:
    """The numbers; `is_new_best`: mark the best divergence as new."""

    numbers: RunNumbers = field(default_factory=RunNumbers)
    is_new_best: bool = False


class Headline(LineWidget[HeadlineData]):
    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(HeadlineData(), id=id)

    def lines(self, width: int, height: int) -> list[Line]:
        return [headline(self.data, width)]


def headline(data: HeadlineData, width: int) -> Line:
    """Return as many numbers as fit, the most important first."""
    numbers = data.numbers
    if numbers.kl is None and numbers.best_kl is None:
        return _before_the_first_step(numbers, width)
    if numbers.subject == "now":
        first: list[Line] = [[("KL ", "quiet"), (formatting.nats(numbers.kl), "strong")], _best(data)]
    elif numbers.subject == "best prompt":
        step: Line = [] if numbers.best_step is None else [(f" at step {numbers.best_step:,}", "quiet")]
        first = [[("best KL ", "quiet"), (formatting.nats(numbers.best_kl), "strong"), *step]]
    else:
        return _of_another_prompt(data, width)
    return _joined([*first, _excess(numbers), _floor(numbers), _entropy(numbers)], width)


def _before_the_first_step(numbers: RunNumbers, width: int) -> Line:
    parts: list[Line] = [[("No step yet", "quiet")]]
    if numbers.bounds.floor is not None:
        parts.append(_floor(numbers))
    if numbers.entropy_target is not None:
        parts.append([("target entropy ", "quiet"), (formatting.nats(numbers.entropy_target), "target")])
    return _joined(parts, width)


def _of_another_prompt(data: HeadlineData, width: int) -> Line:
    """Return the numbers of a step or a text, then those of the run; without punctuation if space is short."""
    numbers = data.numbers
    run = [_best(data), *([] if numbers.subject == "text" else [_excess(numbers)]), _floor(numbers)]
    for colon, comma, arrow in ((": ", ", ", " → "), (" ", " ", "→")):
        kl: Line = [(f"{numbers.subject_name}{colon}", "strong"), ("KL ", "quiet")]
        own: list[Line] = [[*kl, (formatting.nats(numbers.kl), "strong")], _entropy(numbers, arrow)]
        if numbers.subject == "text":
            own.insert(1, _excess(numbers))
        parts = [joined(own, (comma, "quiet")), *run]
        if width_of(joined(parts)) <= width:
            break
    return _joined(parts, width)


def _joined(parts: list[Line], width: int) -> Line:
    return fit_parts(parts, width, ("   " if width >= _WIDE_FROM else "  ", ""))


def _best(data: HeadlineData) -> Line:
    value = formatting.nats(data.numbers.best_kl)
    if data.is_new_best:  # as wide as the usual form
        return [("best", "quiet"), (f"◆{value}", "strong good")]
    return [("best ", "quiet"), (value, "strong")]


def _excess(numbers: RunNumbers) -> Line:
    return [("excess ", "quiet"), (formatting.nats(numbers.excess), "strong")]


def _floor(numbers: RunNumbers) -> Line:
    if numbers.bounds.why_no_floor:
        return [("no floor", "quiet")]
    return [("floor ", "quiet"), (formatting.nats(numbers.bounds.shown_floor), "")]


def _entropy(numbers: RunNumbers, arrow: str = " → ") -> Line:
    return [
        ("entropy ", "quiet"),
        (formatting.nats(numbers.entropy), "achieved"),
        (arrow, "quiet"),
        (formatting.nats(numbers.entropy_target), "target"),
    ]
