"""The screen of one run, updated from the run's files at the app's refresh rate."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from textual import events
from textual.app import ComposeResult
from textual.widgets import Input

from distprompt_tui.core.text.terminal_text import sanitize
from distprompt_tui.tui.keymap import HISTORY_KEYS, LIVE_KEYS, READ_ONLY, Key
from distprompt_tui.tui.platform.poller import Poller
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.run.controls import RunControl
from distprompt_tui.tui.run.display_state import DisplayState, select_display_state
from distprompt_tui.tui.run.export import RunExport
from distprompt_tui.tui.run.headline import Headline, HeadlineData
from distprompt_tui.tui.run.model_queries import ModelQueries
from distprompt_tui.tui.run.monitor import RunMonitor, RunView
from distprompt_tui.tui.run.panels import RunPanels
from distprompt_tui.tui.run.playback import Playback
from distprompt_tui.tui.run.prompt_editing import PromptEditing
from distprompt_tui.tui.run.prompt_view import PromptView
from distprompt_tui.tui.run.run_numbers import numbers_of
from distprompt_tui.tui.run.search_actions import SearchActions
from distprompt_tui.tui.run.status import Banner, StatusData, StatusLine, end_message
from distprompt_tui.tui.run.status_flash import StatusFlash, next_flash
from distprompt_tui.tui.run.surprisal import VECTORS
from distprompt_tui.tui.run.text_prompt import TextPrompt
from distprompt_tui.tui.run.token_panel import TokenList, TokensPanel
from distprompt_tui.tui.run.token_table import TokenSource, TokenTable
from distprompt_tui.tui.run.token_table_updater import TokenTableUpdater
from distprompt_tui.tui.widgets.app_screen import AppScreen
from distprompt_tui.tui.widgets.line_widget import is_in_sight

if TYPE_CHECKING:
    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.runs.process import EditCommand
    from distprompt_tui.runs.state import RunState

NO_SNAPSHOT = "Not available before the first snapshot of the prompt."


class RunScreen(AppScreen):
    """Follows one run, which does not depend on the screen. With `read_only`, sends nothing to its worker."""

    AUTO_FOCUS = "#bars"
    flat_below = 21
    keys: ClassVar[tuple[Key, ...]] = (*LIVE_KEYS, *HISTORY_KEYS)
    key_section = "run"

    def __init__(self, run: RunDirectory, *, read_only: bool) -> None:
        super().__init__()
        self.directory = run
        self.read_only = read_only
        self.view = RunView()
        self.control = RunControl(run)
        self.frozen_state: RunState | None = None
        self.panels = RunPanels()
        self._monitor = RunMonitor(run)
        self.poller = Poller(self._read, self._show_view)
        self._source = TokenSource(run)
        self._table = TokenTableUpdater(self._source, self._show_table)
        self._playback = Playback(self._monitor.recording)
        self._queries = ModelQueries(run, self.redraw)
        self.search = SearchActions(self, run, self.control, self.redraw, self.tick)
        self._editing = PromptEditing(self, self._send_change, self._complete, self._why_no_change)
        self._export = RunExport(self, run, lambda: self.display_state.state, read_only=read_only)
        self._pins: frozenset[int] = frozenset()
        self._read_at = time.monotonic()
        self._warning_count: int | None = None
        self._flash = StatusFlash()

    def compose_body(self) -> ComposeResult:
        yield StatusLine(StatusData(), id="status")
        yield Headline(id="headline")
        yield Banner(id="notice")
        yield self.panels
        yield TextPrompt()

    def on_mount(self) -> None:
        settings = self.context.settings
        self._table.set_query(order=settings.token_order)
        if settings.divergence_scale == "linear":
            self.panels.plot.toggle_scale()
        if settings.bar_scale == "log":
            self.panels.tokens.toggle_scale()
        self.redraw()
        self.set_interval(1 / self.context.updates_per_second, self.tick)

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self.tick)

    def on_resize(self, event: events.Resize) -> None:
        if self.is_composed:
            self.query_one(Banner).show(self._status(self.display_state))

    def tick(self) -> None:
        """Poll even if another screen is on top, to notify of the run's end."""
        self.run_worker(self.poller.poll())

    async def _read(self) -> tuple[RunView, bool]:
        """Return the current run, and whether a replay advanced."""
        is_first = not self._monitor.has_read
        view = await in_thread(self._monitor.poll)
        now, before = time.monotonic(), self._read_at
        self._read_at = now
        # Events from before the screen was opened are not new.
        best = StatusFlash(best_kl=view.state.best_kl)
        self._flash = best if is_first else next_flash(self._flash, view.state, now)
        if was_playing := self._playback.is_playing:
            await self._playback.play_on(now - before, view.state)
        return view, was_playing

    def _show_view(self, read: tuple[RunView, bool]) -> None:
        was_live = self.view.is_live
        self.view, was_playing = read
        if not self.is_composed:
            return
        if was_live and not self.view.is_live:
            self._notify_end()
        self.control.acknowledge(self.view)
        if self.is_foreground:
            self.run_worker(self.update_panels(asked=was_playing))

    def _notify_end(self) -> None:
        """Ring the bell if enabled; notify if another screen covers this one."""
        if self.context.settings.bell == "on":
            self.app.bell()
        if not self.is_foreground:
            message, is_failure = end_message(self.view)
            self.notify(message, severity="error" if is_failure else "information", timeout=10, markup=False)

    def _notify_warnings(self, warnings: tuple[str, ...]) -> None:
        """Notify of new warnings; warnings from before the screen was opened are only in the log."""
        for warning in warnings[self._warning_count :] if self._warning_count is not None else ():
            self.notify(sanitize(warning), severity="warning", markup=False)
        self._warning_count = len(warnings) if self._monitor.has_read else None

    @property
    def display_state(self) -> DisplayState:
        return select_display_state(self.view.state, self.frozen_state, self._playback, self._queries)

    async def update_panels(self, *, asked: bool = False) -> None:
        """Draw the current state; `asked`: the user waits for its tokens."""
        display = self.display_state
        self._show(display)
        self._table.set_query(pins=self._pins, source=display.source, comparison_label=display.comparison_label)
        if asked or is_in_sight(self.panels.tokens):
            await self._table.update(display.state, asked=asked)

    def redraw(self) -> None:
        if self.is_composed:
            self._show(self.display_state)

    def _show(self, display: DisplayState) -> None:
        status = self._status(display)
        self.query_one(StatusLine).show(status)
        self.query_one(Banner).show(status)
        numbers = numbers_of(display, self.view, self.frozen_state)
        is_new_best = self.view.is_live and self._flash.is_on(time.monotonic())
        self.query_one(Headline).show(HeadlineData(numbers, is_new_best))
        run = self.frozen_state or self.view.state
        self.panels.show(display, replace(self.view, state=run), self._source.uniform_kl, numbers)
        self.show_keys()
        self._notify_warnings(self.view.state.warnings)

    def _status(self, display: DisplayState) -> StatusData:
        slow = self.control.stops_slowly
        return StatusData(self.view, self.control.pending, self.read_only, display.note, slow)

    def _show_table(self, table: TokenTable) -> None:
        if self.is_composed:
            empty = f"No token contains {sanitize(table.find)!r}. Press esc to show all tokens." if table.find else ""
            self.panels.tokens.show(table, empty or "The tokens appear with the first snapshot.")

    def availability(self) -> Mapping[str, bool | None]:
        is_live, may_change = self.view.is_live, not self.read_only or None
        in_history = self._playback.is_open and not isinstance(self.focused, Input)
        has_table = "table" in self.panels.tokens.shown_views
        return {
            **dict.fromkeys(("order", "find", "bar_scale"), has_table),
            "pause": is_live and may_change,
            "stop": is_live and may_change,
            "rerun": not is_live and may_change,
            "fork": may_change,
            "undo": self._editing.can_undo or None,
            "redo": self._editing.can_redo or None,
            "step_on": not self._playback.is_open,
            "freeze": is_live and not self._playback.is_open and self._queries.substituted is None,
            **{key.method: in_history for key in HISTORY_KEYS},
        }

    def key_words(self) -> Mapping[str, str]:
        return {
            "pause": "resume" if self.view.state.phase == "paused" else "pause",
            "stop": "kill" if self.control.is_stopping else "stop",
            "plot_scale": "linear" if self.panels.plot.log_scale else "log",
            "detach": "back" if self.display_state.note or not self.view.is_live else "detach",
            "freeze": "follow" if self.frozen_state else "freeze",
            "history": "live" if self._playback.is_open else "history",
            "replay": "pause" if self._playback.is_playing else "replay",
        }

    def deny_if_read_only(self) -> bool:
        """Whether the app is read-only; if so, notify the user."""
        if self.read_only:
            self.notify(READ_ONLY, severity="warning")
        return self.read_only

    def action_pause(self) -> None:
        if not self.deny_if_read_only():
            self.search.request(self.control.toggle_pause(self.view))

    def action_stop(self) -> None:
        if not self.deny_if_read_only():
            self.search.ask_to_stop()

    def action_rerun(self) -> None:
        if not self.deny_if_read_only():
            self.run_worker(self.search.rerun())

    def action_fork(self) -> None:
        if not self.deny_if_read_only():
            self.run_worker(self.search.fork())

    async def action_detach(self) -> None:
        """Close the last opened field, cell, answer, history, frozen view or zoom, or else the screen."""
        if self.panels.tokens.close():
            return
        if self.query_one(TextPrompt).close():
            self.panels.tokens.focus_view()
        elif self._queries.dismiss():
            self.workers.cancel_group(self, "query")
            await self.update_panels(asked=True)
        elif self._playback.is_open:
            self._playback.close()
            await self.update_panels(asked=True)
        elif self.frozen_state is not None:
            await self.action_freeze()
        elif self.has_class("-zoomed"):
            self.action_zoom()
        else:
            self.context.go_home()

    def on_prompt_view_lock_asked(self, event: PromptView.LockAsked) -> None:
        self._editing.lock(event.position, locked=event.locked)

    def on_prompt_view_opened(self, event: PromptView.Opened) -> None:
        self.run_worker(self._editing.open(self.display_state.state.snapshot, event.position))

    def _send_change(self, command: EditCommand, request: str, **fields: int) -> None:
        self.search.request(self.control.change(command, request, **fields))

    def action_undo(self) -> None:
        self._editing.undo(self.view.state)

    def action_redo(self) -> None:
        self._editing.redo()

    async def _complete(self, prefix: str, limit: int) -> list[tuple[int, str]]:
        return await in_thread(self._source.completions, prefix, limit)

    def _why_no_change(self) -> str:
        if self.read_only:
            return READ_ONLY
        if not self.view.is_live:
            return "The search has ended. Press n to start a new one with its settings."
        elsewhere = "This is not the current prompt. Press esc to return to the run and edit it."
        return elsewhere if self.display_state.note else ""

    async def action_history(self) -> None:
        playback = self._playback
        if not playback.is_open and not playback.places:
            self.notify(NO_SNAPSHOT)
            return
        if playback.is_open:
            playback.close()
        else:
            await playback.seek(len(playback.places) - 1, self.view.state)
        self._queries.reset()
        await self.update_panels(asked=True)

    async def action_history_step(self, by: int) -> None:
        self._queries.reset()
        await self._playback.move(by, self.view.state)
        await self.update_panels(asked=True)

    async def action_history_page(self, by: int) -> None:
        await self.action_history_step(by * self._playback.page())

    async def action_history_end(self, which: str) -> None:
        count = len(self._playback.places)
        await self.action_history_step(-count if which == "first" else count)

    def action_replay(self) -> None:
        self._queries.reset()
        self._playback.toggle_playing(self.view.state)
        self.redraw()

    def action_replay_speed(self, by: int) -> None:
        self._playback.change_speed(by)
        self.redraw()

    async def action_freeze(self) -> None:
        self.frozen_state = None if self.frozen_state is not None else self.view.state
        await self.update_panels(asked=True)

    def action_try_text(self) -> None:
        if self._has_snapshot():
            self.query_one(TextPrompt).open()

    def on_text_prompt_submitted(self, event: TextPrompt.Submitted) -> None:
        self.query_one(TextPrompt).close()
        self.panels.tokens.focus_view()
        run = self.view.state
        self._ask(self._queries.try_text(event.text, run.model, run))

    def action_attribute(self) -> None:
        bars, state = self.panels.tokens.bars, self.display_state.state
        if self._has_snapshot() and (token := bars.current_token) is not None:
            self._ask(self._queries.attribute(token, bars.table.text(token), self.view.state.model, state))

    def action_step_on(self) -> None:
        from distprompt_tui.tui.run.step_screen import step_screen

        display, token = self.display_state, self.panels.tokens.bars.current_token
        if self._has_snapshot() and token is not None:
            screen = step_screen(self.directory, self.view, display, token, self._queries, read_only=self.read_only)
            self.app.push_screen(screen)

    def _has_snapshot(self) -> bool:
        """Whether the run has a snapshot of its prompt; if not, notify the user."""
        if self.view.state.snapshot is None:
            self.notify(NO_SNAPSHOT)
        return self.view.state.snapshot is not None

    def _ask(self, query: Awaitable[None]) -> None:
        self.run_worker(self._show_answer(query), group="query", exclusive=True)

    async def _show_answer(self, query: Awaitable[None]) -> None:
        await query
        if self.is_composed:
            await self.update_panels(asked=True)

    async def action_order(self) -> None:
        self._table.next_order()
        await self.update_panels(asked=True)

    def action_find(self) -> None:
        self.panels.tokens.open_find()

    async def on_tokens_panel_find_changed(self, event: TokensPanel.FindChanged) -> None:
        self._table.set_query(find=event.find)
        await self.update_panels(asked=True)

    async def on_token_list_pinned(self, event: TokenList.Pinned) -> None:
        self._pins ^= {event.token}
        await self.update_panels(asked=True)

    def action_metric(self) -> None:
        self.panels.plot.next_metric()

    def action_plot_scale(self) -> None:
        self.panels.plot.toggle_scale()
        self.redraw()

    def action_view(self) -> None:
        self.panels.tokens.next_view()
        self.show_keys()

    def action_zoom_plot(self, axis: Literal["steps", "values"]) -> None:
        self.panels.zoom_plot(axis)

    def action_bar_scale(self) -> None:
        self.panels.tokens.toggle_scale()

    def action_surprisal(self) -> None:
        if self._has_snapshot() and not self.panels.prompt.toggle_surprisal():
            self.notify(VECTORS)

    def action_panel(self, name: str) -> None:
        self.panels.toggle_panel(name)

    def action_zoom(self) -> None:
        self.panels.toggle_zoom()

    def action_reset(self) -> None:
        self.panels.reset()

    def action_copy(self) -> None:
        self.run_worker(self._export.copy())

    def action_export(self) -> None:
        if not self.deny_if_read_only():
            self.run_worker(self._export.export(self.view.title.method))

    def action_log(self) -> None:
        from distprompt_tui.tui.widgets.log_screen import LogScreen

        self.app.push_screen(LogScreen(self.directory.log, self.view.state.warnings))
