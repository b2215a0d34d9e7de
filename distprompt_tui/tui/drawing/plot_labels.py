"""Labels at the right edge of a plot: each on the row of its line, or joined to that row by a bracket."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import fit_to

BRACKET_CELLS = 2  # cells before a label

_CORNERS = {
    (False, True, False): "╭", (False, True, True): "┬", (False, False, True): "─",
    (True, False, False): "╰", (True, False, True): "┴",
    (True, True, False): "├", (True, True, True): "┼",
}  # fmt: skip
"""Sign of a cell of a bracket beside a label, by its connections up, down and to the line at its left."""

_TURNS = {(True, False): "╯", (False, True): "╮", (True, True): "┤"}
"""Sign of the cell at the line itself where it has no label, by its connections up and down."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label to place.

    Attributes:
        row: of its line, from the top.
        level: on the vertical axis; higher ones are placed above lower ones.
        weight: cost of a row of distance from its line, relative to other labels.
        has_line: whether the value is in the picture; a label of a value outside is not joined to a row.
    """

    text: str
    row: int
    level: float
    role: str
    weight: float = 1.0
    has_line: bool = True


def shortened(text: str, cells: int) -> str:
    """Shorten `name value @step` to `cells`: without the step, then with a part of the name; the value stays whole."""
    if cell_len(text) <= cells:
        return text
    text = text.partition(" @")[0]
    words = text.split()
    first = next((place for place, word in enumerate(words) if word[0] in "0123456789~−"), 0)
    if cell_len(text) <= cells or not first:
        return fit_to(text, cells)
    name, value = " ".join(words[:first]), " ".join(words[first:])
    return f"{fit_to(name, max(cells - cell_len(value) - 1, 1))} {value}"


def placed_labels(labels: Sequence[Label], rows: int, cells: int) -> dict[int, Line]:
    """Place labels without overlap and in the order of their levels, as near to their lines as possible.

    A bracket joins labels to a line with several labels. If there is no row or no bracket for a label, labels of the
    same row are combined.

    Args:
        labels: those that still do not fit into `rows` are left out, the lowest first.
        rows: rows of the picture without its axis.
        cells: maximum width of a label.

    Returns:
        Bracket and text of each row with a label.
    """
    labels = sorted(labels, key=lambda label: (label.row, -label.level))
    while True:
        taken = _rows_for(labels[:rows], rows)
        brackets = _brackets(labels[:rows], taken)
        strays = any(
            label.has_line and row != label.row and row not in brackets
            for label, row in zip(labels, taken, strict=False)
        )
        combined = _combined(labels, cells) if strays or len(labels) > rows else None
        if combined is None:
            break
        labels = combined
    lines: dict[int, Line] = {row: [(sign, role)] for row, (sign, role) in brackets.items()}
    for label, row in zip(labels, taken, strict=False):
        sign, role = brackets.get(row, (" ", ""))
        lines[row] = [(f"{sign} ", role), (label.text, label.role)]
    return lines


def _combined(labels: Sequence[Label], cells: int) -> list[Label] | None:
    """Return the labels with the lowest two of one row as one; None if there are none that fit into `cells`."""
    for index in range(len(labels) - 1, 0, -1):
        above, below = labels[index - 1], labels[index]
        text = f"{above.text}, {below.text}"
        if (above.row, above.has_line) == (below.row, below.has_line) and cell_len(text) <= cells:
            weight = above.weight + below.weight
            both = Label(text, above.row, above.level, "quiet", weight, above.has_line)
            return [*labels[: index - 1], both, *labels[index + 1 :]]
    return None


def _rows_for(labels: Sequence[Label], rows: int) -> list[int]:
    """Return rising rows with the least weighted distance from the labels' own rows."""
    costs = [0.0] * (rows + 1)  # of the labels so far, if all are above the row
    choices: list[list[int]] = []
    for number, label in enumerate(labels):
        after, choice = [math.inf] * (rows + 1), [0] * (rows + 1)
        for row in range(number, rows):
            cost = costs[row] + label.weight * abs(row - label.row)
            after[row + 1], choice[row + 1] = min((after[row], choice[row]), (cost, row))
        costs = after
        choices.append(choice)
    taken, below = list[int](), rows
    for choice in reversed(choices):
        below = choice[below]
        taken.insert(0, below)
    return taken


def _brackets(labels: Sequence[Label], taken: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Return the sign and role of each row with a part of a bracket; where two would cross, the second is left out."""
    signs: dict[int, tuple[str, str]] = {}
    joined = [(label, row) for label, row in zip(labels, taken, strict=True) if label.has_line]
    for line_row, group in groupby(joined, key=lambda pair: pair[0].row):
        own = [row for _, row in group]
        first, last = min(*own, line_row), max(*own, line_row)
        others = set(taken) - set(own)
        if first == last or any(row in signs or row in others for row in range(first, last + 1)):
            continue
        for row in range(first, last + 1):
            up, down, at_line = row > first, row < last, row == line_row
            beside_no_label = _TURNS[up, down] if at_line else "│"
            signs[row] = (_CORNERS[up, down, at_line] if row in own else beside_no_label, "quiet")
    return signs
