"""Lines beside the density: the KL contribution of each decade of the target probability, and a cell's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distprompt_tui.core.metrics.totals import Totals
from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import fit, visible_token
from distprompt_tui.tui.drawing.log_axes import power_label
from distprompt_tui.tui.drawing.styled_text import truncate, width_of, wrapped

if TYPE_CHECKING:
    from distprompt_tui.core.metrics.distribution_summary import Decade

MIN_WIDTH = 36

_COUNT_WIDTH = 8
_SUM_WIDTH = 8
_SUMS_FROM = 60  # minimum width for the sums of target and achieved in a decade
_NATS_WIDTH = 8
_TOKEN_NUMBERS = (1 + formatting.MASS_WIDTH) + (1 + _SUM_WIDTH) + (1 + _NATS_WIDTH)
_HEADING_FROM = 9  # minimum height for the names of the columns


@dataclass(frozen=True, slots=True)
class CellToken:
    """A token of a cell, with its KL contribution in nats."""

    text: str
    target: float
    achieved: float
    contribution: float


@dataclass(frozen=True, slots=True)
class CellTokens:
    """The tokens of one cell of the density.

    Attributes:
        place: the cell's ranges of p and q.
        count: number of its tokens.
        contribution: its KL contribution, nats.
        part: its fraction of the KL; None if the KL is 0.
        rows: its tokens, the largest KL contributions first, as many as may be drawn.
    """

    place: str
    count: int
    contribution: float
    part: float | None
    rows: Sequence[CellToken]


def decade_lines(found: Sequence[Decade], missing: Totals, kl: float, width: int) -> list[Line]:
    """Return a heading, a line for each decade, a line for the tokens that are not known, and their sum.

    Args:
        found: decades, as many as may be drawn.
        missing: totals of the tokens that are not known.
        kl: KL(p‖q), nats, the sum of all lines.
        width: cells.
    """
    rows = [(_range(decade), decade.totals) for decade in found]
    if missing.count:
        rows.append(("not recorded", missing))
    label = max(len(name) for name in ["target p", *(name for name, _ in rows)])
    has_sums = width >= _SUMS_FROM
    bar = width - label - _COUNT_WIDTH - 2 * _SUM_WIDTH * has_sums - formatting.CONTRIBUTION_WIDTH - 2
    sums: Line = [(f"{'target':>{_SUM_WIDTH}}", "target"), (f"{'achieved':>{_SUM_WIDTH + 1}}", "achieved")]
    heading: Line = [(f"{'target p':<{label}}", "quiet"), (f"{'tokens':>{_COUNT_WIDTH}}", "quiet")]
    heading += sums if has_sums else []
    lines: list[Line] = [[*heading, (f" {'of KL':>{formatting.CONTRIBUTION_WIDTH}}", "quiet")]]
    largest = max((totals.contribution for _, totals in rows), default=0.0)
    for name, totals in rows:
        part = totals.contribution / kl if kl > 0 else None
        line: Line = [(f"{name:<{label}}", ""), (f"{totals.count:>{_COUNT_WIDTH},}", "quiet")]
        if has_sums:
            line += [(f"{formatting.mass(totals.target):>{_SUM_WIDTH}}", "target")]
            line += [(f" {formatting.mass(totals.achieved):>{_SUM_WIDTH}}", "achieved")]
        line += [(f" {formatting.percent(part):>{formatting.CONTRIBUTION_WIDTH}}", "strong")]
        if largest > 0:
            line += [(" ", ""), (formatting.bar(totals.contribution / largest, bar), "accent")]
        lines.append(truncate(line, width))
    count = sum(totals.count for _, totals in rows)
    total: Line = [(f"{'all':<{label}}", "quiet"), (f"{count:>{_COUNT_WIDTH},}", "quiet"), ("  KL ", "quiet")]
    total.append((formatting.nats(kl), "strong"))
    room = width - width_of(total)
    saved = next((text for text in (" nats, as last saved", ", as saved", " saved") if len(text) <= room), "")
    return [*lines, truncate([*total, (saved, "quiet")], width)]


def cell_lines(cell: CellTokens, width: int, height: int, *, ascii_only: bool) -> list[Line]:
    """Return the cell's place and sums, and as many of its tokens as fit into `height` lines."""
    plural = "s" * (cell.count != 1)
    share: Line = [(f"{cell.count:,} token{plural}, ", "quiet"), (formatting.percent(cell.part), "strong")]
    share = truncate([*share, (" of KL", "quiet")], width)
    name = width - _TOKEN_NUMBERS
    names = f" {'target':>{formatting.MASS_WIDTH}} {'achieved':>{_SUM_WIDTH}} {'KL, nats':>{_NATS_WIDTH}}"
    place: Line = truncate([(cell.place, "quiet")], width)
    if width_of(share) < name:
        lines = [place, [*share, (" " * (name - width_of(share)) + names, "quiet")]]
    elif height >= _HEADING_FROM:
        lines = [place, share, [(fit("token", name) + names, "quiet")]]
    else:
        lines = [place, share]
    room = max(height - len(lines), 0)
    is_cut = cell.count > room
    shown = cell.rows[: max(room - is_cut, 0)]
    for row in shown:
        text = visible_token(row.text, ascii_only=ascii_only) or "(no token)"
        lines.append(
            [
                (fit(text, name), "strong"),
                (f" {formatting.mass(row.target):>{formatting.MASS_WIDTH}}", "target"),
                (f" {formatting.mass(row.achieved):>{_SUM_WIDTH}}", "achieved"),
                (f" {formatting.nats(row.contribution):>{_NATS_WIDTH}}", ""),
            ]
        )
    if is_cut and room:
        rest = max(cell.contribution - sum(row.contribution for row in shown), 0.0)
        words = fit(f"{cell.count - len(shown):,} more", width - 1 - _NATS_WIDTH)
        lines.append([(words, "quiet"), (f" {formatting.nats(rest):>{_NATS_WIDTH}}", "quiet")])
    return lines


def zero_note(count: int, smallest: float, width: int) -> list[Line]:
    """Return a sentence on tokens with p > 0 and q = 0, whose exact contribution would be infinite."""
    if not count:
        return []
    words = f"{count:,} token{'s' * (count != 1)} with p > 0 and q = 0: counted as q = {smallest:.1e}."
    return wrapped(words, width, "warning", max_lines=2)


def _range(decade: Decade) -> str:
    if decade.high is None:
        return "p = 0"
    if decade.low is None:
        return f"< {power_label(decade.high)}"
    return f"{power_label(decade.low)} – {power_label(decade.high)}"
