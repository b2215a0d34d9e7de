"""The table of all sweeps, and a description of the current one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line, Span
from distprompt_tui.core.text.terminal_text import fit, sanitize
from distprompt_tui.tui.drawing.styled_text import truncate, wrapped
from distprompt_tui.tui.sweeps.sweep_lines import state_span
from distprompt_tui.tui.widgets.line_table import ListTable
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border

if TYPE_CHECKING:
    from distprompt_tui.sweeps.index import SweepEntry
    from distprompt_tui.sweeps.sweep_spec import Sweep

_FROM = {"models": 96, "when": 66}  # minimum row width for each column

_CELLS = {"state": 13, "size": 6, "models": 26, "searches": 11, "when": 10}
_MARK_CELLS, _GAP = 2, 2


@dataclass(frozen=True)
class SweepListing:
    """Data of the table; `now` in Unix seconds."""

    entries: Sequence[SweepEntry] = ()
    now: float = 0.0
    empty: str = ""


class SweepTable(ListTable["SweepEntry"]):
    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.data = SweepListing()

    def show(self, data: SweepListing) -> None:
        self.data = data
        self.show_entries(data.entries, data.empty)

    def key_of(self, entry: SweepEntry) -> object:
        return entry.directory.path

    def entry_line(self, entry: SweepEntry, width: int, *, here: bool) -> Line:
        return sweep_line(entry, width, here=here, now=self.data.now)


class SweepsHeader(LineWidget[bool]):
    def lines(self, width: int, height: int) -> list[Line]:
        names = {name: (name, "quiet") for name in ("state", "sweep", "size", "models", "searches", "when")}
        return [_row((" " * _MARK_CELLS, ""), names, width)] if self.data else []


class SweepsPanel(Vertical):
    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._table = SweepTable(id="table")
        self._header = SweepsHeader(False)

    def compose(self) -> ComposeResult:
        yield self._header
        yield self._table

    def on_mount(self) -> None:
        label_border(self, title=[("Sweeps: grids of searches", "border")])

    def show(self, data: SweepListing) -> None:
        self._table.show(data)
        self._header.show(bool(data.entries))


class AboutSweep(LineWidget["SweepEntry | None"]):
    def show(self, data: SweepEntry | None) -> None:
        super().show(data)
        title = sanitize(data.sweep.title or data.sweep.name) if data and data.sweep else "Damaged" if data else ""
        begun = data is not None and data.progress.state != "not begun"
        label_border(self, title=[(title, "border")])
        label_border(self, subtitle=[(sanitize(data.directory.name) if data and begun else "", "border")])

    def lines(self, width: int, height: int) -> list[Line]:
        if self.data is None:
            return []
        if self.data.sweep is None:
            return wrapped(sanitize(self.data.problem), width, "error", height)
        grid = wrapped(grid_words(self.data.sweep), width, "quiet", max(height - 1, 1))
        return [*wrapped(sanitize(self.data.sweep.description), width, "", max(height - len(grid), 1)), *grid]


def grid_words(sweep: Sweep) -> str:
    lengths = " or ".join(map(str, sweep.lengths))
    series = " · ".join(sanitize(each.name) for each in sweep.series)
    entropies = " at " + ", ".join(f"{entropy:g}" for entropy in sweep.entropies) + " nats" if sweep.entropies else ""
    return (
        f"{' and '.join(sweep.methods)} prompts of length {lengths} on {_models(sweep, ' and ')}; "
        f"{sweep.targets} targets each of {series}{entropies}: {sweep.search_count:,} searches"
    )


def sweep_line(entry: SweepEntry, width: int, *, here: bool, now: float) -> Line:
    progress, sweep = entry.progress, entry.sweep
    name = sweep.name if sweep is not None else entry.directory.name
    when = (
        "now"
        if progress.state == "running"
        else formatting.ago(max(now - entry.changed_at, 0.0))
        if entry.changed_at
        else ""
    )
    state, role = state_span(progress.state)
    if progress.failed and progress.state != "running":
        state, role = f"✕ {progress.failed:,} failed", "error"
    begun = progress.state != "not begun"
    counted = f"{progress.done:,}/{progress.total:,}" if begun else f"{progress.total:,}"
    cells: dict[str, Span] = {
        "state": (state, role),
        "sweep": (sanitize(name), "strong" if begun else ""),
        "size": (entry.size or ("other" if sweep else ""), "quiet"),
        "models": (_models(sweep, ", ") if sweep else "", "quiet"),
        "searches": (counted if sweep else "", "strong" if begun else "quiet"),
        "when": (when, "faint"),
    }
    return _row(("› " if here else "  ", "key"), cells, width)


def _row(mark: Span, cells: dict[str, Span], width: int) -> Line:
    kept = [name for name in cells if width >= _FROM.get(name, 0)]
    rest = width - _MARK_CELLS - sum(_CELLS.get(name, 0) + _GAP for name in kept)
    line: Line = [mark]
    for name in kept:
        text, role = cells[name]
        room = _CELLS.get(name, max(rest, 8))
        shown = f"{text:>{room}}" if name in ("searches", "when") else fit(text, room)
        line += [(shown, role), (" " * _GAP, "")]
    return truncate(line, width)


def _models(sweep: Sweep, separator: str) -> str:
    return separator.join(sanitize(Path(model).name) for model in sweep.models)
