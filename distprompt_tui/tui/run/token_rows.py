"""A token as one or two lines: its numbers, and one bar for both distributions."""

from __future__ import annotations

from dataclasses import dataclass

from distprompt_tui.metrics.totals import Totals
from distprompt_tui.text import formatting
from distprompt_tui.text.formatting import Line
from distprompt_tui.text.terminal_text import fit, visible_token
from distprompt_tui.tui.run.bar_scale import BarScale
from distprompt_tui.tui.run.token_table import TokenRow
from distprompt_tui.tui.settings import Order

_ID_WIDTH = 6
_ACHIEVED_WIDTH = 8
_NUMBERS = (
    1 + formatting.MASS_WIDTH + 1 + _ACHIEVED_WIDTH + 1 + formatting.GAP_WIDTH + 1 + formatting.CONTRIBUTION_WIDTH
)
_ID = 1 + _ID_WIDTH
_MARK = 2
_ONE_LINE_FROM = 74  # minimum width for a bar beside the numbers; otherwise it has its own line


@dataclass(frozen=True, slots=True)
class Columns:
    width: int
    token: int
    bar: int
    two_lines: bool

    @property
    def lines_per_row(self) -> int:
        return 2 if self.two_lines else 1


def columns_for(width: int) -> Columns:
    if width < _ONE_LINE_FROM:
        return Columns(width, max(width - _MARK - _NUMBERS, 4), max(width - _MARK - _ID, 0), two_lines=True)
    token = min(14 + (width - _ONE_LINE_FROM) // 6, 24)
    return Columns(width, token, width - _MARK - token - 1 - _ID - _NUMBERS, two_lines=False)


def header_line(columns: Columns, order: Order, scale: BarScale, comparison_label: str = "achieved") -> Line:
    """Return the column names with the sort key highlighted. `comparison_label` names the second distribution."""

    def name(text: str, width: int, key: str = "") -> tuple[str, str]:
        own = key if key in ("target", "achieved") else "quiet"
        return f" {text:>{width}}", f"strong {own}" if key == order else own

    numbers: Line = [
        name("target", formatting.MASS_WIDTH, "target"),
        name(comparison_label, _ACHIEVED_WIDTH, "achieved"),
        name("gap", formatting.GAP_WIDTH, "gap"),
        name("of KL", formatting.CONTRIBUTION_WIDTH, "contribution"),
    ]
    start: Line = [(" " * _MARK, ""), (f"{'token':<{columns.token}}", "quiet")]
    if columns.two_lines:
        return [*start, *numbers]
    return [
        *start,
        (" ", ""),
        (fit(scale.heading(columns.bar), columns.bar), "faint"),
        name("id", _ID_WIDTH),
        *numbers,
    ]


def row_lines(row: TokenRow, columns: Columns, scale: BarScale, *, marked: bool, ascii_only: bool) -> list[Line]:
    text = visible_token(row.text, ascii_only=ascii_only) or "(no token)"
    sign = ("›" if marked else " ") + ("*" if row.is_pinned else " ")
    start: Line = [(sign, "key"), (fit(text, columns.token), "strong")]
    gap_role = "quiet" if abs(row.gap) < 1e-4 else "target" if row.gap < 0 else "achieved"
    token_id = (" " + fit(f"{row.id:>{_ID_WIDTH}}", _ID_WIDTH), "faint")
    numbers: Line = [
        (f" {formatting.mass(row.target):>{formatting.MASS_WIDTH}}", "target"),
        (f" {formatting.mass(row.achieved):>{_ACHIEVED_WIDTH}}", "achieved"),
        (f" {formatting.gap(row.gap):>{formatting.GAP_WIDTH}}", gap_role),
        (f" {formatting.percent(row.contribution):>{formatting.CONTRIBUTION_WIDTH}}", ""),
    ]
    bar = scale.bars(row.target, row.achieved, columns.bar)
    if columns.two_lines:
        return [[*start, *numbers], [(" " * _MARK, ""), *bar, token_id]]
    return [[*start, (" ", ""), *bar, token_id, *numbers]]


def rest_line(rest: Totals, kl: float | None, columns: Columns) -> Line:
    """Return the row of all tokens that are not shown, its numbers below those of the tokens."""
    room = columns.width - _MARK - _NUMBERS
    names = [f"{rest.count:,} {words}" for words in (f"other token{'s' * (rest.count != 1)}", "others", "more")]
    text = next((name for name in names if len(name) <= room), names[-1])
    return [
        (" " * _MARK, ""),
        (fit(text, room), "quiet"),
        (f" {formatting.mass(rest.target):>{formatting.MASS_WIDTH}}", "target"),
        (f" {formatting.mass(rest.achieved):>{_ACHIEVED_WIDTH}}", "achieved"),
        (f" {formatting.gap(rest.achieved - rest.target):>{formatting.GAP_WIDTH}}", "quiet"),
        (f" {formatting.percent(rest.contribution / kl if kl else None):>{formatting.CONTRIBUTION_WIDTH}}", "strong"),
    ]
