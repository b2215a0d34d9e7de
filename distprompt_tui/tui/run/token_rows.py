"""A token as one or two lines: its numbers, and one bar for both distributions."""

from __future__ import annotations

from dataclasses import dataclass

from distprompt_tui.core.metrics.totals import Totals
from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import fit, visible_token
from distprompt_tui.tui.run.bar_scale import BarScale
from distprompt_tui.tui.run.token_table import TokenRow
from distprompt_tui.tui.settings import Order

_ID_WIDTH = 6
_ACHIEVED_WIDTH = 8
_ID = 1 + _ID_WIDTH
_MARK = 2

_WIDTHS = {
    "target": formatting.MASS_WIDTH,
    "achieved": _ACHIEVED_WIDTH,
    "gap": formatting.GAP_WIDTH,
    "contribution": formatting.CONTRIBUTION_WIDTH,
}
_ALL_NUMBERS = tuple(_WIDTHS)

_ONE_LINE_FROM = 74  # minimum width for a bar beside the id and all numbers
_NO_ID_FROM = 54  # minimum width for a bar beside three numbers without the id; otherwise it has its own line


@dataclass(frozen=True, slots=True)
class Columns:
    """Widths of the parts of a row, in cells.

    Attributes:
        numbers: keys of `_WIDTHS`, in the order of the columns.
        has_id: whether the token's id is shown.
    """

    width: int
    token: int
    bar: int
    numbers: tuple[str, ...]
    has_id: bool
    two_lines: bool

    @property
    def lines_per_row(self) -> int:
        return 2 if self.two_lines else 1


def columns_for(width: int, order: Order = "target") -> Columns:
    """Divide `width` cells. The column of `order` is always one of those shown."""
    if width >= _ONE_LINE_FROM:
        token = min(14 + (width - _ONE_LINE_FROM) // 6, 24)
        bar = width - _MARK - token - 1 - _ID - _numbers_width(_ALL_NUMBERS)
        return Columns(width, token, bar, _ALL_NUMBERS, has_id=True, two_lines=False)
    if width >= _NO_ID_FROM:
        numbers = ("target", "achieved", "gap" if order == "gap" else "contribution")
        token = 10 + (width - _NO_ID_FROM) // 2
        bar = width - _MARK - token - 1 - _numbers_width(numbers)
        return Columns(width, token, bar, numbers, has_id=False, two_lines=False)
    token = max(width - _MARK - _numbers_width(_ALL_NUMBERS), 4)
    return Columns(width, token, max(width - _MARK - _ID, 0), _ALL_NUMBERS, has_id=True, two_lines=True)


def header_line(columns: Columns, order: Order, scale: BarScale, comparison_label: str = "achieved") -> Line:
    """Return the column names with the sort key highlighted. `comparison_label` names the second distribution."""
    labels = {"achieved": comparison_label, "contribution": "of KL"}

    def name(key: str) -> tuple[str, str]:
        own = key if key in ("target", "achieved") else "quiet"
        return f" {labels.get(key, key):>{_WIDTHS[key]}}", f"strong {own}" if key == order else own

    line: Line = [(" " * _MARK, ""), (f"{'token':<{columns.token}}", "quiet")]
    if not columns.two_lines:
        line += [(" ", ""), (fit(scale.heading(columns.bar), columns.bar), "faint")]
    if columns.has_id and not columns.two_lines:
        line.append((f" {'id':>{_ID_WIDTH}}", "quiet"))
    return [*line, *(name(key) for key in columns.numbers)]


def row_lines(row: TokenRow, columns: Columns, scale: BarScale, *, marked: bool, ascii_only: bool) -> list[Line]:
    text = visible_token(row.text, ascii_only=ascii_only) or "(no token)"
    sign = ("›" if marked else " ") + ("*" if row.is_pinned else " ")
    start: Line = [(sign, "key"), (fit(text, columns.token), "strong")]
    gap_role = "quiet" if abs(row.gap) < 1e-4 else "target" if row.gap < 0 else "achieved"
    token_id: Line = [(" " + fit(f"{row.id:>{_ID_WIDTH}}", _ID_WIDTH), "faint")] if columns.has_id else []
    numbers = _number_cells(columns, row.target, row.achieved, row.contribution, gap_role, share_role="")
    bar = scale.bars(row.target, row.achieved, columns.bar)
    if columns.two_lines:
        return [[*start, *numbers], [(" " * _MARK, ""), *bar, *token_id]]
    return [[*start, (" ", ""), *bar, *token_id, *numbers]]


def rest_line(rest: Totals, kl: float | None, columns: Columns) -> Line:
    """Return the row of all tokens that are not shown, its numbers below those of the tokens."""
    room = columns.width - _MARK - _numbers_width(columns.numbers)
    names = [f"{rest.count:,} {words}" for words in (f"other token{'s' * (rest.count != 1)}", "others", "more")]
    text = next((name for name in names if len(name) <= room), names[-1])
    share = rest.contribution / kl if kl else None
    numbers = _number_cells(columns, rest.target, rest.achieved, share, "quiet", share_role="strong")
    return [(" " * _MARK, ""), (fit(text, room), "quiet"), *numbers]


def _numbers_width(keys: tuple[str, ...]) -> int:
    return sum(1 + _WIDTHS[key] for key in keys)


def _number_cells(
    columns: Columns, target: float, achieved: float, share: float | None, gap_role: str, share_role: str
) -> Line:
    cells = {
        "target": (formatting.mass(target), "target"),
        "achieved": (formatting.mass(achieved), "achieved"),
        "gap": (formatting.gap(achieved - target), gap_role),
        "contribution": (formatting.percent(share), share_role),
    }
    return [(f" {cells[key][0]:>{_WIDTHS[key]}}", cells[key][1]) for key in columns.numbers]
