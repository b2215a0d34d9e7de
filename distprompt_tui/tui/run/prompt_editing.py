"""A run on the screen whose prompt can be taken into hand: positions looked into, locked, given another token."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from distprompt_tui.errors import DistPromptError
from distprompt_tui.text.terminal_text import safe
from distprompt_tui.tui.keymap import READ_ONLY
from distprompt_tui.tui.run.prompt_view import PromptView
from distprompt_tui.tui.run.view import RunScreen

if TYPE_CHECKING:
    from distprompt_tui.runs.process import Change


class PromptScreen(RunScreen):
    """What the prompt's panel asks for goes to the worker, where it may."""

    def refused(self) -> bool:
        """Whether the app only looks on; then the person is told."""
        if self.read_only:
            self.notify(READ_ONLY, severity="warning")
        return self.read_only

    def on_prompt_view_lock_asked(self, event: PromptView.LockAsked) -> None:
        if not self.refused():
            self._change("lock" if event.locked else "unlock", position=event.position)

    def on_prompt_view_opened(self, event: PromptView.Opened) -> None:
        self.run_worker(self._open_position_dialog(event.position))

    async def _open_position_dialog(self, position: int) -> None:
        from distprompt_tui.tui.run.position_dialog import PositionData, PositionDialog

        snapshot = self.shown.state.snapshot
        if snapshot is None or position >= len(snapshot.prompt):
            return
        why_not = READ_ONLY if self.read_only else self._why_not_changed()
        data = PositionData.of(snapshot, position, why_not, self._ascii_only)
        token = await self.app.push_screen_wait(PositionDialog(data, self.complete))
        if token is not None:
            self._change("edit", position=position, token=token)

    def _change(self, command: Change, **fields: int) -> None:
        if why := self._why_not_changed():
            self.notify(why, severity="warning")
        else:
            self.request(self.control.change(command, **fields))

    def request(self, sending: Awaitable[None]) -> None:
        """Show that a request is on its way, and send it."""
        self.redraw()
        self.run_worker(self._send(sending))

    async def _send(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except DistPromptError as error:
            self.notify(safe(str(error)), severity="error", markup=False)
            self.redraw()

    def _why_not_changed(self) -> str:
        """Why the prompt cannot be changed now; empty where it can."""
        if not self.view.is_live:
            return "The search has ended: n starts a new one from its settings."
        elsewhere = "Another moment is shown: esc goes back to the run, whose prompt can be changed."
        return elsewhere if self.shown.note else ""
