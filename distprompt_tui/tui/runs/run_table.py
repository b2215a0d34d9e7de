"""The table of all runs, with marks and a find field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from textual.app import ComposeResult
from textual.containers import Vertical

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.summary import RunSummary, SortKey
from distprompt_tui.tui.runs.run_rows import header_line, layout_for, run_line
from distprompt_tui.tui.widgets.line_table import ListTable
from distprompt_tui.tui.widgets.line_widget import LineWidget, label_border
from distprompt_tui.tui.widgets.search_bar import SearchBar

ORDER_WORDS: dict[SortKey, str] = {
    "newest": "newest first",
    "best": "by best KL",
    "excess": "by excess",
    "target": "by target",
    "model": "by model",
    "state": "by state",
}


@dataclass(frozen=True)
class RunList:
    """Matching runs, sorted; `total` counts all runs, `marked` numbers runs by name, `now` is in Unix seconds."""

    runs: Sequence[RunSummary] = ()
    total: int = 0
    order: SortKey = "newest"
    marked: Mapping[str, int] = field(default_factory=dict)
    now: float = 0.0
    empty: str = "Reading runs…"


class RunTable(ListTable[RunSummary]):
    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.data = RunList()

    def show(self, data: RunList) -> None:
        self.data = data
        self.show_entries(data.runs, data.empty)

    def key_of(self, entry: RunSummary) -> object:
        return entry.run

    def entry_line(self, entry: RunSummary, width: int, *, here: bool) -> Line:
        number = self.data.marked.get(entry.run.name)
        return run_line(entry, layout_for(width), here=here, number=number, now=self.data.now)


class RunsHeader(LineWidget[RunList]):
    def lines(self, width: int, height: int) -> list[Line]:
        return [header_line(layout_for(width), self.data.order)] if self.data.runs else []


class RunsPanel(Vertical):
    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self.table = RunTable(id="table")
        self.finder = SearchBar("state, target, model, method or name; esc: show all", self.table)
        self._header = RunsHeader(RunList())

    def compose(self) -> ComposeResult:
        yield self._header
        yield self.table
        yield self.finder

    def show(self, data: RunList) -> None:
        self.table.show(data)
        self._header.show(data)
        self._retitle()

    def on_line_table_cursor_moved(self, event: RunTable.CursorMoved) -> None:
        self._retitle()

    def _retitle(self) -> None:
        data, current = self.table.data, self.table.current
        first, last = self.table.visible_rows()
        of = f"{len(data.runs):,}" + (f" found in {data.total:,}" if len(data.runs) < data.total else "")
        title = f"Runs  {ORDER_WORDS[data.order]}  {first:,}–{last:,} of {of}" if data.runs else "Runs"
        label_border(
            self,
            title=[(title, "border")],
            subtitle=[(sanitize(current.run.name) if current is not None else "", "border")],
        )
