"""The runs screen: find, sort, open, resume, delete and compare runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Container

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.runs.summary import (
    ORDERS,
    RunSummary,
    SortKey,
    matching_runs,
    repeats_of,
    runs_of_same_task,
    sorted_runs,
)
from distprompt_tui.tui.keymap import RUNS_KEYS
from distprompt_tui.tui.platform.poller import Poller
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.runs.run_preview import RunPreviewPanel
from distprompt_tui.tui.runs.run_table import RunList, RunsPanel, RunTable
from distprompt_tui.tui.runs.selected_run import SelectedRun
from distprompt_tui.tui.widgets.app_screen import AppScreen
from distprompt_tui.tui.widgets.dialogs import delete_question
from distprompt_tui.tui.widgets.one_line import OneLine
from distprompt_tui.tui.widgets.search_bar import SearchBar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distprompt_tui.runs.directory import RunDirectory

REFRESH_SECONDS = 3.0

PREVIEW_FROM_COLUMNS = 160

MOST_MARKED = 6  # the eye cannot distinguish more curves

NO_RUNS = "No runs yet. Searches are listed here and continue after you quit. Press esc to start one."


class RunsScreen(AppScreen):
    """The list is read in a thread every three seconds; unchanged runs are not read again.

    From 160 columns, a preview of the selected run is beside the list.
    """

    AUTO_FOCUS = "#table"
    keys = RUNS_KEYS
    key_section = "runs"

    def __init__(self) -> None:
        super().__init__()
        self._all: list[RunSummary] = []
        self._order: SortKey = ORDERS[0]
        self._find = ""
        self._has_read = False
        self._marked: dict[str, int] = {}
        self._selected = SelectedRun(self, lambda: self._current)
        self.poller = Poller(lambda: self.context.read_runs(), self._show_runs)

    def compose_body(self) -> ComposeResult:
        yield OneLine([], id="header")
        with Container(id="body"):
            yield RunsPanel(id="runs", classes="panel")
            yield RunPreviewPanel(id="preview", classes="panel")

    def on_mount(self) -> None:
        self._show()
        self.set_interval(REFRESH_SECONDS, self.tick)

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= PREVIEW_FROM_COLUMNS, "-previewing")
        self.call_after_refresh(self._selected.update)

    def on_screen_resume(self) -> None:
        self.tick()

    def _show_runs(self, runs: list[RunSummary]) -> None:
        self._all, self._has_read = runs, True
        there = {summary.run.name for summary in self._all}
        self._marked = {name: number for name, number in self._marked.items() if name in there}
        self._show()

    def _show(self) -> None:
        if not self.is_composed:
            return
        found = sorted_runs(matching_runs(self._all, self._find), self._order)
        empty = "Reading runs…" if not self._has_read else NO_RUNS
        if self._all:
            empty = f"No run matches {sanitize(self._find)!r}. Press esc to show all runs."
        self.query_one("#header", OneLine).show(self._headline())
        self.query_one(RunsPanel).show(RunList(found, len(self._all), self._order, self._marked, time.time(), empty))
        self._selected.update()
        self.show_keys()

    def _headline(self) -> Line:
        living = sum(summary.is_live for summary in self._all)
        parts: Line = [("Runs  ", "heading"), (f"{len(self._all):,}", "strong")]
        parts += [(f"  ● {living} running", "good")] if living else []
        if self._marked:
            parts += [("   marked ", "quiet")]
            parts += [(f"{number} ", f"series {number}") for number in sorted(self._marked.values())]
            key, words = ("c", "compares them") if len(self._marked) > 1 else ("space", "marks another")
            parts += [(f" {key} ", "key"), (words, "quiet")]
        return parts

    def availability(self) -> Mapping[str, bool | None]:
        available: dict[str, bool | None] = {"compare": len(self._marked) != 1 or None, "runs": None}
        if (run := self._current) is None:
            return available | dict.fromkeys(("open", "mark", "copy", "resume", "delete", "compare"), False)
        if self.context.read_only:
            return available | {"resume": False, "delete": False}
        return available | {"resume": run.is_resumable or None, "delete": not run.is_live or None}

    def on_line_table_cursor_moved(self, event: RunTable.CursorMoved) -> None:
        self._selected.update()
        self.show_keys()

    @property
    def _current(self) -> RunSummary | None:
        return self.query_one(RunTable).current if self.is_composed else None

    def action_order(self) -> None:
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self._show()

    def action_find(self) -> None:
        self.query_one(SearchBar).open()

    def on_search_bar_changed(self, event: SearchBar.Changed) -> None:
        self._find = event.find
        self._show()

    def action_back(self) -> None:
        if not self.query_one(SearchBar).close():
            super().action_back()

    def action_mark(self) -> None:
        assert self._current is not None
        name = self._current.run.name
        free = set(range(1, MOST_MARKED + 1)) - set(self._marked.values())
        if name in self._marked:
            self._marked = {other: number for other, number in self._marked.items() if other != name}
        elif free:
            self._marked = {**self._marked, name: min(free)}
        else:
            self._warn(f"{MOST_MARKED} runs are marked, which is the maximum for one plot.")
            return
        self.query_one(RunTable).action_move(1)
        self._show()

    def action_open(self) -> None:
        assert self._current is not None
        self.context.watch_run(self._current.run)

    def action_copy(self) -> None:
        self._selected.copy()

    def action_resume(self) -> None:
        assert self._current is not None
        if not self._current.is_resumable:
            self._warn("Only a stopped, failed or crashed run can be resumed. On a run's screen, r repeats it.")
            return
        self._resume(self._current.run)

    def action_delete(self) -> None:
        assert self._current is not None
        run = self._current.run
        if self._current.is_live:
            self._warn("The run is running. Press enter to open it, then s to stop it.")
            return
        self.app.push_screen(delete_question(sanitize(run.name)), lambda answer: self._delete(answer, run))

    def _delete(self, answer: str | None, run: RunDirectory) -> None:
        if answer == "delete":
            self._delete_run(run)

    @work(group="change")
    async def _resume(self, run: RunDirectory) -> None:
        from distprompt_tui.runs.process import start_worker

        try:
            await self.context.make_room_for(await in_thread(run.read_spec))
        except (DistPromptError, OSError) as error:
            self.show_error(error)
            return
        await self._change(start_worker, run, "resumed from its last checkpoint. Press enter to open it.")

    @work(group="change")
    async def _delete_run(self, run: RunDirectory) -> None:
        from distprompt_tui.runs.process import delete_run

        await self._change(delete_run, run, "was deleted.")

    async def _change(self, change: Callable[[RunDirectory], None], run: RunDirectory, done: str) -> None:
        try:
            await in_thread(change, run)
        except (DistPromptError, OSError) as error:
            self.show_error(error)
        else:
            self.notify(f"{sanitize(run.name)} {done}", markup=False)
        await self.poller.poll(again=True)

    def action_compare(self) -> None:
        if not self._marked and self._current is not None:
            self._compare_related(self._current)
            return
        by_name = {summary.run.name: summary for summary in self._all}
        self._compare({number: by_name[name] for name, number in self._marked.items()})

    @work(group="compare", exclusive=True)
    async def _compare_related(self, run: RunSummary) -> None:
        """Compare a run with its newest repeats with other seeds; without any, with the newest runs of its task."""
        others: list[RunSummary] = []
        for related in (repeats_of, runs_of_same_task):
            if not others:
                others = [other for other in await in_thread(related, run, self._all) if other.run != run.run]
        self._compare(dict(enumerate([run, *others[: MOST_MARKED - 1]], 1)))

    def _compare(self, numbered: Mapping[int, RunSummary]) -> None:
        from distprompt_tui.tui.runs.compare_screen import CompareScreen

        if len(numbered) < 2:
            self._warn(f"Mark two to {MOST_MARKED} runs with space first. No other run has this one's target.")
        elif self.is_current:
            self.app.push_screen(CompareScreen(sorted(numbered.items())))

    def _warn(self, text: str) -> None:
        self.notify(text, severity="warning", markup=False)
