"""Manual edits of the prompt under search: lock or replace tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from distprompt_tui.runs.process import EditCommand
    from distprompt_tui.runs.schema import Snapshot
    from distprompt_tui.tui.run.position_dialog import Complete
    from distprompt_tui.tui.widgets.app_screen import AppScreen


class SendChange(Protocol):
    """Sends a change of the prompt to the worker; `fields` belong to the command."""

    def __call__(self, command: EditCommand, **fields: int) -> None: ...


class PromptEditing:
    """Edits one run's prompt. `why_not` returns why this is impossible now; empty if it is possible."""

    def __init__(self, screen: AppScreen, send: SendChange, complete: Complete, why_not: Callable[[], str]) -> None:
        self._screen = screen
        self._send = send
        self._complete = complete
        self._why_not = why_not

    def lock(self, position: int, *, locked: bool) -> None:
        self._change("lock" if locked else "unlock", position=position)

    async def open(self, snapshot: Snapshot | None, position: int) -> None:
        from distprompt_tui.tui.run.position_dialog import PositionData, PositionDialog

        if snapshot is None or position >= len(snapshot.prompt):
            return
        data = PositionData.of(snapshot, position, self._why_not())
        token = await self._screen.app.push_screen_wait(PositionDialog(data, self._complete))
        if token is not None:
            self._change("edit", position=position, token=token)

    def _change(self, command: EditCommand, **fields: int) -> None:
        if why_not := self._why_not():
            self._screen.notify(why_not, severity="warning")
        else:
            self._send(command, **fields)
