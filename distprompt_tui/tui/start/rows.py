"""Rows of the start screen's lists: models, presets and runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line, mass_curve
from distprompt_tui.core.text.terminal_text import fit, sanitize
from distprompt_tui.runs.result_notes import REASONS
from distprompt_tui.runs.summary import RunSummary
from distprompt_tui.tui.run.status import title_line
from distprompt_tui.tui.runs.run_rows import state_span
from distprompt_tui.tui.widgets.pick_list import Row

if TYPE_CHECKING:
    from distprompt_tui.models.registry import ModelEntry

CURVE_CELLS = 10
_WEIGHTS_CELLS = 8  # "bfloat16"

YOURS = "◆ "  # sign of the user's presets


def model_row(entry: ModelEntry, busy: bool) -> Row:
    signs = {"prepared": ("●", "good"), "installed": ("○", "warning"), "hub": ("○", "quiet")}
    sign = ("◐", "warning") if busy else signs.get(entry.status, ("○", "quiet"))
    columns: tuple[Line, ...] = (
        [(fit(sanitize(entry.weights or "–"), _WEIGHTS_CELLS), "quiet")],
        [(f"{formatting.magnitude(entry.parameters):>6}", "quiet")],
        [(f"{formatting.count(entry.vocab_size):>7}", "faint")],
    )
    return Row(entry.name, [(f"{sign[0]} ", sign[1]), (sanitize(entry.name), "strong")], columns)


def preset_row(name: str, by_rank: tuple[float, ...] | None, *, is_yours: bool, changed: str) -> Row:
    """Return the row of a preset; what was `changed` follows the name, in place of the curve."""
    sign = (YOURS, "accent") if is_yours else ("  ", "")
    if changed:
        return Row(name, [sign, (sanitize(name), "strong"), (changed, "accent")])
    curve = mass_curve(by_rank, CURVE_CELLS) if by_rank else "·" * CURVE_CELLS
    return Row(name, [sign, (sanitize(name), "strong")], ([(curve, "target" if by_rank else "faint")],))


def run_row(summary: RunSummary) -> Row:
    sign, role = state_span(summary.state)
    state = REASONS.get(summary.state, summary.state)
    left: Line = [(f"{sign} ", role), *title_line(summary.title)]
    columns: tuple[Line, ...] = (
        [(f"{sanitize(state):>14}", role if summary.is_live or role == "error" else "quiet")],
        [(f"KL {formatting.nats(summary.best_kl):>7}", "strong" if summary.best_kl is not None else "faint")],
        [(f"{'now' if summary.is_live else formatting.ago(time.time() - summary.changed_at):>10}", "faint")],
        [(f"step {summary.step:>6,}", "quiet")],
    )
    return Row(summary.run.name, left, columns)
