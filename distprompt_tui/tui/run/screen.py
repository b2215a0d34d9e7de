"""The live screen: what a person can do with a run that is on the screen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import BindingType
from textual.widgets import Input

from distprompt_tui.errors import DistPromptError
from distprompt_tui.text.terminal_text import safe
from distprompt_tui.tui.keymap import HISTORY_KEYS, bindings
from distprompt_tui.tui.platform import clipboard
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.run import panel_layout
from distprompt_tui.tui.run.divergence_plot import DivergencePlot
from distprompt_tui.tui.run.prompt_editing import PromptScreen
from distprompt_tui.tui.run.prompt_view import PromptView
from distprompt_tui.tui.run.surprisal import VECTORS
from distprompt_tui.tui.run.text_prompt import TextPrompt
from distprompt_tui.tui.run.token_panel import TokenList, TokensPanel
from distprompt_tui.tui.widgets.dialogs import copy_question, export_question, kill_question, stop_question

if TYPE_CHECKING:
    from distprompt_tui.config.spec import RunSpec

NO_SNAPSHOT = "That comes with the first snapshot of the prompt."

_IN_HISTORY = frozenset(key.method for key in HISTORY_KEYS)


class LiveScreen(PromptScreen):
    """Its keys, from searching to copying."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(PromptScreen.keys)]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What can be done with a run depends on whether it lives, and on what is shown of it."""
        if action in ("pause", "stop"):
            return self.view.is_live
        if action == "again":
            return not self.view.is_live
        if action in _IN_HISTORY:
            return self.history.is_open and not isinstance(self.focused, Input)
        if action == "freeze":
            return self.view.is_live and not self.history.is_open and self.asker.instead is None
        return True

    # The search.

    def action_pause(self) -> None:
        if not self.refused():
            self.request(self.control.toggle_pause(self.view))

    def action_stop(self) -> None:
        if not self.refused():
            self.app.push_screen(kill_question() if self.control.is_stopping else stop_question(), self._stop)

    def _stop(self, answer: str | None) -> None:
        if answer is not None and answer != "stay":
            self.run_worker(self.stop_run())

    async def stop_run(self) -> None:
        """End the search and show how it goes. While a stop is on its way: kill it."""
        if self.control.is_stopping:
            self.control.kill()
            return
        stopping = asyncio.create_task(self.control.stop())
        await asyncio.sleep(0)  # let it ask, so that "stopping…" is shown at once
        self.redraw()
        try:
            if not await stopping:
                self.notify("The search process was killed: stopped (forced).", severity="warning")
        except DistPromptError as error:
            self.notify(safe(str(error)), severity="error", markup=False)
        self.tick()

    async def action_detach(self) -> None:
        if self.query_one(TokensPanel).close_find():
            return
        if self.query_one(TextPrompt).close():
            self.query_one(TokenList).focus()
        elif self.asker.forget():
            self.workers.cancel_group(self, "asking")
            await self.update_panels(asked=True)
        elif self.history.is_open:
            self.history.leave()
            await self.update_panels(asked=True)
        elif self.held is not None:
            await self.action_freeze()
        elif self.has_class("-zoomed"):
            self.action_zoom()
        else:
            self.context.go_home()

    def action_again(self) -> None:
        if not self.refused():
            self.run_worker(self._again())

    async def _again(self) -> None:
        if (spec := await self._spec()) is not None:
            self.context.start_search(spec.model_copy(update={"seed": spec.seed + 1}), replace=True)

    def action_fork(self) -> None:
        if not self.refused():
            self.run_worker(self._fork())

    async def _fork(self) -> None:
        from distprompt_tui.tui.run.fork_dialog import ForkDialog

        if (spec := await self._spec()) is None:
            return
        if (forked := await self.app.push_screen_wait(ForkDialog(spec))) is not None:
            self.context.start_search(forked, replace=True)

    async def _spec(self) -> RunSpec | None:
        """The run's spec; where it cannot be read, None, and the person is told."""
        try:
            return await in_thread(self.directory.read_spec)
        except DistPromptError as error:
            self.notify(safe(str(error)), severity="error", markup=False)
            return None

    # What was.

    async def action_history(self) -> None:
        if self.history.is_open:
            self.history.leave()
        elif not self.history.places:
            self.notify(NO_SNAPSHOT)
            return
        else:
            await self.history.go(len(self.history.places) - 1, self.view.state)
        self.asker.look_elsewhere()
        await self.update_panels(asked=True)

    async def action_past(self, by: int) -> None:
        await self._go(self.history.move(by, self.view.state))

    async def action_past_page(self, by: int) -> None:
        await self._go(self.history.move(by * self.history.page(), self.view.state))

    async def action_past_end(self, which: str) -> None:
        count = len(self.history.places)
        await self._go(self.history.move(-count if which == "first" else count, self.view.state))

    async def _go(self, moving: Awaitable[None]) -> None:
        self.asker.look_elsewhere()
        await moving
        await self.update_panels(asked=True)

    def action_play(self) -> None:
        self.asker.look_elsewhere()
        self.history.toggle_playing(self.view.state)
        self.redraw()

    def action_play_speed(self, by: int) -> None:
        self.history.change_speed(by)
        self.redraw()

    async def action_freeze(self) -> None:
        self.held = None if self.held is not None else self.view.state
        await self.update_panels(asked=True)

    # What the model says.

    def action_text(self) -> None:
        if self._can_ask():
            self.query_one(TextPrompt).open()

    def on_text_prompt_written(self, event: TextPrompt.Written) -> None:
        self.query_one(TextPrompt).close()
        self.query_one(TokenList).focus()
        run = self.view.state
        self._ask(self.asker.try_text(event.text, run.model, run))

    def action_influence(self) -> None:
        bars, what = self.query_one(TokenList), self.shown
        if self._can_ask() and (token := bars.current_token) is not None:
            text = bars.table.text(token)
            self._ask(self.asker.explain(token, text, self.view.state.model, what.state))

    def _can_ask(self) -> bool:
        if self.view.state.snapshot is None:
            self.notify(NO_SNAPSHOT)
        return self.view.state.snapshot is not None

    def _ask(self, question: Awaitable[None]) -> None:
        self.run_worker(self._answer(question), group="asking", exclusive=True)

    async def _answer(self, question: Awaitable[None]) -> None:
        await question
        if self.is_composed:
            await self.update_panels(asked=True)

    # What is shown.

    async def action_order(self) -> None:
        self.table.next_order()
        await self.update_panels(asked=True)

    def action_find(self) -> None:
        self.query_one(TokensPanel).open_find()

    async def on_tokens_panel_find_changed(self, event: TokensPanel.FindChanged) -> None:
        self.table.wish_for(find=event.find)
        await self.update_panels(asked=True)

    async def on_token_list_pinned(self, event: TokenList.Pinned) -> None:
        self.pins ^= {event.token}
        await self.update_panels(asked=True)

    def action_metric(self) -> None:
        self.query_one(DivergencePlot).next_metric()

    def action_plot_scale(self) -> None:
        self.query_one(DivergencePlot).toggle_scale()
        self.redraw()

    def action_bar_scale(self) -> None:
        self.query_one(TokensPanel).toggle_scale()

    def action_surprisal(self) -> None:
        if self.view.state.snapshot is None:
            self.notify(NO_SNAPSHOT)
        elif not self.query_one(PromptView).toggle_surprisal():
            self.notify(VECTORS)

    def action_panel(self, name: str) -> None:
        panel_layout.toggle_panel(self, name)

    def action_zoom(self) -> None:
        panel_layout.toggle_zoom(self)

    def action_reset(self) -> None:
        panel_layout.reset_panels(self)

    # What is kept.

    def action_copy(self) -> None:
        self.app.push_screen(copy_question(), self._copy)

    def _copy(self, what: str | None) -> None:
        if what is not None:
            self.run_worker(self._copy_text(what))

    async def _copy_text(self, what: str) -> None:
        try:
            text = await in_thread(clipboard.text_of, what, self.directory, self.shown.state)
        except DistPromptError as error:
            self.notify(safe(str(error)), severity="error", markup=False)
            return
        if not text:
            self.notify("There is nothing to copy yet: it comes with the first best prompt.", severity="warning")
            return
        kept = None if self.read_only else clipboard.keep(text, self.directory)
        places = [f"in {safe(str(kept))}"] if kept else []
        if len(text.encode()) <= clipboard.MAX_TERMINAL_BYTES:
            self.app.copy_to_clipboard(text)
            places.insert(0, "sent to the terminal's clipboard (OSC 52)")
        else:
            places.append("too many for the terminal's clipboard")
        self.notify(f"{len(text):,} characters {' and '.join(places)}.", markup=False)

    def action_export(self) -> None:
        if not self.refused():
            self.app.push_screen(export_question(self.view.title.method), self._export)

    def _export(self, form: str | None) -> None:
        if form is not None:
            self.run_worker(self._write_export(form))

    async def _write_export(self, form: str) -> None:
        from distprompt_tui.runs.export import Format, export_run

        try:
            path = await in_thread(export_run, self.directory, cast(Format, form))
        except (DistPromptError, OSError) as error:
            self.notify(safe(str(error)), severity="error", markup=False)
            return
        self.notify(safe(str(path)), title="Exported", timeout=10, markup=False)

    def action_log(self) -> None:
        from distprompt_tui.tui.widgets.log_screen import LogScreen

        self.app.push_screen(LogScreen(self.directory.log, self.view.state.warnings))
