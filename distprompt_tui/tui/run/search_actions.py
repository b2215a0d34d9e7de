"""What a user does to the search on the screen: pause it, stop it, start another one from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from distprompt_tui.errors import DistPromptError
from distprompt_tui.tui.platform.threads import in_thread
from distprompt_tui.tui.widgets.dialogs import kill_question, stop_question

if TYPE_CHECKING:
    from distprompt_tui.config.spec import RunSpec
    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.tui.run.controls import RunControl
    from distprompt_tui.tui.widgets.app_screen import AppScreen


class SearchActions:
    """Requests to one run's worker, and searches that start from its spec.

    Args:
        screen: shows questions and errors, and is replaced by the screen of a new search.
        run: its spec is the base of a new search.
        control: sends the requests.
        redraw: draws the pending requests.
        poll: reads the run.
    """

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

    def request(self, sending: Awaitable[None]) -> None:
        """Show a pending request, and send it."""
        self._redraw()
        self._screen.run_worker(self._send(sending))

    async def _send(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except DistPromptError as error:
            self._screen.show_error(error)
            self._redraw()

    def ask_to_stop(self) -> None:
        """Stop the search after a question; while a stop is pending, kill it after another one."""
        question = kill_question() if self._control.is_stopping else stop_question()
        self._screen.app.push_screen(question, self._on_answer)

    def _on_answer(self, answer: str | None) -> None:
        if answer is not None and answer != "stay":
            self._screen.run_worker(self.stop())

    async def stop(self) -> None:
        """Stop the search and wait for its end; while a stop is pending, kill it."""
        if self._control.is_stopping:
            self._control.kill()
            return
        stopping = asyncio.create_task(self._control.stop())
        await asyncio.sleep(0)  # the request becomes pending, so that "stopping…" is shown at once
        self._redraw()
        try:
            if not await stopping:
                self._screen.notify("The search process was killed: stopped (forced).", severity="warning")
        except DistPromptError as error:
            self._screen.show_error(error)
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
        """The run's spec; None and a message where it cannot be read."""
        try:
            return await in_thread(self._run.read_spec)
        except DistPromptError as error:
            self._screen.show_error(error)
            return None
