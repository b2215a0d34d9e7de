"""A run as one line of a table with columns that fit the width. Pure functions."""

from __future__ import annotations

import time
from dataclasses import dataclass

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line, Span
from distprompt_tui.core.text.terminal_text import fit, sanitize
from distprompt_tui.runs.result_notes import REASONS
from distprompt_tui.runs.state import FORCED
from distprompt_tui.runs.summary import RunSummary, SortKey

_ROOMY_FROM = 114  # from this width on, states are written in full and columns are two cells apart

_MARK_CELLS = 3
_STRETCHED = {"prompt": (9, 16), "target": (12, 30), "model": (7, 24)}
"""Minimum and maximum cells of the columns that share the remaining width, first to be widened first."""

_SHORT_WORDS = {"target reached": "reached", "budget": "budget", "plateau": "plateau", FORCED: "forced"}
_SIGNS = {"running": ("●", "good"), "paused": ("‖", "warning"), "crashed": ("✕", "error"), "error": ("✕", "error")}


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `order`: its sort key; `rank`: columns with higher ranks are dropped first."""

    name: str
    cells: int
    rank: int
    order: SortKey | None = None
    right: bool = False


COLUMNS = (
    Column("state", 18, 0, "state"),
    Column("target", 12, 0, "target"),
    Column("model", 7, 5, "model"),
    Column("prompt", 9, 4),
    Column("step", 7, 2, right=True),
    Column("of", 7, 7),
    Column("KL", 7, 0, "best", right=True),
    Column("excess", 7, 1, "excess", right=True),
    Column("entropy", 7, 6, right=True),
    Column("when", 10, 3, "newest", right=True),
)

_NARROW = {"state": 9, "step": 6, "when": 6}


@dataclass(frozen=True, slots=True)
class Layout:
    columns: tuple[tuple[Column, int], ...]
    gap: int
    roomy: bool


def layout_for(width: int) -> Layout:
    """Drop columns until the rest fits, then widen prompt, target and model, in this order."""
    roomy = width >= _ROOMY_FROM
    gap = 2 if roomy else 1
    cells = {column.name: column.cells if roomy else _NARROW.get(column.name, column.cells) for column in COLUMNS}
    kept = list(COLUMNS)
    while (over := width - _MARK_CELLS - sum(cells[column.name] + gap for column in kept)) < 0 and len(kept) > 1:
        kept.remove(max(kept, key=lambda column: column.rank))
    for name, (least, most) in _STRETCHED.items():
        if any(column.name == name for column in kept):
            cells[name] = min(least + max(over, 0), most)
            over -= cells[name] - least
    return Layout(tuple((column, cells[column.name]) for column in kept), gap, roomy)


def header_line(layout: Layout, order: SortKey | None) -> Line:
    line: Line = [(" " * _MARK_CELLS, "")]
    for column, cells in layout.columns:
        name = "/of" if column.name == "of" else column.name
        role = "strong quiet" if column.order is not None and column.order == order else "quiet"
        line += [(f"{name:>{cells}}" if column.right else f"{name:<{cells}}", role), _space(layout, column)]
    return line


def run_line(summary: RunSummary, layout: Layout, *, here: bool, number: int | None, now: float | None) -> Line:
    """Return a run's line.

    Args:
        here: whether the cursor is on it.
        number: of a marked run, else None.
        now: Unix seconds; None: the current time.
    """
    marked = (str(number), f"series {number}") if number is not None else (" ", "")
    line: Line = [("›" if here else " ", "key"), marked, (" ", "")]
    for column, cells in layout.columns:
        text, role = _cell(summary, column.name, layout.roomy, time.time() if now is None else now)
        text = fit(" " * max(cells - len(text), 0) + text if column.right else text, cells)
        line += [(text, role), _space(layout, column)]
    return line


def state_span(state: str) -> Span:
    return _SIGNS.get(state, ("■", "accent"))


def _space(layout: Layout, column: Column) -> Span:
    """Return the gap before a column; step and budget are one number in two parts."""
    joined = column.name == "step" and any(other.name == "of" for other, _ in layout.columns)
    return ("" if joined else " " * layout.gap, "")


def _cell(summary: RunSummary, name: str, roomy: bool, now: float) -> Span:
    title = summary.title
    if name == "state":
        sign, role = state_span(summary.state)
        words = REASONS.get(summary.state, summary.state)
        return f"{sign} {sanitize(words if roomy else _SHORT_WORDS.get(summary.state, words))}", role
    if name == "when":
        when = "now" if summary.is_live else formatting.ago(max(now - summary.changed_at, 0.0))
        return (when if roomy else when.removesuffix(" ago").removeprefix("just ")), "faint"
    planned = summary.steps_planned
    texts: dict[str, Span] = {
        "target": (sanitize(title.preset) or "?", "strong"),
        "model": (sanitize(title.model), ""),
        "prompt": (f"{sanitize(title.method)} n={title.length}" if title.method else "", ""),
        "step": (f"{summary.step:,}", "quiet"),
        "of": (f"/{planned:,}" if planned is not None else "", "faint"),
        "KL": (formatting.nats(summary.best_kl), "strong"),
        "excess": (formatting.nats(summary.excess), ""),
        "entropy": (formatting.nats(summary.entropy), "quiet"),
    }
    return texts[name]
