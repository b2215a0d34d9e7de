"""Actions of the user on a search: pause, stop, start another one from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.widgets.dialogs import kill_question, stop_question

if TYPE_CHECKING:
    from distprompt_tui.core.config.spec import RunSpec
    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.tui.run.controls import RunControl
    from distprompt_tui.tui.widgets.app_screen import AppScreen


class SearchActions:
    """Requests to one run's worker, and new searches from its spec, whose screen replaces `screen`."""

    def __init__(
        self,
        screen: AppScreen,
        run: RunDirectory,
        control: RunControl,
        redraw: Callable[[], None],
        poll: Callable[[], None],
    ) -> None:
        self._screen = screen
        self._run = run
        self._control = control
        self._redraw = redraw
        self._poll = poll
        self._stopping: asyncio.Task[bool] | None = None

    def request(self, sending: Awaitable[None]) -> None:
        self._redraw()
        self._screen.run_worker(self._send(sending))

    async def _send(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except DistPromptError as error:
            self._screen.show_error(error)
            self._redraw()

    def ask_to_stop(self) -> None:
        """Ask whether to stop the search; if a stop is pending, ask whether to kill it."""
        question = kill_question() if self._control.is_stopping else stop_question()
        self._screen.app.push_screen(question, self._on_answer)

    def _on_answer(self, answer: str | None) -> None:
        if answer is not None and answer != "stay":
            self._screen.run_worker(self.stop(kill=answer == "kill"))

    async def stop(self, *, kill: bool = False) -> None:
        """Stop the search and wait for its end; `kill` ends the worker at once."""
        if kill:
            self._control.kill()
        if self._stopping is not None:
            await asyncio.wait({self._stopping})
            return
        self._stopping = asyncio.create_task(self._control.stop())
        await asyncio.sleep(0)  # the request becomes pending, so "stopping…" appears at once
        self._redraw()
        try:
            if not await self._stopping:
                self._screen.notify("The search process was killed: stopped (forced).", severity="warning")
        except DistPromptError as error:
            self._screen.show_error(error)
        finally:
            self._stopping = None
        self._poll()

    async def rerun(self) -> None:
        if (spec := await self._spec()) is not None:
            self._screen.context.start_search(spec.model_copy(update={"seed": spec.seed + 1}), replace=True)

    async def fork(self) -> None:
        from distprompt_tui.tui.run.fork_dialog import ForkDialog

        if (spec := await self._spec()) is None:
            return
        if (forked := await self._screen.app.push_screen_wait(ForkDialog(spec))) is not None:
            self._screen.context.start_search(forked, replace=True)

    async def _spec(self) -> RunSpec | None:
        try:
            return await in_thread(self._run.read_spec)
        except DistPromptError as error:
            self._screen.show_error(error)
            return None
